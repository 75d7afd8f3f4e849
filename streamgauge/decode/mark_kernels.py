"""Marks rows for the second pass, and remembers flows whose ClientHello goes on in the next segment."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import hot, inner
from streamgauge.decode.load_kernels import load8, load16, signed
from streamgauge.decode.network_kernels import DST_IP, SRC_IP
from streamgauge.decode.output import AT, COUNT, END, KIND, RESERVED, ROW, SLOW, WAITING
from streamgauge.decode.transport_kernels import DST_PORT, SRC_PORT, TCP_SEQ

#: Pool bytes kept free for the texts of a handshake that is joined or decrypted, which are cut to it.
JOINED_RESERVE = 2048
#: A ClientHello that claims to be longer is not waited for (the largest real ones, with post-quantum keys, are 2 kB).
MAX_HELLO = 16384
#: Record headers that may stand between the parts of a ClientHello that several records hold.
RECORDS_SLACK = 64

#: Spreads ports over the places: fractional bits of the golden ratio.
SPREAD = 0x9E3779B1
SEQUENCE = 0xFFFFFFFF
MASK = 0x7FFFFFFF


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
def wait_for_more(data, hello, rows, row, payload):
    """Remember the flow of a segment whose ClientHello, in the record at ``hello``, is not whole."""
    length = 4 + (load8(data, hello + 6) << 16 | load16(data, hello + 7))
    if length > MAX_HELLO:
        return
    record = load16(data, hello + 3)
    total = hello - payload + 5 + length + (RECORDS_SLACK if record < length else 0)
    place = place_of(rows, row)
    rows.waiting[place, 0] = flow_hash(rows, row) + 1
    rows.waiting[place, 1] = signed(rows.u4[TCP_SEQ, row])
    rows.waiting[place, 2] = total
    rows.mark_state[WAITING] = 1


@inner
def goes_on(rows, row, place):
    """Tell whether a segment goes on with the ClientHello that is waited for at a place; past it the place is freed."""
    if rows.waiting[place, 0] != flow_hash(rows, row) + 1:
        return False
    ahead = (signed(rows.u4[TCP_SEQ, row]) - rows.waiting[place, 1]) & SEQUENCE
    if rows.waiting[place, 2] <= ahead <= MASK:
        rows.waiting[place, 0] = 0
    return 0 < ahead < rows.waiting[place, 2]


@hot
def is_awaited(rows, row):
    """Tell whether a segment goes on with a ClientHello: all segments are asked, once any hello was waited for."""
    place = place_of(rows, row)
    return rows.waiting[place, 0] != 0 and goes_on(rows, row, place)
