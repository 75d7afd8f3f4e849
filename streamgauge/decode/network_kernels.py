"""Network layer: IPv4 (RFC 791), IPv6 with its extension headers (RFC 8200, RFC 7045), ARP (RFC 826).

Readers return ``(protocol number, offset of the transport layer, its end on the wire, presence bits, status)``; the
protocol is ``NO_TRANSPORT`` where no transport header follows: a later fragment, an unread or damaged layer.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import hot, inner
from streamgauge.decode.link_words import ARP, IPV4, IPV6, MALFORMED, OK, RARP, UNSUPPORTED, cut
from streamgauge.decode.load_kernels import load8, load16, load32, load64
from streamgauge.schema import SLOTS, Present

NO_TRANSPORT = -1

# Protocol numbers that are IPv6 extension headers (https://www.iana.org/assignments/ipv6-parameters).
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION = 0, 43, 44, 51
DESTINATION, MOBILITY, HIP, SHIM6 = 60, 135, 139, 140

IPV4_HEADER, IPV6_HEADER, ARP_HEADER = 20, 40, 8

#: Options of a Hop-by-Hop header.
PAD_ONE, JUMBO_PAYLOAD = 0x00, 0xC2

#: High half of an IPv4 address mapped into ::ffff:0:0/96, as it stands in the low 64 bits.
MAPPED = 0xFFFF_0000_0000

HAS_IP, HAS_ARP = int(Present.IP), int(Present.ARP)

IP_VERSION, SRC_IP, DST_IP = SLOTS["ip_version"], SLOTS["src_ip"], SLOTS["dst_ip"]
IP_PROTOCOL, TTL, DSCP, FRAGMENTED = SLOTS["ip_protocol"], SLOTS["ttl"], SLOTS["dscp"], SLOTS["fragment"]
ARP_OPCODE, PAYLOAD_BYTES = SLOTS["arp_opcode"], SLOTS["payload_bytes"]


@hot
def read_ipv4(data, at, end, wire_end, rows, row):
    """Read an IPv4 header; a total length of 0 means that the network card was to cut it."""
    if at + IPV4_HEADER > end:
        return NO_TRANSPORT, at, wire_end, 0, cut(at + IPV4_HEADER, wire_end)
    first = load8(data, at)
    header = (first & 0x0F) << 2
    if first >> 4 != 4 or header < IPV4_HEADER:
        return NO_TRANSPORT, at, wire_end, 0, MALFORMED
    total = load16(data, at + 2)
    fragment = load16(data, at + 6) & 0x3FFF
    protocol = load8(data, at + 9)
    rows.u1[IP_VERSION, row] = 4
    rows.u1[DSCP, row] = load8(data, at + 1) >> 2
    rows.u1[TTL, row] = load8(data, at + 8)
    rows.u1[IP_PROTOCOL, row] = protocol
    rows.u1[FRAGMENTED, row] = 1 if fragment else 0
    rows.u8[SRC_IP, row] = 0
    rows.u8[SRC_IP + 1, row] = MAPPED | load32(data, at + 12)
    rows.u8[DST_IP, row] = 0
    rows.u8[DST_IP + 1, row] = MAPPED | load32(data, at + 16)
    status = OK
    if total:
        if total < header or at + total > wire_end:
            status = MALFORMED
        wire_end = min(wire_end, at + max(total, header))
    at += header
    if at > wire_end:
        return NO_TRANSPORT, wire_end, wire_end, HAS_IP, MALFORMED
    if fragment & 0x1FFF:
        rows.u8[PAYLOAD_BYTES, row] = wire_end - at
        protocol = NO_TRANSPORT
    return protocol, at, wire_end, HAS_IP, status


@hot
def is_extension(protocol):
    """Tell whether a protocol number is an IPv6 extension header that announces a next one."""
    return (
        protocol == HOP_BY_HOP
        or protocol == ROUTING
        or protocol == FRAGMENT
        or protocol == AUTHENTICATION
        or protocol == DESTINATION
        or protocol == MOBILITY
        or protocol == HIP
        or protocol == SHIM6
    )


@inner
def read_extensions(data, protocol, at, end, wire_end):
    """Walk IPv6 extension headers.

    Returns ``(final protocol, offset behind them, fragment bits, status)``; bit 0 of the fragment bits says that this
    is a fragment, bit 1 that it is not the first. Each header is eight bytes or more, so the walk ends.
    """
    fragment = 0
    while is_extension(protocol):
        if at + 8 > end:
            return protocol, at, fragment, cut(at + 8, wire_end)
        following = load8(data, at)
        length = (load8(data, at + 1) + 1) << 3
        if protocol == FRAGMENT:
            position = load16(data, at + 2)
            length = 8
            if position & 0xFFF8:
                return following, at + 8, 3, OK
            if position & 1:
                fragment = 1
        elif protocol == AUTHENTICATION:
            length = (load8(data, at + 1) + 2) << 2
        protocol = following
        if at + length > end:
            return protocol, at, fragment, cut(at + length, wire_end)
        at += length
    return protocol, at, fragment, OK


@inner
def has_jumbo_option(data, at, end):
    """Tell whether the Hop-by-Hop header at ``at`` has the option Jumbo Payload (RFC 2675)."""
    if at + 2 > end:
        return False
    stop = min(end, at + ((load8(data, at + 1) + 1) << 3))
    at += 2
    while at + 2 <= stop:
        option = load8(data, at)
        if option == JUMBO_PAYLOAD:
            return True
        at += 1 if option == PAD_ONE else 2 + load8(data, at + 1)
    return False


@inner
def read_ipv6(data, at, end, wire_end, rows, row):
    """Read an IPv6 header and its extensions; a payload length of 0 (jumbogram, TSO) means that it fills the frame."""
    if at + IPV6_HEADER > end:
        return NO_TRANSPORT, at, wire_end, 0, cut(at + IPV6_HEADER, wire_end)
    first = load16(data, at)
    if first >> 12 != 6:
        return NO_TRANSPORT, at, wire_end, 0, MALFORMED
    length = load16(data, at + 4)
    rows.u1[IP_VERSION, row] = 6
    rows.u1[DSCP, row] = (first >> 6) & 0x3F
    rows.u1[TTL, row] = load8(data, at + 7)
    rows.u8[SRC_IP, row] = load64(data, at + 8)
    rows.u8[SRC_IP + 1, row] = load64(data, at + 16)
    rows.u8[DST_IP, row] = load64(data, at + 24)
    rows.u8[DST_IP + 1, row] = load64(data, at + 32)
    protocol = load8(data, at + 6)
    at += IPV6_HEADER
    status = OK
    if length:
        if at + length > wire_end:
            status = MALFORMED
        wire_end = min(wire_end, at + length)
    elif protocol == HOP_BY_HOP and not has_jumbo_option(data, at, end):
        # There is a header, so the length cannot be zero (RFC 2675, section 3).
        rows.u1[IP_PROTOCOL, row] = protocol
        rows.u1[FRAGMENTED, row] = 0
        return NO_TRANSPORT, at, wire_end, HAS_IP, MALFORMED
    fragment = 0
    if is_extension(protocol):
        protocol, at, fragment, walked = read_extensions(data, protocol, at, min(end, wire_end), wire_end)
        if walked != OK:
            rows.u1[IP_PROTOCOL, row] = protocol
            rows.u1[FRAGMENTED, row] = fragment & 1
            return NO_TRANSPORT, at, wire_end, HAS_IP, walked
    rows.u1[IP_PROTOCOL, row] = protocol
    rows.u1[FRAGMENTED, row] = fragment & 1
    if fragment & 2:
        rows.u8[PAYLOAD_BYTES, row] = max(wire_end - at, 0)
        protocol = NO_TRANSPORT
    return protocol, at, wire_end, HAS_IP, status


@inner
def read_arp(data, at, end, wire_end, rows, row):
    """Read the operation of an ARP packet."""
    if at + ARP_HEADER > end:
        return NO_TRANSPORT, at, wire_end, 0, cut(at + ARP_HEADER, wire_end)
    rows.u2[ARP_OPCODE, row] = load16(data, at + 6)
    return NO_TRANSPORT, at, wire_end, HAS_ARP, OK


@hot
def read_network(data, protocol, at, end, wire_end, rows, row):
    """Read the network layer that ``protocol``, an EtherType, announces; the version nibble has the last word on IP."""
    if protocol == IPV4 or protocol == IPV6:
        if at < end and load8(data, at) >> 4 == 6:
            return read_ipv6(data, at, end, wire_end, rows, row)
        return read_ipv4(data, at, end, wire_end, rows, row)
    if protocol == ARP or protocol == RARP:
        return read_arp(data, at, end, wire_end, rows, row)
    return NO_TRANSPORT, at, wire_end, 0, UNSUPPORTED
