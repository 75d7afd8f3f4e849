"""Accounted overload: which granularity the collector can afford now. Pure policy: observations and a clock in.

When NATS and the spool, or the CPU, cannot follow, the collector climbs: the packets of a flow become one row a second,
then one row in ten seconds. Rows shrink, totals stay exact, nothing is dropped. When it is calm it comes down again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds of the window of each level; 0 is a row a packet.
PACKET: Final = 0.0
LEVELS: Final = (PACKET, 1.0, 10.0)

#: How full the queue of pending batches may get before the collector climbs, and where it counts as calm.
_HIGH, _LOW = 0.5, 0.1
#: Observations in a row that must see a stall: one alone is a moment's, and the ring bridges it.
_STALLS: Final = 3


@dataclass(frozen=True, slots=True)
class Pressure:
    """What is seen of the load at one moment."""

    #: Bytes of the batches that wait, as a part of their bound.
    pending: float
    #: Packets the kernel dropped so far, because the ring was full.
    dropped: int
    #: How often decoding had to wait for a free window, so far: the rest of the collector is slower.
    stalled: int


class Ladder:
    """Climbs and comes down the levels from ``base`` on; its owner asks it regularly."""

    def __init__(self, base: float = PACKET, *, patience: float = 5.0, calm: float = 30.0) -> None:
        """Stand on the level with the window ``base``, in seconds; it never goes below.

        Args:
            base: Window of the granularity that was asked for.
            patience: Seconds a level is given to take effect before the next one is tried.
            calm: Seconds of calm before one level is left: longer than it takes to climb, so that it does not swing.

        """
        self._patience, self._calm = patience, calm
        self._windows: Sequence[float] = tuple(window for window in LEVELS if window >= base) or (base,)
        self._step = 0
        self._changed_at = float("-inf")
        self._calm_since: float | None = None
        self._seen: Pressure | None = None
        self._stalls = 0

    @property
    def level(self) -> int:
        """How many steps the collector has climbed."""
        return self._step

    @property
    def window(self) -> float:
        """Seconds of the window in which rows of a flow are merged; 0 merges none."""
        return self._windows[self._step]

    def observe(self, now: float, pressure: Pressure) -> bool:
        """Take an observation at a moment (seconds); return whether the level has changed."""
        before, self._seen = self._seen or pressure, pressure
        self._stalls = self._stalls + 1 if pressure.stalled > before.stalled else 0
        if pressure.dropped > before.dropped or self._stalls >= _STALLS or pressure.pending >= _HIGH:
            self._calm_since = None
            return now - self._changed_at >= self._patience and self._go(self._step + 1, now)
        if pressure.pending > _LOW:
            self._calm_since = None
            return False
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < self._calm:
            return False
        self._calm_since = now
        return self._go(self._step - 1, now)

    def _go(self, step: int, now: float) -> bool:
        if not 0 <= step < len(self._windows):
            return False
        self._step, self._changed_at = step, now
        return True
