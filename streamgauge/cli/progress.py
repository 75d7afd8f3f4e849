"""Progress on standard error, for work that takes longer than a second and only on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Final, Self

_FIRST: Final = 1.0  # seconds until the line appears
_INTERVAL: Final = 0.2  # seconds between two updates


class Progress:
    """Counts things on one line that vanishes at the end; lives as long as its ``with`` block."""

    def __init__(self, things: str, *, alone: bool = False) -> None:
        """Begin at nothing; ``alone``: nothing is written to standard output meanwhile."""
        self._things = things
        self._count = 0
        self._begin = time.monotonic()
        self._next = self._begin + _FIRST
        # A line of progress between lines of data on the same terminal would only be in the way.
        self._shown = sys.stderr.isatty() and (alone or not sys.stdout.isatty())
        self._written = False

    def add(self, count: int) -> None:
        """Count further things."""
        self._count += count
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + _INTERVAL
            self._written = True
            rate = self._count / (now - self._begin)
            self._write(f"{self._count:,} {self._things}, {rate:,.0f}/s")

    def share(self, done: float) -> None:
        """Tell how far work is whose end is known, 0 to 1."""
        if self._shown and time.monotonic() >= self._begin + _FIRST:
            self._written = True
            self._write(f"{done:4.0%}")

    def _write(self, words: str) -> None:
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._written:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
