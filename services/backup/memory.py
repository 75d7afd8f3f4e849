"""How much all lanes together may hold: pure policy.

A busy shard may use what idle ones leave. When half of the memory is used, lanes close their objects early; when all
of it is used they stop reading, and JetStream keeps the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Memory:
    """The memory of one process; shared by its lanes, which report what they hold."""

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes of messages as they came."""
        self._limit = limit
        self._lanes: list[Callable[[], int]] = []

    def join(self, held: Callable[[], int]) -> None:
        """Add a lane by the function that tells what it holds."""
        self._lanes.append(held)

    @property
    def held(self) -> int:
        """Bytes held by all lanes."""
        return sum(held() for held in self._lanes)

    @property
    def full(self) -> bool:
        """Whether reading has to stop."""
        return self.held >= self._limit

    def object_bytes(self, wanted: int) -> int:
        """Return the bytes after which an object is closed now: what is wanted, less when memory gets short.

        Then busy lanes, those that hold more than a hundredth, get equal shares of half of it. When all is used, one of
        them at least holds its share, so one at least closes.
        """
        held = [held() for held in self._lanes]
        if sum(held) < self._limit // 2:
            return wanted
        busy = sum(size > self._limit // 100 for size in held)
        return min(wanted, self._limit // (2 * max(busy, 1)))
