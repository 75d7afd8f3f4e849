"""Opens tunnels: from an IP header to the IP or ARP header inside of it, and on, as deep as they are nested.

To add one: write ``<name>_kernels.py`` with ``read_<name>``, add its word to ``schema.Tunnel``, and ask it in
``read_ip_tunnel`` (by IP protocol) or ``read_udp_tunnel`` (by port). docs/84-adding-a-protocol.md shows it.

A reader returns ``(kind, identifier or -1, EtherType of what it carries, its offset, status)``.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import hot, inner
from streamgauge.decode.encapsulation_kernels import NONE, read_encapsulations
from streamgauge.decode.geneve_kernels import GENEVE_PORT, read_geneve
from streamgauge.decode.gre_kernels import read_gre
from streamgauge.decode.link_words import ETHERNET_FRAME, IPV4, IPV6, MALFORMED, MPLS, OK, UNREAD, cut
from streamgauge.decode.load_kernels import load8, load16
from streamgauge.decode.network_kernels import DST_IP, IP_VERSION, NO_TRANSPORT, SRC_IP, read_network
from streamgauge.decode.transport_kernels import UDP, UDP_HEADER
from streamgauge.decode.vxlan_kernels import (
    EXTENSION_PORT,
    LINUX_PORT,
    VXLAN_PORT,
    looks_like_vxlan,
    read_extension,
    read_vxlan,
)
from streamgauge.schema import SLOTS, Present, Tunnel

#: Tunnels in tunnels are opened so deep; what is deeper stays payload.
MAX_DEPTH = 8

IP_IN_IP, IPV6_IN_IP, GRE_IN_IP, ETHERIP, MPLS_IN_IP, ETHERNET_IN_IP = 4, 41, 47, 97, 137, 143
DNS_PORT, GRE_PORT, MPLS_PORT = 53, 4754, 6635
#: All tunnel ports are between these.
FIRST_PORT, LAST_PORT = GRE_PORT, LINUX_PORT
ETHERIP_HEADER = 2

KIND_MPLS, KIND_GRE, KIND_ETHERNET = int(Tunnel.MPLS), int(Tunnel.GRE), int(Tunnel.ETHERNET)
IPIP, IP6IN4, IP4IN6, IP6IN6 = int(Tunnel.IPIP), int(Tunnel.IP6IN4), int(Tunnel.IP4IN6), int(Tunnel.IP6IN6)

HAS_TUNNEL_ID, HAS_OUTER = int(Present.TUNNEL_ID), int(Present.OUTER_IP)
TUNNEL, TUNNEL_ID = SLOTS["tunnel"], SLOTS["tunnel_id"]
OUTER_SRC, OUTER_DST = SLOTS["outer_src_ip"], SLOTS["outer_dst_ip"]


@inner
def read_ip_in_ip(data, transport, at, end, wire_end, version):
    """Recognise an IP header right behind another one of the given version."""
    if at >= end:
        return NONE, -1, UNREAD, at, cut(at + 1, wire_end)
    inside = load8(data, at) >> 4
    if inside == 4 and transport == IP_IN_IP:
        return (IPIP if version == 4 else IP4IN6), -1, IPV4, at, OK
    if inside == 6:
        return (IP6IN4 if version == 4 else IP6IN6), -1, IPV6, at, OK
    return NONE, -1, UNREAD, at, MALFORMED


@inner
def read_ip_tunnel(data, transport, at, end, wire_end, version):
    """Read the tunnel that an IP protocol number announces."""
    if transport == IP_IN_IP or transport == IPV6_IN_IP:
        return read_ip_in_ip(data, transport, at, end, wire_end, version)
    if transport == GRE_IN_IP:
        return read_gre(data, at, end, wire_end)
    if transport == MPLS_IN_IP:
        return KIND_MPLS, -1, MPLS, at, OK
    if transport == ETHERNET_IN_IP:
        return KIND_ETHERNET, -1, ETHERNET_FRAME, at, OK
    if transport == ETHERIP:
        return KIND_ETHERNET, -1, ETHERNET_FRAME, at + ETHERIP_HEADER, OK
    return NONE, -1, UNREAD, at, OK


@inner
def read_udp_tunnel(data, at, end, wire_end):
    """Read the tunnel that a UDP port announces."""
    source, destination = load16(data, at), load16(data, at + 2)
    at += UDP_HEADER
    if source == DNS_PORT or destination == DNS_PORT:
        return NONE, -1, UNREAD, at, OK
    if source == VXLAN_PORT or destination == VXLAN_PORT:
        return read_vxlan(data, at, end, wire_end)
    if source == GENEVE_PORT or destination == GENEVE_PORT:
        return read_geneve(data, at, end, wire_end)
    if source == EXTENSION_PORT or destination == EXTENSION_PORT:
        return read_extension(data, at, end, wire_end)
    if destination == LINUX_PORT and looks_like_vxlan(data, at, end):
        return read_vxlan(data, at, end, wire_end)
    if destination == GRE_PORT:  # RFC 8086
        return read_gre(data, at, end, wire_end)
    if destination == MPLS_PORT:  # RFC 7510
        return KIND_MPLS, -1, MPLS, at, OK
    return NONE, -1, UNREAD, at, OK


@hot
def is_tunnel_port(port):
    """Tell whether ``read_udp_tunnel`` knows a port."""
    return FIRST_PORT <= port <= LAST_PORT and (
        port == VXLAN_PORT
        or port == GENEVE_PORT
        or port == LINUX_PORT
        or port == EXTENSION_PORT
        or port == GRE_PORT
        or port == MPLS_PORT
    )


@hot
def may_be_tunnel(data, transport, at, end):
    """Tell cheaply whether an IP packet may carry another one."""
    if transport == UDP:
        return at + UDP_HEADER <= end and (is_tunnel_port(load16(data, at)) or is_tunnel_port(load16(data, at + 2)))
    return (
        transport == IP_IN_IP
        or transport == IPV6_IN_IP
        or transport == GRE_IN_IP
        or transport == MPLS_IN_IP
        or transport == ETHERNET_IN_IP
        or transport == ETHERIP
    )


@inner
def open_tunnel(data, transport, at, end, wire_end, version):
    """Read one tunnel up to the network layer inside; as a reader, ``kind`` NONE where there is no tunnel."""
    if transport == UDP:
        kind, identifier, protocol, at, status = read_udp_tunnel(data, at, end, wire_end)
    else:
        kind, identifier, protocol, at, status = read_ip_tunnel(data, transport, at, end, wire_end, version)
    if kind == NONE or status != OK:
        return kind, identifier, UNREAD, at, status
    protocol, at, link_kind, link_identifier, status = read_encapsulations(data, protocol, at, end, wire_end)
    if identifier < 0 and link_kind == kind:
        identifier = link_identifier
    return kind, identifier, protocol, at, status


@inner
def keep_outer(rows, row):
    """Copy the addresses, which the inner header will overwrite."""
    for half in range(2):
        rows.u8[OUTER_SRC + half, row] = rows.u8[SRC_IP + half, row]
        rows.u8[OUTER_DST + half, row] = rows.u8[DST_IP + half, row]


@inner
def read_tunnels(data, transport, at, end, wire_end, rows, row):
    """Open the tunnels that an IP header leads to.

    Returns ``(transport protocol, its offset, its end on the wire, presence bits of the innermost network layer or 0 if
    no tunnel could be opened, kind of the outermost tunnel, its presence bits, status)``. Where the contents cannot be
    read, the row describes the header around them.
    """
    first = NONE
    found = 0
    present = 0
    failure = OK
    for depth in range(MAX_DEPTH):
        version = rows.u1[IP_VERSION, row]
        kind, identifier, protocol, inside, status = open_tunnel(data, transport, at, end, wire_end, version)
        failure = failure if failure != OK else status
        if kind == NONE:
            break
        if depth == 0:
            first = kind
            rows.u1[TUNNEL, row] = kind
            if identifier >= 0:
                rows.u4[TUNNEL_ID, row] = identifier
                present = HAS_TUNNEL_ID
            keep_outer(rows, row)
        if status != OK or inside >= wire_end:
            break
        below, inner_at, inner_end, seen, status = read_network(data, protocol, inside, end, wire_end, rows, row)
        failure = failure if failure != OK else status
        if seen == 0:
            break
        transport, at, wire_end, found = below, inner_at, inner_end, seen
        present |= HAS_OUTER
        end = min(end, wire_end)
        if transport == NO_TRANSPORT or not may_be_tunnel(data, transport, at, end):
            break
    return transport, at, wire_end, found, first, present, failure
