"""Runs a module as a process whose clock can be stepped: ``python -m tests.chaos.process MODULE``.

At SIGUSR1 the seconds in the file ``$CHAOS_CLOCK`` are added to what ``time.time`` and ``time.time_ns`` say. Only these
two: the whole clock of one process cannot be stepped without changing that of the machine.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

_now, _now_ns = time.time, time.time_ns


class Clock:
    """The wall clock, with an offset in seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def step(self, *_: Any) -> None:
        """Take the offset over from the file."""
        self._offset = int(self._path.read_text())

    def seconds(self) -> float:
        """Stand in for ``time.time``."""
        return _now() + self._offset

    def nanoseconds(self) -> int:
        """Stand in for ``time.time_ns``."""
        return _now_ns() + self._offset * 10**9


def main() -> None:
    """Put the clock in its place and run the module."""
    clock = Clock(Path(os.environ["CHAOS_CLOCK"]))
    signal.signal(signal.SIGUSR1, clock.step)
    time.time, time.time_ns = clock.seconds, clock.nanoseconds
    module = sys.argv[1]
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
