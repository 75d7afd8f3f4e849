"""Packets to rows: capture files and ring blocks are indexed, then decoded by compiled kernels.

    with open_capture("trace.pcap") as capture:
        for data, index, count in capture.blocks():
            taken = decoder.decode(data, index, 0, count, rows)

Light to import: Numba and the kernels load with the first decoder, or with ``warm_up``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamgauge.decode.fingerprints import new_fingerprints
from streamgauge.decode.index import PacketIndex, new_index
from streamgauge.decode.output import COUNT, SLOW, new_marks, output

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from streamgauge.decode.handshakes import Counters, Handshakes
    from streamgauge.decode.output import Output
    from streamgauge.rows import RowBuffers, Rows

__all__ = ["Decoder", "PacketIndex", "new_index", "warm_up"]


class Decoder:
    """Decodes the packets of one source; lives as long as the source and holds its options."""

    def __init__(self, *, frame_bytes: int = 0, decapsulate: bool = True) -> None:
        """Set up a decoder.

        Args:
            frame_bytes: Keep the first bytes of each packet, at most so many, in the column ``frame``.
            decapsulate: Open tunnels: the columns describe the innermost packet, ``outer_…`` the outermost.
        """
        from streamgauge.decode.hello_kernels import read_handshakes
        from streamgauge.decode.packet_kernels import decode_packets

        self.frame_bytes = frame_bytes
        self._decode_packets, self._read_handshakes = decode_packets, read_handshakes
        self._marks = new_marks(decapsulate=decapsulate)
        self._buffers: RowBuffers | None = None
        self._out: Output | None = None
        self._prints = new_fingerprints()
        self._handshakes: Handshakes | None = None

    @property
    def handshakes(self) -> Counters:
        """What became of handshakes that are not whole in one packet."""
        from streamgauge.decode.handshakes import Counters

        return self._handshakes.counters if self._handshakes is not None else Counters()

    def decode(self, data: npt.NDArray[np.uint8], index: PacketIndex, first: int, last: int, rows: Rows) -> int:
        """Append rows for the packets ``first`` to ``last - 1`` and return how many were taken.

        Fewer than asked for are taken when the rows or their text pool are full: hand over the rows, clear them, and go
        on with the packet after. Cleared rows always take at least one packet.

        Args:
            data: The buffer the index points into, writable (a read-only array costs one more compilation).
            index: Where the packets are. Offsets must lie inside of ``data``; what reaches beyond its end is cut.
            first: Position in the index of the first packet.
            last: Position behind the last packet.
            rows: Where the rows go.
        """
        out = self._out
        if out is None or self._buffers is not rows.buffers:
            self._buffers = rows.buffers
            self._out = out = output(rows.buffers, self._marks)
        taken = int(self._decode_packets(data, index, first, last, out, rows.capacity, self.frame_bytes))
        if out.mark_state[COUNT]:
            self._finish(data, rows, out)
        return taken

    def _finish(self, data: npt.NDArray[np.uint8], rows: Rows, out: Output) -> None:
        """Read the handshakes that the first pass marked."""
        self._read_handshakes(data, out, self._prints)
        if not out.mark_state[SLOW]:
            return
        if self._handshakes is None:
            from streamgauge.decode.handshakes import Handshakes

            self._handshakes = Handshakes(self._prints)
        self._handshakes.read(data, rows, out)


def warm_up() -> None:
    """Compile the kernels, or load them from the cache on disk; services do this before they report ready."""
    import numpy as np

    from streamgauge.decode.hello_kernels import read_handshakes
    from streamgauge.decode.pcap import RecordLayout
    from streamgauge.decode.pcap_kernels import index_records
    from streamgauge.decode.pcapng import Section
    from streamgauge.decode.pcapng_kernels import index_blocks
    from streamgauge.rows import Rows

    data = np.zeros(64, np.uint8)
    index = new_index(1)
    section = Section(little_endian=True)
    index_records(data, 0, 0, index, RecordLayout())
    index_blocks(data, 0, 0, index, section.interfaces, section.known, section.little_endian, 0)
    rows = Rows(1)
    Decoder().decode(data, index, 0, 1, rows)
    read_handshakes(data, output(rows.buffers, new_marks(capacity=1, flows=1)), new_fingerprints())
