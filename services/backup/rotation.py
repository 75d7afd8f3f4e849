"""When an open object is closed: pure policy, no clock and no I/O of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rotation:
    """Limits of an open object; the first one reached closes it."""

    max_bytes: int
    max_rows: int
    #: Seconds from the first batch: the recovery point.
    max_age: float
    #: JetStream hands out a limited number of unacknowledged messages; beyond it nothing more would come.
    max_messages: int

    def due(self, *, size: int, rows: int, messages: int, age: float, max_bytes: int | None = None) -> bool:
        """Return whether an object that holds this much must be closed.

        ``age`` is in seconds, ``size`` in bytes; ``max_bytes`` replaces the limit while memory is short.
        """
        if messages == 0:
            return False
        limit = self.max_bytes if max_bytes is None else max_bytes
        return size >= limit or rows >= self.max_rows or messages >= self.max_messages or age >= self.max_age

    def wait(self, *, messages: int, age: float) -> float:
        """Return how many seconds may pass until the age closes the object; the longest age when it is empty."""
        return self.max_age if messages == 0 else max(self.max_age - age, 0.0)
