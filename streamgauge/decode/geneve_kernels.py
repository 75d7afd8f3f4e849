"""Geneve (RFC 8926): options are skipped, the protocol field is an EtherType."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import MALFORMED, OK, UNREAD, cut
from streamgauge.decode.load_kernels import load8, load16, load32
from streamgauge.protocols import Tunnel

GENEVE = int(Tunnel.GENEVE)
UDP_PORTS = (6081,)
HEADER = 8


@inner
def read_in_udp(data, source, destination, at, end, wire_end):
    """Read a Geneve header; return ``(kind, identifier, protocol, offset of what follows, status)``."""
    if at + HEADER > end:
        return GENEVE, -1, UNREAD, end, cut(at + HEADER, wire_end)
    network = load32(data, at + 4) >> 8
    protocol = load16(data, at + 2)
    behind = at + HEADER + ((load8(data, at) & 0x3F) << 2)
    if load8(data, at) >> 6 != 0:
        return GENEVE, network, UNREAD, at, MALFORMED
    if behind > end:
        return GENEVE, network, UNREAD, end, cut(behind, wire_end)
    return GENEVE, network, protocol, behind, OK
