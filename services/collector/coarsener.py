"""Merges windows of rows by flow where the granularity or the overload ladder asks for it; else hands them on.

Runs in the encoding thread: a window that is merged costs less there than one that is encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamgauge.flows.merge import Merger
from streamgauge.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class _Target:
    """Merged rows of one interface that wait for the end of their time."""

    rows: Rows
    merger: Merger
    window: float
    began: float


class Coarsener:
    """Keeps one block of merged rows an interface; whoever takes one encodes it before asking for the next."""

    def __init__(self, rows: int) -> None:
        """Set how many rows a block holds: as many as a window that is merged into it."""
        self._capacity = rows
        self._targets: dict[str, _Target] = {}

    def __len__(self) -> int:
        """Blocks that wait."""
        return len(self._targets)

    def windows(self, interface: str, rows: Rows, window: float, now: float) -> Iterator[tuple[str, Rows]]:
        """Yield what is to be encoded now that a window of rows is here: itself if ``window`` is 0 seconds."""
        target = self._targets.get(interface)
        if target is not None and target.window != window:
            yield from self._hand_over(interface)
            target = None
        if not window:
            yield interface, rows
            return
        first = 0
        while first < len(rows):
            if target is None:
                block = Rows(self._capacity, len(rows.buffers.pool))
                target = self._targets[interface] = _Target(block, Merger(window), window, now)
            first = target.merger.merge(rows, first, target.rows)
            if first < len(rows):
                yield from self._hand_over(interface)
                target = None

    def expired(self, now: float) -> Iterator[tuple[str, Rows]]:
        """Yield the blocks whose time has ended."""
        for interface, target in list(self._targets.items()):
            if now - target.began >= target.window:
                yield from self._hand_over(interface)

    def rest(self) -> Iterator[tuple[str, Rows]]:
        """Yield all that is left."""
        for interface in list(self._targets):
            yield from self._hand_over(interface)

    def _hand_over(self, interface: str) -> Iterator[tuple[str, Rows]]:
        yield interface, self._targets.pop(interface).rows
