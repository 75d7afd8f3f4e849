"""Several rings: of the interfaces that names and patterns choose, and of each as many as there are workers.

Interfaces are looked for all the time: one that comes is captured, one that goes is drained and let go, both are
counted, and the collector goes on. The kernel shares an interface between its workers by flow (PACKET_FANOUT_HASH, the
same for both directions), so each worker's flow table is whole.
"""

from __future__ import annotations

import fnmatch
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from services.collector.sources import TICK, Block, InterfaceChanges, SourceCounts
from services.collector.sources.bpf import socket_program
from services.collector.sources.packet_socket import ANY, PacketSocket, interface_link
from services.collector.sources.ring import RingSource
from streamgauge.decode import new_index
from streamgauge.errors import CaptureError
from streamgauge.logs import get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.settings import CollectorSettings

_log = get("rings")

#: Seconds between two looks at which interfaces there are.
_SCAN_INTERVAL: Final = 1.0
#: A block that only says that time went by.
_NOTHING: Final = Block(np.zeros(0, np.uint8), new_index(1), 0, 0)
_WILD: Final = frozenset("*?[")


def is_several(settings: CollectorSettings) -> bool:
    """Tell whether the settings ask for more than one ring."""
    return settings.workers > 1 or "," in settings.interface or not _WILD.isdisjoint(settings.interface)


@dataclass(slots=True, eq=False)
class _Ring:
    """One ring of one worker."""

    source: RingSource
    walk: Iterator[Block]
    #: The interface is no longer there, or the worker has stopped.
    leaving: bool = False


class RingsSource:
    """Captures the interfaces that match; lives as long as the collector."""

    live = True

    def __init__(self, settings: CollectorSettings) -> None:
        self._settings = settings
        self.interface = settings.interface
        self.workers = settings.workers
        self._patterns = tuple(part.strip() for part in settings.interface.split(",") if part.strip())
        self._lock = threading.Lock()
        #: By interface its number, by worker and interface the ring.
        self._numbers: dict[str, int] = {}
        self._rings: tuple[dict[str, _Ring], ...] = tuple({} for _ in range(self.workers))
        self._gone = SourceCounts()
        self._scanned_at = float("-inf")
        self._appeared = self._disappeared = 0

    def check(self) -> None:
        """See ``Source.check``."""
        for name in self._patterns:
            if _WILD.isdisjoint(name):
                socket_program(self._settings.filter, self._settings.snaplen, interface_link(name))
        socket_program(self._settings.filter, self._settings.snaplen, None)
        PacketSocket(ANY).close()

    def open(self) -> None:
        """See ``Source.open``; a name that is no pattern must be there."""
        self.check()
        for name, number in self._matching().items():
            self._plug(name, number)
        self._scanned_at = time.monotonic()
        _log.info("capturing", interfaces=",".join(sorted(self._numbers)), workers=self.workers)

    def blocks(self, stop: threading.Event, worker: int = 0) -> Iterator[Block]:
        """See ``Source.blocks``."""
        while not stop.is_set():
            if worker == 0 and time.monotonic() - self._scanned_at >= _SCAN_INTERVAL:
                self._scan()
            idle = True
            for name, ring in self._of(worker):
                if ring.leaving:
                    yield from self._leave(worker, name, ring)
                    continue
                block = next(ring.walk)
                if block.last:
                    idle = False
                    yield block._replace(interface=name)
            if idle:
                self._wait(worker)
                yield _NOTHING
        for name, ring in self._of(worker):
            yield from self._leave(worker, name, ring)

    def counts(self) -> SourceCounts:
        """See ``Source.counts``."""
        with self._lock:
            counts = [ring.source.counts() for rings in self._rings for ring in rings.values()]
            return _sum([self._gone, *counts])

    def changes(self) -> InterfaceChanges:
        """See ``Source.changes``."""
        return InterfaceChanges(self._appeared, self._disappeared)

    def close(self) -> None:
        """See ``Source.close``."""
        with self._lock:
            for rings in self._rings:
                for ring in rings.values():
                    self._gone = _sum([self._gone, ring.source.counts()])
                    ring.source.close()
                rings.clear()

    def _of(self, worker: int) -> list[tuple[str, _Ring]]:
        with self._lock:
            return list(self._rings[worker].items())

    def _matching(self) -> dict[str, int]:
        """Return the interfaces that match, with their numbers."""
        there = {name: number for number, name in socket.if_nameindex()}
        if ANY in self._patterns:
            there[ANY] = 0
        return {
            name: number
            for name, number in there.items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)
        }

    def _scan(self) -> None:
        """Let the rings of interfaces that went leave, and plug those that came."""
        self._scanned_at = time.monotonic()
        there = self._matching()
        for name, number in list(self._numbers.items()):
            if there.get(name) != number:
                del self._numbers[name]
                self._disappeared += 1
                _log.warning("interface has gone", interface=name)
                with self._lock:
                    for rings in self._rings:
                        if name in rings:
                            rings[name].leaving = True
        for name, number in there.items():
            # One that came back under its name waits until the old rings are drained.
            if name not in self._numbers and not any(name in rings for rings in self._rings):
                try:
                    self._plug(name, number)
                except CaptureError as error:
                    _log.warning("interface cannot be captured yet", interface=name, error=str(error))
                    continue
                self._appeared += 1
                _log.info("interface appeared", interface=name)

    def _plug(self, name: str, number: int) -> None:
        """Open the rings of an interface; no packet is let in before every worker is in the group."""
        settings = self._settings.model_copy(update={"interface": name})
        sources = [RingSource(settings) for _ in range(self.workers)]
        group: int | None = None
        try:
            for source in sources:
                source.open()
                source.keep_out()
                group = source.begin(group, shared=self.workers > 1)
            for source in sources:
                source.let_in()
        except CaptureError:
            for source in sources:
                source.close()
            raise
        with self._lock:
            self._numbers[name] = number
            for rings, source in zip(self._rings, sources, strict=True):
                rings[name] = _Ring(source, source.walk())

    def _leave(self, worker: int, name: str, ring: _Ring) -> Iterator[Block]:
        """Yield what a ring still holds, and close it."""
        for block in ring.source.drain(ring.walk):
            yield block._replace(interface=name)
        with self._lock:
            self._gone = _sum([self._gone, ring.source.counts()])
            ring.source.close()
            del self._rings[worker][name]

    def _wait(self, worker: int) -> None:
        """Wait until one of a worker's rings has a block, or for a moment."""
        poll = select.poll()
        for _, ring in self._of(worker):
            poll.register(ring.source.fileno(), select.POLLIN)
        events = poll.poll(TICK * 1000)
        if events and all(event & (select.POLLERR | select.POLLHUP) for _, event in events):
            # The error of an interface that went down stays until it is looked at; it must not keep us spinning.
            threading.Event().wait(TICK)


def _sum(counts: list[SourceCounts]) -> SourceCounts:
    return SourceCounts(sum(one.received for one in counts), sum(one.dropped for one in counts))
