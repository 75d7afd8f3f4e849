"""Several rings: of the interfaces that names and patterns choose, and of each as many as there are workers.

A thread of its own follows the interfaces: one that comes is captured, one that goes is drained and let go, both are
counted, and the collector goes on. The kernel shares an interface between its workers by flow (PACKET_FANOUT_HASH, the
same for both directions), so each worker's flow table is whole.
"""

from __future__ import annotations

import contextlib
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
from services.collector.sources.links import LinkWatch
from services.collector.sources.packet_socket import ANY, PacketSocket, interface_link
from services.collector.sources.ring import RingSource
from streamgauge.decode import new_index
from streamgauge.errors import ConfigurationError, StreamgaugeError
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.settings import CollectorSettings

_log = get("rings")
_sampled = Sampled(_log)

#: Seconds between two looks at which interfaces there are, if the kernel does not say that one changed.
_SCAN_INTERVAL: Final = 1.0
#: Seconds until one that could not be captured is tried again: a try may itself change it (promiscuous), and be told.
_REFUSED_PAUSE: Final = 0.5
#: A pattern may choose a hundred interfaces, and a ring takes all its memory when it is opened. While their rings take
#: no more than this together, each is a whole one: a burst of large packets fills a small one in no time.
_MATCHED_BYTES: Final = 512 << 20
#: Bytes of a block of the rings after them. A packet that is handed over in one piece has up to 64 KiB.
_MATCHED_BLOCK_BYTES: Final = 128 << 10
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
        #: Guards ``_rings``, ``_gone`` and ``_ending``.
        self._lock = threading.Lock()
        #: By interface its number, by worker and interface the ring.
        self._numbers: dict[str, int] = {}
        self._rings: tuple[dict[str, _Ring], ...] = tuple({} for _ in range(self.workers))
        self._gone = SourceCounts()
        #: A worker has begun to leave: no more rings.
        self._ending = False
        self._links: LinkWatch | None = None
        self._follower: threading.Thread | None = None
        #: What ended the follower, if anything did.
        self._fault: Exception | None = None
        #: Interfaces that cannot be captured, why, and when that was tried (monotonic).
        self._refused: dict[str, tuple[str, float]] = {}
        self._appeared = self._disappeared = 0

    def check(self) -> None:
        """See ``Source.check``."""
        if not self._patterns:
            raise ConfigurationError(
                f"STREAMGAUGE_COLLECTOR_INTERFACE={self.interface}: names no interface; give one, a pattern, or any"
            )
        for name in self._patterns:
            if _WILD.isdisjoint(name):
                socket_program(self._settings.filter, self._settings.snaplen, interface_link(name))
        socket_program(self._settings.filter, self._settings.snaplen, None)
        PacketSocket(ANY).close()

    def open(self) -> None:
        """See ``Source.open``; a name that is no pattern must be there."""
        self.check()
        for name, number in self._matching().items():
            if name in self._patterns:
                self._plug(name, number)
            else:
                self._try_to_plug(name, number)
        if not self._numbers:
            _log.warning("no interface matches yet", wanted=self.interface)
        _log.info("capturing", interfaces=",".join(sorted(self._numbers)), workers=self.workers)
        self._links = LinkWatch()
        self._follower = threading.Thread(target=self._follow, args=(self._links,), name="interfaces", daemon=True)
        self._follower.start()

    def blocks(self, stop: threading.Event, worker: int = 0) -> Iterator[Block]:
        """See ``Source.blocks``."""
        while not stop.is_set() and self._fault is None:
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
        with self._lock:
            self._ending = True
        for name, ring in self._of(worker):
            yield from self._leave(worker, name, ring)
        if self._fault is not None:
            raise self._fault

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
            self._ending = True
        if self._links is not None and self._follower is not None:
            self._links.wake()
            self._follower.join()
            self._links.close()
            self._links = None
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

    def _follow(self, links: LinkWatch) -> None:
        """Look at the interfaces each time one may have changed, until the end."""
        try:
            while not self._ending:
                links.wait(_SCAN_INTERVAL)
                try:
                    self._scan()
                except OSError as error:  # no file descriptor is left, say: the next look tries again
                    _sampled.warning("interfaces cannot be listed", error=str(error))
        except Exception as error:  # noqa: BLE001 a worker raises it
            self._fault = error

    def _scan(self) -> None:
        """Let the rings of interfaces that went leave, and plug those that came."""
        there = self._matching()
        for name, number in list(self._numbers.items()):
            if there.get(name) != number:
                del self._numbers[name]
                self._disappeared += 1
                _log.warning("interface has gone", interface=name)
                with self._lock:
                    for rings in self._rings:
                        if name in rings:
                            # It may have got another name only: its packets are not to be captured twice.
                            rings[name].source.keep_out()
                            rings[name].leaving = True
        for name in self._refused.keys() - there.keys():
            del self._refused[name]
        for name, number in there.items():
            # One that came back under its name waits until the old rings are drained.
            if any(name in rings for rings in self._rings) or self._was_just_refused(name):
                continue
            if self._try_to_plug(name, number):
                self._appeared += 1
                _log.info("interface appeared", interface=name)

    def _try_to_plug(self, name: str, number: int) -> bool:
        """Plug an interface if that is possible; say once why it is not."""
        try:
            plugged = self._plug(name, number)
        except StreamgaugeError as error:
            before, _ = self._refused.get(name, ("", 0.0))
            self._refused[name] = str(error), time.monotonic()
            if before != str(error):
                _log.warning("interface cannot be captured", interface=name, error=str(error))
            return False
        self._refused.pop(name, None)
        return plugged

    def _was_just_refused(self, name: str) -> bool:
        return name in self._refused and time.monotonic() - self._refused[name][1] < _REFUSED_PAUSE

    def _plug(self, name: str, number: int) -> bool:
        """Open the rings of an interface; no packet is let in before every worker is in the group.

        Returns:
            Whether it is captured now: it is not if the workers leave.

        Raises:
            StreamgaugeError: it cannot be captured.

        """
        sources = [RingSource(self._settings_of(name)) for _ in range(self.workers)]
        group: int | None = None
        with contextlib.ExitStack() as undo:
            for source in sources:
                undo.callback(source.close)
                source.open()
                source.keep_out()
                group = source.begin(group, shared=self.workers > 1)
            with self._lock:
                if self._ending:
                    return False
                for source in sources:
                    source.let_in()
                self._numbers[name] = number
                for rings, source in zip(self._rings, sources, strict=True):
                    rings[name] = _Ring(source, source.walk())
            undo.pop_all()
        return True

    def _settings_of(self, name: str) -> CollectorSettings:
        """Return the settings of one ring; those of interfaces that patterns chose are small where there are many."""
        changed: dict[str, object] = {"interface": name}
        if name not in self._patterns:
            changed["ring_blocks"] = max(self._settings.ring_blocks // self.workers, 1)
            matched = 1 + sum(other not in self._patterns for other in self._numbers)
            if matched * self._settings.ring_blocks * self._settings.ring_block_bytes > _MATCHED_BYTES:
                changed["ring_block_bytes"] = min(self._settings.ring_block_bytes, _MATCHED_BLOCK_BYTES)
        return self._settings.model_copy(update=changed)

    def _leave(self, worker: int, name: str, ring: _Ring) -> Iterator[Block]:
        """Yield what a ring still holds, and close it."""
        for block in ring.source.drain(ring.walk):
            yield block._replace(interface=name)
        with self._lock:
            self._gone = _sum([self._gone, ring.source.counts()])
            ring.source.close()
            del self._rings[worker][name]
            last = not any(name in rings for rings in self._rings)
        if last and self._links is not None:
            self._links.wake()  # it may be back already

    def _wait(self, worker: int) -> None:
        """Wait until one of a worker's rings has a block, or for a moment."""
        poll = select.poll()
        sources = {ring.source.fileno(): ring.source for _, ring in self._of(worker)}
        for number in sources:
            poll.register(number, select.POLLIN)
        for number, event in poll.poll(TICK * 1000):
            if event & (select.POLLERR | select.POLLHUP):
                # The error of an interface that went down stays until it is taken off, and would end each wait.
                sources[number].take_error()


def _sum(counts: list[SourceCounts]) -> SourceCounts:
    return SourceCounts(sum(one.received for one in counts), sum(one.dropped for one in counts))
