"""Marks rows for the second pass, and remembers flows whose ClientHello goes on in the next segment."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import hot, inner
from streamgauge.decode.load_kernels import load8, load16, signed
from streamgauge.decode.network_kernels import DST_IP, SRC_IP
from streamgauge.decode.output import AT, COUNT, END, KIND, PARTIAL, RESERVED, ROW, SLOW, WAITING
from streamgauge.decode.transport_kernels import DST_PORT, SRC_PORT, TCP_SEQ

#: Pool bytes kept free for the texts of a handshake that is joined or decrypted, which are cut to it.
JOINED_RESERVE = 2048
#: A ClientHello that claims to be longer is not waited for (the largest real ones, with post-quantum keys, are 2 kB).
MAX_HELLO = 16384
#: Bytes of a record that tell a ClientHello and its length: the record's header, the message's type and length.
TELLING = 9
HANDSHAKE, CLIENT_HELLO = 22, 1
#: Record headers that may stand between the parts of a ClientHello that several records hold.
RECORDS_SLACK = 64

#: Spreads ports over the places: fractional bits of the golden ratio.
SPREAD = 0x9E3779B1
SEQUENCE = 0xFFFFFFFF
MASK = 0x7FFFFFFF

#: Whether a segment goes on with a ClientHello; perhaps: with what may be one.
NOT_AWAITED, AWAITED, PERHAPS_AWAITED = 0, 1, 2


@inner
def mark(rows, row, kind, at, end, reserve):
    """Mark a row; the caller of the first pass sees to it that there is room for one mark a packet."""
    place = rows.mark_state[COUNT]
    rows.marks[place, ROW] = row
    rows.marks[place, AT] = at
    rows.marks[place, END] = end
    rows.marks[place, KIND] = kind
    rows.mark_state[COUNT] = place + 1
    rows.mark_state[RESERVED] += reserve


@inner
def mark_slow(rows, row, kind, at, end):
    """Mark a row that Python must look at."""
    mark(rows, row, kind, at, end, JOINED_RESERVE)
    rows.mark_state[SLOW] += 1


@inner
def flow_hash(rows, row):
    """Hash addresses and ports of a row, one direction, into 31 bits."""
    value = (signed(rows.u2[SRC_PORT, row]) << 16) | signed(rows.u2[DST_PORT, row])
    for slot in (SRC_IP, SRC_IP + 1, DST_IP, DST_IP + 1):
        word = rows.u8[slot, row]
        for part in (signed(word & 0xFFFFFFFF), signed(word >> 32)):
            value = ((value & MASK) * 16777619) ^ part
    return (value ^ (value >> 20)) & MASK


@hot
def place_of(rows, row):
    """Return where a flow is waited for: by its ports alone, for 0.5 ns a packet instead of 3 for the whole hash."""
    ports = (signed(rows.u2[SRC_PORT, row]) << 16) | signed(rows.u2[DST_PORT, row])
    return ((ports * SPREAD) >> 20) & (len(rows.waiting) - 1)


@inner
def wait(rows, row, length):
    """Remember a segment's flow: so many bytes from its sequence number on are a ClientHello's; negative, at most."""
    place = place_of(rows, row)
    rows.waiting[place, 0] = flow_hash(rows, row) + 1
    rows.waiting[place, 1] = signed(rows.u4[TCP_SEQ, row])
    rows.waiting[place, 2] = length
    rows.mark_state[WAITING] = 1


@inner
def wait_for_more(data, hello, rows, row, payload):
    """Remember the flow of a segment whose ClientHello, in the record at ``hello``, is not whole."""
    length = 4 + (load8(data, hello + 6) << 16 | load16(data, hello + 7))
    if length > MAX_HELLO:
        return
    record = load16(data, hello + 3)
    total = hello - payload + 5 + length + (RECORDS_SLACK if record < length else 0)
    wait(rows, row, total)


@inner
def may_begin_hello(data, at, end):
    """Tell whether a segment that is too short to tell may begin a ClientHello: nothing in it says that it does not."""
    size = end - at
    return (
        0 < size < TELLING
        and load8(data, at) == HANDSHAKE
        and (size < 2 or load8(data, at + 1) == 3)
        and (size < 3 or load8(data, at + 2) <= 4)
        and (size < 6 or load8(data, at + 5) == CLIENT_HELLO)
    )


@inner
def mark_beginning(data, at, end, rows, row):
    """Mark a segment that may begin a ClientHello of unknown length; what follows is no TLS until it is whole."""
    mark_slow(rows, row, PARTIAL, at, end)
    wait(rows, row, -(MAX_HELLO + RECORDS_SLACK))


@inner
def goes_on(rows, row, place):
    """Tell how a segment goes on with the ClientHello waited for at a place; past its end the place is freed."""
    if rows.waiting[place, 0] != flow_hash(rows, row) + 1:
        return NOT_AWAITED
    total = rows.waiting[place, 2]
    ahead = (signed(rows.u4[TCP_SEQ, row]) - rows.waiting[place, 1]) & SEQUENCE
    if abs(total) <= ahead <= MASK:
        rows.waiting[place, 0] = 0
    if not 0 < ahead < abs(total):
        return NOT_AWAITED
    return AWAITED if total > 0 else PERHAPS_AWAITED


@hot
def is_awaited(rows, row):
    """Tell whether a segment goes on with a ClientHello: all segments are asked, once any hello was waited for."""
    place = place_of(rows, row)
    return NOT_AWAITED if rows.waiting[place, 0] == 0 else goes_on(rows, row, place)
