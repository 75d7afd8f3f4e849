"""The packet ring: the kernel writes frames into shared memory, and they are decoded where they lie."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from services.collector.sources import NO_CHANGES, TICK, Block, InterfaceChanges, SourceCounts, hardware_time
from services.collector.sources.bpf import Instruction, socket_program
from services.collector.sources.packet_socket import ANY, PacketSocket, interface_link
from services.collector.sources.points import Points
from services.collector.sources.ring_kernels import index_block, release_block, warm_up
from streamgauge.decode import new_index
from streamgauge.errors import CaptureError
from streamgauge.logs import get

if TYPE_CHECKING:
    import mmap
    import threading
    from collections.abc import Iterator

    from services.collector.sources.bpf import Program
    from streamgauge.decode import PacketIndex
    from streamgauge.settings import CollectorSettings

_log = get("ring")

#: No packet takes less room in a block: its header (48), its address (20), alignment.
_LEAST_PACKET_BYTES: Final = 80
#: Seconds in which the kernel hands over its last block after the capture has ended; the retire timer is added.
_DRAIN_TIMEOUT: Final = 1.0
_TAG_BYTES: Final = 4
_TAKE_NOTHING: Final = [Instruction(0x06, 0, 0, 0)]


class RingSource:
    """Captures an interface, or all of them, through one ring."""

    live = True
    workers = 1

    def __init__(self, settings: CollectorSettings) -> None:
        self._settings = settings
        self.interface = settings.interface
        self._program: Program = []
        self._socket: PacketSocket | None = None
        self._ring: mmap.mmap | None = None
        self._final: SourceCounts | None = None
        #: Packets yielded so far.
        self._yielded = 0

    def check(self) -> None:
        """See ``Source.check``."""
        socket_program(self._settings.filter, self._settings.snaplen, interface_link(self._settings.interface))
        PacketSocket(self._settings.interface).close()

    def open(self) -> None:
        """See ``Source.open``."""
        settings = self._settings
        self._program = socket_program(settings.filter, settings.snaplen, interface_link(settings.interface))
        warm_up()
        opened = PacketSocket(settings.interface)
        try:
            ring = opened.map_ring(settings.ring_blocks, settings.ring_block_bytes, settings.ring_block_timeout_ms)
            if settings.ignore_outgoing:
                opened.ignore_outgoing()
            if settings.timestamps == "hardware":
                opened.hardware_time()
                self._tell_what_time()
        except BaseException:
            opened.close()
            raise
        # Other threads ask for counts: they see no socket, or one that is complete.
        self._ring, self._socket = ring, opened

    def blocks(self, stop: threading.Event, worker: int = 0) -> Iterator[Block]:  # noqa: ARG002 there is one
        """See ``Source.blocks``."""
        assert self._socket is not None
        assert self._ring is not None
        self.let_in()
        self.begin()
        _log.info("capturing", interface=self._settings.interface, ring_bytes=len(self._ring))
        walk, gone = self.walk(), None
        while gone is None and not stop.is_set():
            block = next(walk)
            if not block.last:
                try:
                    self._socket.wait(TICK)
                except CaptureError as error:
                    gone = error
            yield block
        yield from self.drain(walk)
        if gone is not None:
            raise gone

    def begin(self, group: int | None = None, *, shared: bool = False) -> int:
        """Receive from now on, what the filter lets in; ``shared`` with a group of workers, which is returned."""
        assert self._socket is not None
        self._socket.begin(promiscuous=self._settings.promiscuous)
        return self._socket.join(group) if shared else 0

    def keep_out(self) -> None:
        """Let no packet in."""
        assert self._socket is not None
        self._socket.attach(_TAKE_NOTHING)

    def let_in(self) -> None:
        """Let in what the settings ask for."""
        assert self._socket is not None
        self._socket.attach(self._program)

    def fileno(self) -> int:
        """Return the socket to wait for."""
        assert self._socket is not None
        return self._socket.fileno()

    def _tell_what_time(self) -> None:
        """Warn where the kernel's time stands in for the card's; of all interfaces, each may be different."""
        why = None if self.interface == ANY else hardware_time.lacking(self.interface)
        if why is not None:
            _log.warning("no hardware timestamps, the kernel's are taken", interface=self.interface, reason=why)

    def take_error(self) -> None:
        """Take a pending error off the socket."""
        assert self._socket is not None
        self._socket.take_error()

    def walk(self) -> Iterator[Block]:
        """Yield the blocks in turn for ever; an empty block if the kernel still owns the next one."""
        assert self._ring is not None
        ring = self._ring
        data = np.frombuffer(ring, np.uint8)
        words, halves = data.view(np.uint32), data.view(np.uint16)
        index = new_index(self._settings.ring_block_bytes // _LEAST_PACKET_BYTES)
        points = Points() if self._settings.interface == ANY else None
        places = np.zeros(len(index.offset) if points is not None else 0, np.int32)
        at = 0
        while True:
            packets = index_block(words, halves, at, index, places)
            if packets < 0:
                yield Block(data, index, 0, 0)
                continue
            self._yielded += packets
            if self._settings.snaplen:
                _cut_tagged(index, packets, self._settings.snaplen)
            if points is None:
                yield Block(data, index, 0, packets)
            else:
                yield from points.blocks(data, index, places, packets)
            release_block(words, at)
            at = (at + self._settings.ring_block_bytes) % len(ring)

    def drain(self, walk: Iterator[Block]) -> Iterator[Block]:
        """Yield what the kernel delivered before the end: the counts tell when that is all."""
        assert self._socket is not None
        self.keep_out()
        deadline = time.monotonic() + _DRAIN_TIMEOUT + self._settings.ring_block_timeout_ms / 1000
        while time.monotonic() < deadline:
            counts = self._socket.counts()
            if self._yielded >= counts.received - counts.dropped:
                return
            block = next(walk)
            if not block.last:
                with contextlib.suppress(CaptureError):
                    self._socket.wait(TICK)
            yield block
        _log.error("packets left in the ring", packets=counts.received - counts.dropped - self._yielded)

    def counts(self) -> SourceCounts:
        """See ``Source.counts``."""
        if self._final is not None:
            return self._final
        return self._socket.counts() if self._socket is not None else SourceCounts()

    def changes(self) -> InterfaceChanges:
        """See ``Source.changes``."""
        return NO_CHANGES

    def close(self) -> None:
        """See ``Source.close``."""
        if self._socket is None:
            return
        self._final = self.counts()
        self._socket.close()
        self._socket = None
        if self._ring is not None:
            # Arrays over the ring may still be referenced; the memory goes with the last of them.
            with contextlib.suppress(BufferError):
                self._ring.close()
            self._ring = None


def _cut_tagged(index: PacketIndex, packets: int, snaplen: int) -> None:
    """Count a VLAN tag among the bytes that are kept: the kernel cuts a packet after it has taken the tag off."""
    kept = max(snaplen - _TAG_BYTES, 0)
    captured = index.captured[:packets]
    np.minimum(captured, captured.dtype.type(kept), out=captured, where=index.tag[:packets] >= 0)
