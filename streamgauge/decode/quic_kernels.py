"""QUIC (RFC 9000, version 2: RFC 9369) on any UDP port: recognised by its long header (RFC 8999)."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.load_kernels import load8, load32

VERSION_1, VERSION_2 = 0x00000001, 0x6B3343CF
#: Drafts of version 1 (the low byte is the draft's number).
DRAFTS = 0xFF000000

LONG_HEADER_FIXED_BIT = 0xC0
#: First byte, version and the length of the destination connection identifier.
START = 6
MAX_CONNECTION_ID = 20

#: Packet type of an Initial, in version 1 and in version 2.
INITIAL, INITIAL_2 = 0, 1


@inner
def is_quic(data, at, end):
    """Tell whether a datagram starts with a long header of a version this decoder knows."""
    if at + START > end or load8(data, at) & LONG_HEADER_FIXED_BIT != LONG_HEADER_FIXED_BIT:
        return False
    version = load32(data, at + 1)
    if version != VERSION_1 and version != VERSION_2 and version & 0xFFFFFF00 != DRAFTS:
        return False
    identifier = load8(data, at + 5)
    source_identifier = at + START + identifier
    return (
        identifier <= MAX_CONNECTION_ID
        and source_identifier < end
        and load8(data, source_identifier) <= MAX_CONNECTION_ID
    )


@inner
def is_initial(data, at):
    """Tell whether a long header, checked by ``is_quic``, is that of an Initial packet (17.2.2; RFC 9369, 3.2)."""
    kind = (load8(data, at) >> 4) & 3
    return kind == (INITIAL_2 if load32(data, at + 1) == VERSION_2 else INITIAL)
