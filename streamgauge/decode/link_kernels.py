"""Link layer: Ethernet, loopback, raw IP, Linux cooked capture; then the VLAN tags.

Sources: IEEE 802.3 and 802.1Q; the link type pages of https://www.tcpdump.org/linktypes.html.

Each reader returns ``(protocol, offset of what follows, presence bits, status)``; ``protocol`` is an EtherType, or
``UNREAD`` where the frame carries something this decoder does not read.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import hot, inner
from streamgauge.decode.encapsulation_kernels import NONE, read_encapsulations
from streamgauge.decode.link_words import (
    ETHERNET_HEADER,
    FIRST_ETHERTYPE,
    IPV4,
    IPV6,
    MALFORMED,
    OK,
    TAG,
    UNREAD,
    UNSUPPORTED,
    cut,
    is_network,
    is_tag,
)
from streamgauge.decode.load_kernels import load8, load16, load32, swap32
from streamgauge.schema import SLOTS, Present

# Link types
NULL, EN10MB, RAW_BSD, RAW_OPENBSD, RAW, LOOP = 0, 1, 12, 14, 101, 108
LINUX_SLL, IPV4_ONLY, IPV6_ONLY, LINUX_SLL2 = 113, 228, 229, 276

SLL_HEADER, SLL2_HEADER, LOOPBACK_HEADER = 16, 20, 4

HAS_ETHERNET, HAS_ETH_TYPE, HAS_VLAN = int(Present.ETHERNET), int(Present.ETH_TYPE), int(Present.VLAN)
HAS_TUNNEL_ID = int(Present.TUNNEL_ID)

SRC_MAC, DST_MAC, ETH_TYPE, VLAN_ID = SLOTS["src_mac"], SLOTS["dst_mac"], SLOTS["eth_type"], SLOTS["vlan"]
TUNNEL, TUNNEL_ID = SLOTS["tunnel"], SLOTS["tunnel_id"]


@hot
def read_ethernet(data, at, end, wire_end, rows, row):
    """Read an Ethernet header."""
    if at + 12 > end:
        return UNREAD, end, 0, cut(at + ETHERNET_HEADER, wire_end)
    rows.u8[DST_MAC, row] = (load16(data, at) << 32) | load32(data, at + 2)
    rows.u8[SRC_MAC, row] = (load16(data, at + 6) << 32) | load32(data, at + 8)
    if at + ETHERNET_HEADER > end:
        return UNREAD, end, HAS_ETHERNET, cut(at + ETHERNET_HEADER, wire_end)
    return load16(data, at + 12), at + ETHERNET_HEADER, HAS_ETHERNET, OK


@inner
def read_raw(data, at, end, wire_end):
    """Tell IPv4 from IPv6 by the version nibble; there is no link header."""
    if at >= end:
        return UNREAD, at, 0, cut(at + 1, wire_end)
    version = load8(data, at) >> 4
    if version == 4:
        return IPV4, at, 0, OK
    if version == 6:
        return IPV6, at, 0, OK
    return UNREAD, at, 0, MALFORMED


@inner
def read_loopback(data, at, end, wire_end, link):
    """Read the address family of a BSD loopback header: NULL in the byte order of the host, LOOP in network order.

    The values for IPv6 are those of Linux (10), NetBSD and OpenBSD (24), FreeBSD (28) and macOS (30).
    """
    if at + LOOPBACK_HEADER > end:
        return UNREAD, end, 0, cut(at + LOOPBACK_HEADER, wire_end)
    family = load32(data, at)
    # Families are small numbers: a large one was written by a little-endian host.
    if link == NULL and family > 0xFFFF:
        family = swap32(family)
    following = at + LOOPBACK_HEADER
    if family == 2:
        return IPV4, following, 0, OK
    if family == 10 or family == 24 or family == 28 or family == 30:
        return IPV6, following, 0, OK
    if FIRST_ETHERTYPE <= family <= 0xFFFF:
        return family, following, 0, OK
    return UNREAD, following, 0, OK


@inner
def read_cooked(data, at, end, wire_end, link):
    """Read a Linux cooked header; version 1 has the protocol at its end, version 2 at its start."""
    length = SLL_HEADER if link == LINUX_SLL else SLL2_HEADER
    protocol_at = at + 14 if link == LINUX_SLL else at
    if at + length > end:
        return UNREAD, end, 0, cut(at + length, wire_end)
    return load16(data, protocol_at), at + length, 0, OK


@hot
def read_tags(data, protocol, at, end, wire_end, rows, row):
    """Skip VLAN tags, keeping the identifier of the first."""
    present = 0
    while is_tag(protocol):
        if at + 2 <= end and present == 0:
            rows.u2[VLAN_ID, row] = load16(data, at) & 0x0FFF
            present = HAS_VLAN
        if at + TAG > end:
            return UNREAD, end, present, cut(at + TAG, wire_end)
        protocol = load16(data, at + 2)
        at += TAG
    return protocol, at, present, OK


@inner
def read_between(data, protocol, at, end, wire_end, rows, row):
    """Read through what is neither a tag nor a network layer; as ``read_link``."""
    protocol, at, kind, identifier, status = read_encapsulations(data, protocol, at, end, wire_end)
    rows.u1[TUNNEL, row] = kind
    if identifier < 0:
        return protocol, at, 0, status
    rows.u4[TUNNEL_ID, row] = identifier
    return protocol, at, HAS_TUNNEL_ID, status


@hot
def read_link(data, at, end, wire_end, link, tag, rows, row):
    """Read everything up to the network layer. ``tag`` is the outermost tag if the kernel stripped it, else -1."""
    rows.u1[TUNNEL, row] = NONE
    if link == EN10MB:
        protocol, at, present, status = read_ethernet(data, at, end, wire_end, rows, row)
    elif link == LINUX_SLL or link == LINUX_SLL2:
        protocol, at, present, status = read_cooked(data, at, end, wire_end, link)
    elif link == NULL or link == LOOP:
        protocol, at, present, status = read_loopback(data, at, end, wire_end, link)
    elif link == RAW or link == RAW_BSD or link == RAW_OPENBSD:
        protocol, at, present, status = read_raw(data, at, end, wire_end)
    elif link == IPV4_ONLY:
        protocol, present, status = IPV4, 0, OK
    elif link == IPV6_ONLY:
        protocol, present, status = IPV6, 0, OK
    else:
        return UNREAD, at, 0, UNSUPPORTED
    if status != OK:
        return UNREAD, at, present, status
    protocol, at, tagged, status = read_tags(data, protocol, at, end, wire_end, rows, row)
    if tag >= 0:
        rows.u2[VLAN_ID, row] = tag & 0x0FFF
        tagged = HAS_VLAN
    present |= tagged
    if protocol >= FIRST_ETHERTYPE:
        rows.u2[ETH_TYPE, row] = protocol
        present |= HAS_ETH_TYPE
    if status == OK and not is_network(protocol):
        protocol, at, found, status = read_between(data, protocol, at, end, wire_end, rows, row)
        present |= found
    return protocol, at, present, status
