"""One interface as one worker sees it: packets are decoded, seen together, and gathered in windows of rows."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING, Final

from services.collector.sources import Place
from streamgauge.decode import Decoder
from streamgauge.flows import FlowTable
from streamgauge.rows import Rows

if TYPE_CHECKING:
    from services.collector.account import Account
    from services.collector.batcher import Batcher
    from services.collector.overload import Overload
    from services.collector.sources import Block
    from streamgauge.settings import CollectorSettings

#: What becomes of handshakes that take more than one look: ``decode.handshakes.Counters``.
HANDSHAKES: Final = ("joined", "decrypted", "unreadable", "skipped", "evicted")
#: Seconds between two looks at the clock for queries that nobody answered.
_CLOCK_INTERVAL: Final = 0.25
#: Seconds after which a lane without packets is given up: its interface may be gone.
_IDLE: Final = 60.0
#: Windows beside those being filled: one being encoded, two for a burst.
_SPARE_WINDOWS: Final = 3


class Windows:
    """A fixed set of row buffers, one a place being filled and some more; when all are taken, decoding waits."""

    def __init__(self, rows: int, overload: Overload) -> None:
        """Set the rows of a window; ``overload`` is told each wait."""
        self._rows = rows
        self._overload = overload
        self._free: queue.SimpleQueue[Rows] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._left = 0
        for _ in range(_SPARE_WINDOWS):
            self._free.put(Rows(rows))

    def join(self) -> Rows:
        """Return a window for a place that was not filled yet."""
        with self._lock:
            if not self._left:
                return Rows(self._rows)
            self._left -= 1
        return self._free.get()

    def leave(self) -> None:
        """Know that the window of a place whose lane ended is free for another."""
        with self._lock:
            self._left += 1

    def take(self) -> Rows:
        """Return a cleared window; wait for one if need be."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            self._overload.stalled += 1
            return self._free.get()

    def give_back(self, rows: Rows) -> None:
        """Take a window back whose rows are no longer needed."""
        rows.clear()
        self._free.put(rows)


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """What lanes have counted so far."""

    connections_evicted: int = 0
    queries_evicted: int = 0
    #: Handshakes that were not whole in one packet, or encrypted (QUIC), by what became of them: ``HANDSHAKES``.
    handshakes: tuple[int, ...] = (0,) * len(HANDSHAKES)

    def __add__(self, other: LaneCounts) -> LaneCounts:
        return LaneCounts(
            self.connections_evicted + other.connections_evicted,
            self.queries_evicted + other.queries_evicted,
            tuple(map(add, self.handshakes, other.handshakes)),
        )


@dataclass(slots=True)
class _Filling:
    """The window that is being filled with the rows of one place, and when its first row came."""

    rows: Rows
    began: float = 0.0


class Lane:
    """Fills one window after the other, of each place one at a time; lives in one decoding thread."""

    def __init__(
        self,
        settings: CollectorSettings,
        interface: str,
        *,
        live: bool,
        account: Account,
        batcher: Batcher,
        windows: Windows,
        full: queue.SimpleQueue[tuple[Place, Rows] | None],
    ) -> None:
        """Take part in the set of windows; ``full`` takes those that are closed."""
        self._interface = interface
        self._live = live
        self._account = account
        self._batcher = batcher
        self._windows = windows
        self._full = full
        self._decoder = Decoder(frame_bytes=settings.frame_bytes, decapsulate=settings.decapsulate)
        self.table = FlowTable(
            max(settings.flows // settings.workers, 1),
            dns_timeout=settings.dns_timeout,
            health=settings.health,
            community_id=settings.community_id,
        )
        self._filling: dict[str, _Filling] = {}
        self._looked_at = self._active_at = time.monotonic()

    def take(self, block: Block) -> None:
        """Decode a block; windows that it fills are closed."""
        at, self._active_at = block.first, time.monotonic()
        filling = self._at(block.point)
        while at < block.last:
            self._begin(filling)
            first = len(filling.rows)
            taken = self._decoder.decode(block.data, block.packets, at, block.last, filling.rows)
            self.table.fill(filling.rows, first, block.link)
            self._account.decoded(taken)
            at += taken
            if at < block.last:
                self._hand_over(block.point, filling)

    def tick(self) -> None:
        """Let time go by: report unanswered queries, close the windows that are due."""
        now = time.monotonic()
        if self._live and now - self._looked_at >= _CLOCK_INTERVAL:
            self._looked_at = now
            self.table.advance(time.time_ns())
        if self.table.unreported:
            # A report stands for no packet, so it may stand at any place.
            filling = self._at(next(iter(self._filling), ""))
            self._begin(filling)
            self.table.report(filling.rows)
        for point, filling in self._filling.items():
            if self._batcher.due(filling.rows, now - filling.began):
                self._hand_over(point, filling)

    @property
    def counts(self) -> LaneCounts:
        """What was counted so far; any thread may ask."""
        handshakes = self._decoder.handshakes
        outcomes = tuple(int(getattr(handshakes, name)) for name in HANDSHAKES)
        return LaneCounts(self.table.evicted, self.table.queries_evicted, outcomes)

    @property
    def idle(self) -> bool:
        """Whether there were no packets for long."""
        return (
            not any(len(filling.rows) for filling in self._filling.values())
            and time.monotonic() - self._active_at >= _IDLE
        )

    def close(self) -> None:
        """Hand over what is left, and leave the set of windows."""
        for point, filling in self._filling.items():
            self._windows.leave()
            self._full.put((Place(self._interface, point), filling.rows))

    def _at(self, point: str) -> _Filling:
        filling = self._filling.get(point)
        if filling is None:
            filling = self._filling[point] = _Filling(self._windows.join())
        return filling

    @staticmethod
    def _begin(filling: _Filling) -> None:
        if not len(filling.rows):
            filling.began = time.monotonic()

    def _hand_over(self, point: str, filling: _Filling) -> None:
        self._full.put((Place(self._interface, point), filling.rows))
        filling.rows = self._windows.take()
