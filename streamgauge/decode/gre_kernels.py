"""GRE (RFC 2784, RFC 1701) with key and sequence number (RFC 2890), and its version 1 for PPTP (RFC 2637)."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.erspan_kernels import ERSPAN, ERSPAN_II, ERSPAN_III, read_erspan
from streamgauge.decode.link_words import ETHERNET_FRAME, IPV4, OK, UNREAD, cut
from streamgauge.decode.load_kernels import load8, load16, load32
from streamgauge.decode.pppoe_kernels import read_ppp
from streamgauge.protocols import Tunnel

NONE, GRE = int(Tunnel.NONE), int(Tunnel.GRE)
CHECKSUM, ROUTING, KEY, SEQUENCE, ACKNOWLEDGEMENT, VERSION = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080, 0x0007
PPP, WCCP = 0x880B, 0x883E
#: In UDP: RFC 8086; only the destination's port tells.
IP_PROTOCOLS, UDP_PORTS = (47,), (4754,)
#: Address and control field of PPP in HDLC-like framing (RFC 1662).
ALL_STATIONS = 0xFF03
#: Source routes that are skipped at most (RFC 1701).
MAX_ROUTES = 16


@inner
def skip_routes(data, at, end):
    """Return the offset behind the source route entries; one without address family and length ends them."""
    for _ in range(MAX_ROUTES):
        if at + 4 > end:
            return end + 1
        entry = load32(data, at)
        at += 4 + (entry & 0xFF)
        if entry & 0xFF == 0 or entry >> 16 == 0:
            return at
    return end + 1


@inner
def read_gre(data, at, end, wire_end):
    """Read a GRE header and what it announces; as ``read_in_ip``."""
    if at + 4 > end:
        return GRE, -1, UNREAD, end, cut(at + 4, wire_end)
    flags, protocol = load16(data, at), load16(data, at + 2)
    identifier = -1
    at += 4
    if flags & (CHECKSUM | ROUTING):
        at += 4
    if flags & KEY:
        if at + 4 > end:
            return GRE, -1, UNREAD, end, cut(at + 4, wire_end)
        # In version 1 the upper half of the key is the payload's length.
        identifier = load16(data, at + 2) if flags & VERSION == 1 else load32(data, at)
        at += 4
    if flags & SEQUENCE:
        at += 4
    if flags & ACKNOWLEDGEMENT and flags & VERSION == 1:
        at += 4
    if flags & ROUTING:
        at = skip_routes(data, at, end)
    if at > end:
        return GRE, identifier, UNREAD, end, cut(at, wire_end)
    if protocol == ERSPAN_II and flags & SEQUENCE == 0:
        return ERSPAN, -1, ETHERNET_FRAME, at, OK
    if protocol == ERSPAN_II or protocol == ERSPAN_III:
        return read_erspan(data, at, end, wire_end)
    status = OK
    if protocol == PPP and at < end:
        if at + 2 <= end and load16(data, at) == ALL_STATIONS:
            at += 2
        protocol, at, status = read_ppp(data, at, end, wire_end)
    elif protocol == WCCP:
        protocol = IPV4
        # Version 2 puts a redirect header before the packet.
        if at < end and load8(data, at) >> 4 != 4:
            at += 4
    return GRE, identifier, protocol, at, status


@inner
def read_in_ip(data, transport, version, at, end, wire_end):
    """Read GRE right behind an IP header; as the readers of ``tunnel_kernels``."""
    return read_gre(data, at, end, wire_end)


@inner
def read_in_udp(data, source, destination, at, end, wire_end):
    """Read GRE in UDP; as the readers of ``tunnel_kernels``."""
    if destination not in UDP_PORTS:
        return NONE, -1, UNREAD, at, OK
    return read_gre(data, at, end, wire_end)
