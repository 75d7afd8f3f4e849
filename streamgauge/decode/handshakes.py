"""Third pass, in Python, for the few rows whose ClientHello is not whole in its packet: joined, or decrypted (QUIC).

    reader = Handshakes()
    reader.read(data, rows, output)     # after the kernels, for the rows they marked

Everything is bounded: streams at a time, bytes of each, decryptions a call. What is left out is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from streamgauge.decode.output import (
    CONTINUATION,
    COUNT,
    JOINED,
    JOINED_QUIC,
    PARTIAL,
    QUIC_INITIAL,
    Output,
    new_marks,
    output,
)
from streamgauge.decode.pieces import MAX_BYTES, HelloInRecords, Pieces
from streamgauge.decode.quic import QuicError, client_crypto, connection_id
from streamgauge.protocols import App
from streamgauge.schema import SLOTS, Present, TrafficClass

if TYPE_CHECKING:
    import numpy.typing as npt

    from streamgauge.decode.fingerprints import Fingerprints
    from streamgauge.rows import Rows

#: ClientHellos that are waited for at a time, of TCP and of QUIC each: for each at most three times
#: ``pieces.MAX_BYTES``, which are what is joined, what is loose, and the message without headers of records.
MAX_STREAMS: Final = 512
#: QUIC datagrams that are decrypted in one call of the decoder; about 60 µs each.
MAX_DECRYPTIONS: Final = 256

_HANDSHAKE_HEADER = 4
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SEQUENCE: Final = 0xFFFFFFFF
#: Elements of ``Marks.waiting``.
_TAKEN, _FIRST, _LENGTH = 0, 1, 2

_Flow = tuple[int, ...]


@dataclass(slots=True)
class Counters:
    """What became of the handshakes that took more than one look."""

    #: ClientHellos put together from several segments or records.
    joined: int = 0
    #: ClientHellos read from QUIC.
    decrypted: int = 0
    #: QUIC Initials that are no client's, damaged, cut or of an unknown draft.
    unreadable: int = 0
    #: QUIC Initials beyond ``MAX_DECRYPTIONS``.
    skipped: int = 0
    #: Streams given up for newer ones.
    evicted: int = 0


@dataclass(slots=True)
class _Stream:
    """A ClientHello on its way."""

    pieces: Pieces
    records: HelloInRecords = field(default_factory=HelloInRecords)
    #: TCP: sequence number of its record.
    sequence: int = 0
    #: QUIC: identifier the keys come from.
    connection_id: bytes = b""
    #: Columns that the row of the first segment already has.
    told: int = 0
    done: bool = False


class Handshakes:
    """Belongs to one decoder and lives as long: flows go on from one block to the next."""

    def __init__(self, prints: Fingerprints) -> None:
        """Begin without streams; ``prints`` is the decoder's."""
        self.counters = Counters()
        self._prints = prints
        self._tcp: OrderedDict[_Flow, _Stream] = OrderedDict()
        self._quic: OrderedDict[_Flow, _Stream] = OrderedDict()
        self._single = new_marks(capacity=1, flows=1)

    def read(self, data: npt.NDArray[np.uint8], rows: Rows, out: Output) -> None:
        """Finish the rows that ``out`` marks, in capture order."""
        decryptions = 0
        for mark in range(int(out.mark_state[COUNT])):
            row, at, end, kind = out.marks[mark].tolist()
            if kind not in (PARTIAL, CONTINUATION, QUIC_INITIAL):
                continue
            content = data[at:end].tobytes()
            if kind == PARTIAL:
                self._begin(content, rows, row, out)
            elif kind == CONTINUATION:
                self._go_on(content, rows, row, out)
            elif decryptions < MAX_DECRYPTIONS:
                decryptions += self._read_initial(content, rows, row)
            else:
                self.counters.skipped += 1

    def _begin(self, records: bytes, rows: Rows, row: int, out: Output) -> None:
        """Start waiting for the rest of a ClientHello; ``records`` ends where the segment ends."""
        flow = _flow(rows, row)
        before = int(rows.column("payload_bytes")[row]) - len(records)
        sequence = (int(rows.column("tcp_seq")[row]) + before) & _SEQUENCE
        stream = self._tcp.get(flow)
        if stream is None or stream.sequence != sequence:  # else it was sent again
            stream = _Stream(Pieces(), sequence=sequence, told=int(rows.column("present")[row]))
        stream.pieces.put(0, records)
        hello = stream.records.read(stream.pieces.joined)
        if hello is None:
            self._remember(self._tcp, flow, stream)
            return
        self._tcp.pop(flow, None)
        out.waiting[out.waiting[:, _FIRST] == int(rows.column("tcp_seq")[row]), _TAKEN] = 0
        self.counters.joined += 1
        self._fill(hello, JOINED, rows, row, told=0)

    def _go_on(self, segment: bytes, rows: Rows, row: int, out: Output) -> None:
        flow = _flow(rows, row)
        stream = self._tcp.get(flow)
        if stream is None:
            return
        ahead = (int(rows.column("tcp_seq")[row]) - stream.sequence) & _SEQUENCE
        if ahead > MAX_BYTES:
            return
        stream.pieces.put(ahead, segment)
        hello = stream.records.read(stream.pieces.joined)
        if hello is None and _may_be_hello(stream.pieces.joined):
            return
        del self._tcp[flow]
        # Where the length was not known the kernel would go on waiting.
        unsure = (out.waiting[:, _FIRST] == stream.sequence) & (out.waiting[:, _LENGTH] < 0)
        out.waiting[unsure, _TAKEN] = 0
        if hello is not None:
            self.counters.joined += 1
            self._fill(hello, JOINED, rows, row, told=stream.told)

    def _read_initial(self, datagram: bytes, rows: Rows, row: int) -> int:
        """Read a datagram; return how many decryptions were tried."""
        flow = _flow(rows, row)
        stream = self._quic.get(flow)
        if (stream is not None and stream.done) or _reverse(flow) in self._quic:
            return 0
        try:
            own = connection_id(datagram)
            if stream is None or (stream.connection_id != own and not stream.pieces.joined):
                stream = _Stream(Pieces(), connection_id=own)  # of a first packet, or after a Retry
            pieces = client_crypto(datagram, stream.connection_id)
        except QuicError:
            self.counters.unreadable += 1
            return 1
        if not pieces:
            return 1
        for offset, piece in pieces:
            stream.pieces.put(offset, piece)
        self._remember(self._quic, flow, stream)
        hello = _whole_hello(bytes(stream.pieces.joined))
        if hello is not None:
            stream.done = True
            stream.pieces = Pieces()
            self.counters.decrypted += 1
            self._fill(hello, JOINED_QUIC, rows, row, told=0)
        return 1

    def _remember(self, streams: OrderedDict[_Flow, _Stream], flow: _Flow, stream: _Stream) -> None:
        streams[flow] = stream
        streams.move_to_end(flow)
        if len(streams) > MAX_STREAMS:
            _, oldest = streams.popitem(last=False)
            self.counters.evicted += not oldest.done

    def _fill(self, hello: bytes, kind: int, rows: Rows, row: int, *, told: int) -> None:
        """Let the kernel read a whole ClientHello into a row; server name and protocols are told once a handshake."""
        from streamgauge.decode.hello_kernels import read_handshakes

        single = self._single
        single.marks[0] = row, 0, len(hello), kind
        single.mark_state[COUNT] = 1
        read_handshakes(np.frombuffer(bytearray(hello), np.uint8), output(rows.buffers, single), self._prints)
        present = rows.column("present")
        if kind == JOINED:
            again = told & int(Present.TLS_SNI | Present.TLS_ALPN)
            present[row] = (int(present[row]) & ~again) | int(Present.APP)
            rows.column("app")[row] = App.TLS
            rows.column("traffic_class")[row] = TrafficClass.TLS


def _flow(rows: Rows, row: int) -> _Flow:
    """Return addresses and ports of a row."""
    u8, u2 = rows.buffers.u8, rows.buffers.u2
    source, target = SLOTS["src_ip"], SLOTS["dst_ip"]
    return (
        int(u8[source, row]), int(u8[source + 1, row]), int(u2[SLOTS["src_port"], row]),
        int(u8[target, row]), int(u8[target + 1, row]), int(u2[SLOTS["dst_port"], row]),
    )  # fmt: skip


def _reverse(flow: _Flow) -> _Flow:
    return flow[3:] + flow[:3]


def _whole_hello(message: bytes) -> bytes | None:
    """Return the ClientHello that handshake bytes begin with, if all of it is there."""
    length = _HANDSHAKE_HEADER + int.from_bytes(message[1:4], "big")
    whole = len(message) >= max(length, _HANDSHAKE_HEADER) and message[0] == _CLIENT_HELLO
    return message[:length] if whole else None


def _may_be_hello(stream: bytearray) -> bool:
    """Tell whether TLS records with a ClientHello may begin like this."""
    known = stream[:1] + stream[1:2] + stream[5:6]
    return known == bytes((_HANDSHAKE, 3, _CLIENT_HELLO))[: len(known)]
