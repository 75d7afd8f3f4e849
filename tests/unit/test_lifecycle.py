"""How a service lives."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from streamgauge import lifecycle
from streamgauge.errors import BusError, ConfigurationError
from streamgauge.lifecycle import Failure, abandonable, cancel, run, spawn


class Part:
    """A component that writes down what happens to it."""

    def __init__(self, name: str, diary: list[str], *, fails: str = "") -> None:
        self._name = name
        self._diary = diary
        self._fails = fails

    async def start(self) -> None:
        self._diary.append(f"start {self._name}")
        if self._fails == "start":
            raise BusError("no server")

    async def stop(self) -> None:
        self._diary.append(f"stop {self._name}")
        if self._fails == "stop":
            raise BusError("cannot flush")
        if self._fails == "hang":
            await asyncio.Event().wait()


def finished() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_parts_start_in_order_and_stop_in_reverse() -> None:
    """The consumer of a thing starts after it and stops before it."""
    diary: list[str] = []
    await run([Part("a", diary), Part("b", diary)], failure=Failure(), finished=finished())

    assert diary == ["start a", "start b", "stop b", "stop a"]


async def test_failed_start_stops_what_was_begun() -> None:
    """The part that failed is stopped too; the parts behind it were never begun."""
    diary: list[str] = []
    with pytest.raises(BusError, match="no server"):
        await run(
            [Part("a", diary), Part("b", diary, fails="start"), Part("c", diary)],
            failure=Failure(),
            finished=finished(),
        )

    assert diary == ["start a", "start b", "stop b", "stop a"]


async def test_signal_ends_a_start_that_takes_long() -> None:
    """The part is stopped as it is, those behind it never begin, and its blocking work is left behind."""
    diary: list[str] = []
    blocked = threading.Event()

    class Slow(Part):
        async def start(self) -> None:
            await super().start()
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
            await abandonable(blocked.wait, name="slow")

    began = time.monotonic()
    await run([Part("a", diary), Slow("b", diary), Part("c", diary)], failure=Failure())
    blocked.set()

    assert diary == ["start a", "start b", "stop b", "stop a"]
    assert time.monotonic() - began < 5


async def test_abandonable_work_gives_its_result_or_its_error() -> None:
    """As if it were awaited."""
    assert await abandonable(lambda: 7, name="seven") == 7
    with pytest.raises(ZeroDivisionError):
        await abandonable(lambda: 1 // 0, name="error")


async def test_failed_stop_does_not_keep_the_others_from_stopping() -> None:
    """It is reported at the end: a flush that failed must not look like an orderly end."""
    diary: list[str] = []
    with pytest.raises(BusError, match="cannot flush"):
        await run([Part("a", diary), Part("b", diary, fails="stop")], failure=Failure(), finished=finished())

    assert diary[-1] == "stop a"


async def test_stop_that_hangs_is_given_up() -> None:
    """A deadline stands behind each part."""
    diary: list[str] = []
    with pytest.raises(TimeoutError):
        await run(
            [Part("a", diary), Part("b", diary, fails="hang")],
            failure=Failure(),
            finished=finished(),
            stop_timeout=0.05,
        )

    assert diary[-1] == "stop a"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_is_an_orderly_end(number: signal.Signals) -> None:
    """Kubernetes sends SIGTERM, a person Ctrl-C."""
    diary: list[str] = []

    class Telling(Part):
        async def start(self) -> None:
            await super().start()
            os.kill(os.getpid(), number)

    await run([Telling("a", diary)], failure=Failure())

    assert diary == ["start a", "stop a"]


async def test_dead_task_stops_the_service() -> None:
    """A background task that dies is not printed and forgotten."""
    diary: list[str] = []
    failure = Failure()

    async def dies() -> None:
        raise BusError("lost for good")

    class Working(Part):
        async def start(self) -> None:
            await super().start()
            spawn(dies(), name="work", failure=failure)

    with pytest.raises(BusError, match="lost for good"):
        await run([Working("a", diary)], failure=failure)

    assert diary == ["start a", "stop a"]


async def test_first_failure_is_the_one_that_is_told() -> None:
    """What follows from it is not the cause."""
    failure = Failure()
    failure.set(BusError("first"))
    failure.set(BusError("second"))
    await failure.wait()

    assert str(failure.error) == "first"


async def test_spawned_task_is_kept_and_named() -> None:
    """The loop keeps only weak references to tasks."""
    task = spawn(asyncio.sleep(0), name="nap")

    assert task in lifecycle._tasks
    assert task.get_name() == "nap"
    await task
    await asyncio.sleep(0)
    assert task not in lifecycle._tasks


async def test_cancelled_task_is_no_failure() -> None:
    """Cancelling is how a task ends in order; no task at all is fine as well."""
    failure = Failure()
    task = spawn(asyncio.Event().wait(), name="waits", failure=failure)
    await cancel(task)
    await cancel(None)

    assert task.cancelled()
    assert failure.error is None


@pytest.mark.parametrize(
    ("error", "status"),
    [(BusError("away"), 1), (ConfigurationError("wrong"), 2), (KeyboardInterrupt(), 130), (None, 0)],
)
def test_main_turns_errors_into_a_line_and_a_status(
    error: BaseException | None, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never a traceback for what a person can mend."""

    async def service() -> None:
        if error is not None:
            raise error

    assert lifecycle.main(service) == status
    written = capsys.readouterr().err
    assert written == (f"streamgauge: {error}\n" if status in (1, 2) else "")
