"""Text columns: bytes are copied into the pool, the row keeps offset and length. The pool is never overrun."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
import numpy as np

from streamgauge.decode.accelerate import INTERPRETED, inner
from streamgauge.decode.load_kernels import load64, wrap64

BACKSLASH, ZERO = 0x5C, 0x30
#: The control characters 7 to 13 have letters.
NAMED_ESCAPES = np.frombuffer(b"abtnvfr", np.uint8)
FIRST_NAMED, LAST_NAMED = 7, 13

_unsigned = int if INTERPRETED else np.uint64
#: The lowest and the highest bit of each of eight bytes.
ONES, HIGH_BITS = _unsigned(0x0101_0101_0101_0101), _unsigned(0x8080_8080_8080_8080)

#: Longest text kept of one field; what is longer is cut. The decoder reserves the pool by it.
MAX_TEXT = 8192

#: Most texts of one packet (method, host and path of a request).
TEXTS_PER_PACKET = 3


@inner
def keep_bytes(data, at, length, rows, row, slot):
    """Copy ``length`` bytes, fewer if the pool is full, as the text or bytes column whose first slot is ``slot``."""
    used = rows.state[1]
    length = max(min(length, rows.pool.size - used), 0)
    for position in range(length):
        rows.pool[used + position] = data[at + position]
    rows.u4[slot, row] = used
    rows.u4[slot + 1, row] = length
    rows.state[1] = used + length


@inner
def keep_text(data, at, length, rows, row, slot):
    """Copy a text into the pool."""
    keep_bytes(data, at, min(length, MAX_TEXT), rows, row, slot)


@inner
def lower(letter):
    """Return an ASCII letter in lower case, any other byte as it is."""
    if 65 <= letter <= 90:
        return letter + 32
    return letter


@inner
def put_readable(pool, at, letter):
    r"""Write a byte, a control character escaped (``\\n``, ``\\177``) as tshark does; return the offset behind it."""
    if 32 <= letter != 127:
        if at < pool.size:
            pool[at] = letter
        return min(at + 1, pool.size)
    if at + 4 > pool.size:
        return min(pool.size, at)
    pool[at] = BACKSLASH
    if FIRST_NAMED <= letter <= LAST_NAMED:
        pool[at + 1] = NAMED_ESCAPES[letter - FIRST_NAMED]
        return at + 2
    pool[at + 1] = ZERO + (letter >> 6)
    pool[at + 2] = ZERO + ((letter >> 3) & 7)
    pool[at + 3] = ZERO + (letter & 7)
    return at + 4


@inner
def find(data, at, end, wanted):
    """Return the position of a byte in ``data[at:end]``, or ``end``.

    Eight bytes at a time while none of them is the wanted one, by the well-known test for a zero byte (HTTP requests of
    1,100 bytes: 389 → 223 ns, cached).
    """
    pattern = wrap64(wanted * 0x0101_0101_0101_0101)
    while at + 8 <= end:
        word = load64(data, at) ^ pattern
        if (word - ONES) & ~word & HIGH_BITS:
            break
        at += 8
    while at < end and data[at] != wanted:
        at += 1
    return at
