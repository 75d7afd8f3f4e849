"""Opens tunnels: from an IP header to the IP or ARP header inside of it, and on, as deep as they are nested.

To add one: write ``<name>_kernels.py`` and its line in ``streamgauge.protocols.Tunnel``. The module has
``IP_PROTOCOLS`` and ``read_in_ip``, or ``UDP_PORTS`` and ``read_in_udp``, or both pairs.
docs/84-adding-a-protocol.md shows it.

A reader returns ``(kind, identifier or -1, EtherType of what it carries, its offset, status)``; kind NONE if what is
there is not its tunnel.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import hot, inner
from streamgauge.decode.encapsulation_kernels import NONE, read_encapsulations
from streamgauge.decode.link_words import OK, UNREAD
from streamgauge.decode.load_kernels import load16
from streamgauge.decode.network_kernels import DST_IP, IP_VERSION, NO_TRANSPORT, SRC_IP, read_network
from streamgauge.decode.registry import registered, together
from streamgauge.decode.transport_kernels import TCP, UDP, UDP_HEADER
from streamgauge.protocols import Tunnel
from streamgauge.schema import SLOTS, Present

#: Tunnels in tunnels are opened so deep; what is deeper stays payload.
MAX_DEPTH = 8

MODULES = [module for _, module in registered(Tunnel)]
IP_PROTOCOLS, UDP_PORTS = together(MODULES, "IP_PROTOCOLS"), together(MODULES, "UDP_PORTS")
FIRST_PORT, LAST_PORT = UDP_PORTS[0], UDP_PORTS[-1]
#: A client of DNS may have a tunnel's port.
DNS_PORT = 53

HAS_TUNNEL_ID, HAS_OUTER = int(Present.TUNNEL_ID), int(Present.OUTER_IP)
TUNNEL, TUNNEL_ID = SLOTS["tunnel"], SLOTS["tunnel_id"]
OUTER_SRC, OUTER_DST = SLOTS["outer_src_ip"], SLOTS["outer_dst_ip"]


@inner
def no_tunnel(data, first, second, at, end, wire_end):
    """Read nothing: the reader of either kind that is asked when no module is left."""
    return NONE, -1, UNREAD, at, OK


def _ask_ip(modules):
    """Return a kernel that reads the tunnel an IP protocol number announces: it asks the modules in turn."""
    if not modules:
        return no_tunnel
    protocols, read, others = modules[0].IP_PROTOCOLS, modules[0].read_in_ip, _ask_ip(modules[1:])

    @inner
    def ask(data, transport, version, at, end, wire_end):
        if transport in protocols:
            return read(data, transport, version, at, end, wire_end)
        return others(data, transport, version, at, end, wire_end)

    return ask


def _ask_udp(modules):
    """Return a kernel that reads the tunnel a UDP port announces: it asks the modules in turn, until one knows it."""
    if not modules:
        return no_tunnel
    ports, read, others = modules[0].UDP_PORTS, modules[0].read_in_udp, _ask_udp(modules[1:])

    @inner
    def ask(data, source, destination, at, end, wire_end):
        if source in ports or destination in ports:
            kind, identifier, protocol, behind, status = read(data, source, destination, at, end, wire_end)
            if kind != NONE:
                return kind, identifier, protocol, behind, status
        return others(data, source, destination, at, end, wire_end)

    return ask


read_ip_tunnel = _ask_ip([module for module in MODULES if hasattr(module, "IP_PROTOCOLS")])
ask_udp_tunnels = _ask_udp([module for module in MODULES if hasattr(module, "UDP_PORTS")])


@inner
def read_udp_tunnel(data, at, end, wire_end):
    """Read the tunnel that a UDP port announces."""
    source, destination = load16(data, at), load16(data, at + 2)
    at += UDP_HEADER
    if source == DNS_PORT or destination == DNS_PORT:
        return NONE, -1, UNREAD, at, OK
    return ask_udp_tunnels(data, source, destination, at, end, wire_end)


@hot
def is_tunnel_port(port):
    """Tell whether a tunnel has a port."""
    return FIRST_PORT <= port <= LAST_PORT and port in UDP_PORTS


@hot
def may_be_tunnel(data, transport, at, end):
    """Tell cheaply whether an IP packet may carry another one."""
    if transport == TCP:
        return False
    if transport == UDP:
        return at + UDP_HEADER <= end and (is_tunnel_port(load16(data, at)) or is_tunnel_port(load16(data, at + 2)))
    return transport in IP_PROTOCOLS


@inner
def open_tunnel(data, transport, at, end, wire_end, version):
    """Read one tunnel up to the network layer inside; as a reader, ``kind`` NONE where there is no tunnel."""
    if transport == UDP:
        kind, identifier, protocol, at, status = read_udp_tunnel(data, at, end, wire_end)
    else:
        kind, identifier, protocol, at, status = read_ip_tunnel(data, transport, version, at, end, wire_end)
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
