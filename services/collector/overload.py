"""Watches the load of a live collector and says how coarse its rows have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.collector.ladder import PACKET, Ladder, Pressure
from streamgauge.logs import get

if TYPE_CHECKING:
    from services.collector.pending import Pending
    from services.collector.sources import Source
    from streamgauge.settings import CollectorSettings

_log = get("overload")

#: Seconds between two observations.
_INTERVAL: Final = 1.0


class Overload:
    """Asked by the encoding thread; read by metrics and the ledger."""

    def __init__(self, settings: CollectorSettings, source: Source, pending: Pending) -> None:
        base = float(settings.flow_window) if settings.granularity == "flow" else PACKET
        self._ladder = Ladder(base, patience=settings.overload_patience, calm=settings.overload_calm)
        self._watched = source.live and settings.overload == "coarsen"
        self._source = source
        self._pending = pending
        self._looked_at = float("-inf")
        #: How often decoding had to wait for a free window.
        self.stalled = 0

    @property
    def level(self) -> int:
        """Steps climbed above the granularity that was asked for."""
        return self._ladder.level

    def window(self, now: float) -> float:
        """Return the seconds in which rows of a flow are merged at this moment; 0: not at all."""
        if self._watched and now - self._looked_at >= _INTERVAL:
            self._looked_at = now
            pressure = Pressure(self._pending.fill, self._source.counts().dropped, self.stalled)
            if self._ladder.observe(now, pressure):
                _log.warning(
                    "granularity changed by load",
                    step=self._ladder.level,
                    window_seconds=self._ladder.window,
                    pending=round(pressure.pending, 2),
                    dropped=pressure.dropped,
                )
        return self._ladder.window
