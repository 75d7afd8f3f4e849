"""One interface as one worker sees it: packets are decoded, seen together, and gathered in windows of rows."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING, Final

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
    """A fixed set of row buffers, one a lane and some more; when all are taken, decoding waits."""

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
        """Return the window that a new lane fills."""
        with self._lock:
            if not self._left:
                return Rows(self._rows)
            self._left -= 1
        return self._free.get()

    def leave(self) -> None:
        """Know that the window of a lane that ended is free for another."""
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


class Lane:
    """Fills one window after the other; lives in one decoding thread as long as the source."""

    def __init__(
        self,
        settings: CollectorSettings,
        interface: str,
        *,
        live: bool,
        account: Account,
        batcher: Batcher,
        windows: Windows,
        full: queue.SimpleQueue[tuple[str, Rows] | None],
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
        self._rows = windows.join()
        self._began = 0.0
        self._looked_at = self._active_at = time.monotonic()

    def take(self, block: Block) -> None:
        """Decode a block; windows that it fills are closed."""
        at, self._active_at = block.first, time.monotonic()
        while at < block.last:
            self._begin()
            first = len(self._rows)
            taken = self._decoder.decode(block.data, block.packets, at, block.last, self._rows)
            self.table.fill(self._rows, first)
            self._account.decoded(taken)
            at += taken
            if at < block.last:
                self._hand_over()

    def tick(self) -> None:
        """Let time go by: report unanswered queries, close the window if it is due."""
        now = time.monotonic()
        if self._live and now - self._looked_at >= _CLOCK_INTERVAL:
            self._looked_at = now
            self.table.advance(time.time_ns())
        if self.table.unreported:
            self._begin()
            self.table.report(self._rows)
        if self._batcher.due(self._rows, now - self._began):
            self._hand_over()

    @property
    def counts(self) -> LaneCounts:
        """What was counted so far; any thread may ask."""
        handshakes = self._decoder.handshakes
        outcomes = tuple(int(getattr(handshakes, name)) for name in HANDSHAKES)
        return LaneCounts(self.table.evicted, self.table.queries_evicted, outcomes)

    @property
    def idle(self) -> bool:
        """Whether there were no packets for long."""
        return not len(self._rows) and time.monotonic() - self._active_at >= _IDLE

    def close(self) -> None:
        """Hand over what is left, and leave the set of windows."""
        self._windows.leave()
        self._full.put((self._interface, self._rows))

    def _begin(self) -> None:
        if not len(self._rows):
            self._began = time.monotonic()

    def _hand_over(self) -> None:
        self._full.put((self._interface, self._rows))
        self._rows = self._windows.take()
