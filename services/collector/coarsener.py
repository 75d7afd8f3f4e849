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

    from services.collector.sources import Place


@dataclass(slots=True)
class _Target:
    """Merged rows of one place that wait for the end of their time."""

    rows: Rows
    merger: Merger
    window: float
    began: float


class Coarsener:
    """Keeps one block of merged rows a place; whoever takes one encodes it before asking for the next."""

    def __init__(self, rows: int) -> None:
        """Set how many rows a block holds: as many as a window that is merged into it."""
        self._capacity = rows
        self._targets: dict[Place, _Target] = {}

    def __len__(self) -> int:
        """Blocks that wait."""
        return len(self._targets)

    def windows(self, place: Place, rows: Rows, window: float, now: float) -> Iterator[tuple[Place, Rows]]:
        """Yield what is to be encoded now that a window of rows is here: itself if ``window`` is 0 seconds."""
        target = self._targets.get(place)
        if target is not None and target.window != window:
            yield from self._hand_over(place)
            target = None
        if not window:
            yield place, rows
            return
        first = 0
        while first < len(rows):
            if target is None:
                block = Rows(self._capacity, len(rows.buffers.pool))
                target = self._targets[place] = _Target(block, Merger(window), window, now)
            first = target.merger.merge(rows, first, target.rows)
            if first < len(rows):
                yield from self._hand_over(place)
                target = None

    def expired(self, now: float) -> Iterator[tuple[Place, Rows]]:
        """Yield the blocks whose time has ended."""
        for place, target in list(self._targets.items()):
            if now - target.began >= target.window:
                yield from self._hand_over(place)

    def rest(self) -> Iterator[tuple[Place, Rows]]:
        """Yield all that is left."""
        for place in list(self._targets):
            yield from self._hand_over(place)

    def _hand_over(self, place: Place) -> Iterator[tuple[Place, Rows]]:
        yield place, self._targets.pop(place).rows
