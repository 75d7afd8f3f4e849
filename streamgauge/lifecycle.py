"""How a service lives: components start in order and stop in reverse, and a dead task stops the service."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

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


async def run(
    components: Sequence[Component],
    *,
    failure: Failure,
    finished: asyncio.Event | None = None,
    stop_timeout: float = 30.0,
) -> None:
    """Run components until SIGTERM or SIGINT, until ``finished`` is set, or until one of their tasks fails.

    Raises:
        StreamgaugeError: a component could not start, or failed while running.

    """
    loop = asyncio.get_running_loop()
    stopping = finished or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    started: list[Component] = []
    try:
        for component in components:
            started.append(component)
            await component.start()
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


def main(service: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run a service's coroutine on uvloop (where present) and turn errors into one line and an exit status."""
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
