"""How a service lives: components start in order and stop in reverse, and a dead task stops the service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from streamgauge.errors import StreamgaugeError
from streamgauge.logs import get

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

_log = get("lifecycle")

#: Seconds after which a task that was cancelled and still runs is cancelled again.
_CANCEL_AGAIN: Final = 1.0


class Component(Protocol):
    """A part of a service. The constructor does nothing; ``start`` may fail; ``stop`` is called even then."""

    async def start(self) -> None:
        """Begin to work; return when ready."""

    async def stop(self) -> None:
        """Finish the work in hand and release everything."""


class Failure:
    """Where background tasks report that they died; the service waits on it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.error: BaseException | None = None

    def set(self, error: BaseException) -> None:
        """Record the first failure and wake the service."""
        if self.error is None:
            self.error = error
        self._event.set()

    async def wait(self) -> None:
        """Return once a task has failed."""
        await self._event.wait()


_tasks: set[asyncio.Task[Any]] = set()
_abandonable: list[threading.Thread] = []

T = TypeVar("T")


def spawn(work: Coroutine[Any, Any, Any], *, name: str, failure: Failure | None = None) -> asyncio.Task[Any]:
    """Start a named task, keep a reference to it, and report its death to ``failure``.

    The event loop itself keeps only weak references: an unreferenced task may vanish in the middle of its work.
    """
    task = asyncio.get_running_loop().create_task(work, name=name)
    _tasks.add(task)

    def done(finished: asyncio.Task[Any]) -> None:
        _tasks.discard(finished)
        if finished.cancelled():
            return
        error = finished.exception()
        if error is not None and failure is not None:
            failure.set(error)

    task.add_done_callback(done)
    return task


async def cancel(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait until it is gone; its own failure was reported by ``spawn``.

    It is asked again until it is: ``asyncio.wait_for`` of Python 3.11, which nats-py uses, swallows a cancellation that
    arrives together with the result.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN)


def abandonable(work: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Run blocking work that nothing can interrupt in a thread of its own, which the end of the process leaves behind.

    What is awaited may be cancelled at any time; the thread goes on, and ``main`` does not wait for it.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run_work() -> None:
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 handed over
            failed = error
        # The loop may be gone meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failed)

    thread = threading.Thread(target=run_work, name=name, daemon=True)
    _abandonable.append(thread)
    thread.start()
    return future


async def run(
    components: Sequence[Component],
    *,
    failure: Failure,
    finished: asyncio.Event | None = None,
    stop_timeout: float = 30.0,
) -> None:
    """Run components until SIGTERM or SIGINT, until ``finished`` is set, or until one of their tasks fails.

    A signal also ends a start that is under way: that component is stopped as it is, those behind it never begin.

    Raises:
        StreamgaugeError: a component could not start, or failed while running.

    """
    loop = asyncio.get_running_loop()
    stopping, told = finished or asyncio.Event(), asyncio.Event()

    def stop() -> None:
        told.set()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    started: list[Component] = []
    try:
        for component in components:
            started.append(component)
            if not await _unless(told, component.start()):
                _log.info("told to stop while starting", part=type(component).__name__)
                break
        waits = [asyncio.ensure_future(stopping.wait()), asyncio.ensure_future(failure.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    finally:
        for component in reversed(started):
            try:
                await asyncio.wait_for(component.stop(), stop_timeout)
            except Exception as error:  # noqa: BLE001 the others must still be stopped
                _log.error("cannot stop cleanly", part=type(component).__name__, error=repr(error))
                failure.set(error)
    if failure.error is not None:
        raise failure.error


async def _unless(told: asyncio.Event, start: Coroutine[Any, Any, None]) -> bool:
    """Await a start, or give it up when ``told`` is set first; return whether it was done."""
    starting = spawn(start, name="start")
    waiting = asyncio.ensure_future(told.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not starting.done():
            await cancel(starting)
    if starting.cancelled():
        return False
    starting.result()
    return True


def main(service: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run a service's coroutine on uvloop (where present) and turn errors into one line and an exit status."""
    status = _run(service)
    if any(thread.is_alive() for thread in _abandonable):
        # A compiler at work in a thread would outlive what it stands on while the interpreter is taken down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _run(service: Callable[[], Coroutine[Any, Any, None]]) -> int:
    try:
        try:
            import uvloop
        except ImportError:
            asyncio.run(service())
        else:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(service())
    except StreamgaugeError as error:
        sys.stderr.write(f"streamgauge: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0
