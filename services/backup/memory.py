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

        When all is used, one lane at least holds its equal share, so one at least closes.
        """
        if self.held < self._limit // 2:
            return wanted
        return min(wanted, self._limit // (2 * max(len(self._lanes), 1)))
