"""Empties the source: one thread a worker decodes, another encodes, and none waits for NATS.

A decoding thread spends its time in compiled code without the interpreter lock, so publishing on the event loop does
not hold it up. Closed windows go to the encoding thread through a fixed set of row buffers: when all are taken,
decoding waits and the kernel's ring fills, where losses are counted.

Measured on a busy machine, 1 M packets: the ring was left alone for 2 ms at the 99th percentile. With encoding in the
decoding thread it was 23 ms, with everything on the event loop 26 ms.
"""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import time
from typing import TYPE_CHECKING, Final

from services.collector.coarsener import Coarsener
from services.collector.lane import Lane, LaneCounts, Windows
from streamgauge import decode, encode, flows
from streamgauge.lifecycle import Failure, abandonable, spawn
from streamgauge.logs import get

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.collector.account import Account
    from services.collector.batcher import Batcher
    from services.collector.overload import Overload
    from services.collector.publisher import Publisher
    from services.collector.sources import Place, Source
    from streamgauge.privacy import Privacy
    from streamgauge.rows import Rows
    from streamgauge.settings import CollectorSettings

_log = get("capture")

#: Seconds after which merged rows are looked at although no window comes.
_LOOK: Final = 0.1
#: Seconds after which the load is looked at although no window comes.
_IDLE_LOOK: Final = 1.0


class Capture:
    """Runs a source until it ends or the service stops; sets ``finished`` when it ended and all is acknowledged."""

    def __init__(
        self,
        settings: CollectorSettings,
        *,
        source: Source,
        batcher: Batcher,
        publisher: Publisher,
        account: Account,
        failure: Failure,
        finished: asyncio.Event,
        overload: Overload,
        privacy: Privacy | None = None,
    ) -> None:
        self._settings = settings
        self._source = source
        self._batcher = batcher
        self._publisher = publisher
        self._account = account
        self._failure = failure
        self._finished = finished
        self._overload = overload
        self._privacy = privacy
        self._coarsener = Coarsener(batcher.window_rows)
        #: Told to stop; told, or one of the threads died: then the others leave as well.
        self._stop, self._leave = threading.Event(), threading.Event()
        self._windows = Windows(batcher.window_rows, overload)
        self._full: queue.SimpleQueue[tuple[Place, Rows] | None] = queue.SimpleQueue()
        self._task: asyncio.Task[None] | None = None
        #: Interfaces being decoded, once for each worker; changed under the lock.
        self._lanes: list[Lane] = []
        self._lanes_lock = threading.Lock()
        #: What the lanes had counted that ended.
        self._ended = LaneCounts()
        #: Whether packets are being taken.
        self.running = False

    async def start(self) -> None:
        """Open the source, load the kernels, begin.

        Raises:
            StreamgaugeError: the source cannot be opened.

        """
        # On a fresh machine the kernels are compiled here for half a minute, which must not hold up a Ctrl-C.
        for work in (self._source.open, decode.warm_up, flows.warm_up):
            await abandonable(work, name="warm up")
        await asyncio.to_thread(encode.warm_up)
        gc.freeze()  # modules and kernels stay for ever: no search for garbage looks at them again
        self.running = True
        self._task = spawn(self._run(), name="capture", failure=self._failure)

    async def stop(self) -> None:
        """End the capture, with everything the source has already delivered handed to the publisher."""
        self._stop.set()
        self._leave.set()
        self._publisher.give_way()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._source.close()

    def counts(self) -> LaneCounts:
        """Return what all lanes have counted, those that ended included."""
        with self._lanes_lock:
            return sum((lane.counts for lane in self._lanes), self._ended)

    def connections(self) -> int:
        """Return how many TCP connections are remembered."""
        with self._lanes_lock:
            return sum(lane.table.connections for lane in self._lanes)

    async def _run(self) -> None:
        """Run all threads to their end, then report: an error only after all that was read is published."""
        loop = asyncio.get_running_loop()
        encoding = asyncio.to_thread(self._encode, loop)
        decoding = [asyncio.to_thread(self._decode, worker) for worker in range(self._source.workers)]
        try:
            _, *errors = await asyncio.gather(encoding, *decoding)
        finally:
            self.running = False
        if not self._stop.is_set():
            await self._publisher.drained()
            _log.info("source ended", packets=self._account.totals().decoded)
            self._finished.set()
        for error in errors:
            if error is not None:
                raise error

    def _decode(self, worker: int) -> Exception | None:
        """Turn a worker's packets into windows of rows; return the error that ended the source, if one did."""
        lanes: dict[str, Lane] = {}
        try:
            for block in self._source.blocks(self._leave, worker):
                if block.last:
                    if block.interface not in lanes:
                        lanes[block.interface] = self._lane(block.interface)
                    lanes[block.interface].take(block)
                self._tick(lanes)
        except Exception as error:  # noqa: BLE001 reported by _run, after the packets before it
            # Nobody reads its ring any more: the others must not go on as if all was well.
            self._leave.set()
            return error
        finally:
            for lane in lanes.values():
                lane.close()
            self._full.put(None)
        return None

    def _tick(self, lanes: dict[str, Lane]) -> None:
        """Let time go by, and give up lanes whose interface may be gone."""
        for interface, lane in list(lanes.items()):
            lane.tick()
            if lane.idle:
                lane.close()
                del lanes[interface]
                with self._lanes_lock:
                    self._lanes.remove(lane)
                    self._ended += lane.counts

    def _lane(self, interface: str) -> Lane:
        lane = Lane(
            self._settings,
            interface,
            live=self._source.live,
            account=self._account,
            batcher=self._batcher,
            windows=self._windows,
            full=self._full,
        )
        with self._lanes_lock:
            self._lanes.append(lane)
        return lane

    def _encode(self, loop: asyncio.AbstractEventLoop) -> None:
        """Turn windows into messages and hand them to the publisher, until all decoding threads have ended."""
        decoding = self._source.workers
        while decoding:
            try:
                item = self._full.get(timeout=_LOOK if len(self._coarsener) else _IDLE_LOOK)
            except queue.Empty:
                now = time.monotonic()
                self._overload.window(now)  # it comes down again although no packet comes
                self._publish(self._coarsener.expired(now), loop)
                continue
            if item is None:
                decoding -= 1
                continue
            place, rows = item
            self._account.closed(rows)
            # Before anything is merged, encoded or written: behind this line no row tells what is to be hidden.
            if self._privacy is not None:
                self._privacy.apply(rows)
            now = time.monotonic()
            self._publish(self._coarsener.windows(place, rows, self._overload.window(now), now), loop)
            self._windows.give_back(rows)
            self._publish(self._coarsener.expired(now), loop)
        self._publish(self._coarsener.rest(), loop)

    def _publish(self, windows: Iterable[tuple[Place, Rows]], loop: asyncio.AbstractEventLoop) -> None:
        for place, rows in windows:
            if not len(rows):
                continue
            self._account.coarsened(rows)
            messages = list(self._batcher.messages(rows, place))
            asyncio.run_coroutine_threadsafe(self._publisher.accept(messages), loop).result()
