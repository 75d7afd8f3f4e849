"""MPLS (RFC 3032): the label stack, then a payload that only its first bits tell (RFC 4928, section 3)."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import (
    ETHERNET_FRAME,
    ETHERNET_HEADER,
    IPV4,
    IPV6,
    LAST_LENGTH,
    MPLS,
    MPLS_MULTICAST,
    OK,
    PPPOE_SESSION,
    UNREAD,
    cut,
    is_network,
    is_tag,
)
from streamgauge.decode.load_kernels import load8, load16, load32
from streamgauge.protocols import Tunnel

NONE, KIND_MPLS = int(Tunnel.NONE), int(Tunnel.MPLS)
#: Right behind an IP header: RFC 4023; in UDP: RFC 7510, where only the destination's port tells.
IP_PROTOCOLS, UDP_PORTS = (137,), (6635,)
ENTRY = 4
BOTTOM = 0x100
#: Control word of a pseudowire (RFC 4385): its first four bits are zero.
CONTROL_WORD = 4
#: Labels whose payload is neither IP nor a pseudowire: generic associated channel (RFC 5586), OAM (RFC 3429).
ASSOCIATED_CHANNEL, OAM_ALERT = 13, 14


@inner
def is_frame(data, at, end):
    """Tell whether an Ethernet frame is likely here: its type is one that such frames have."""
    if at + ETHERNET_HEADER > end:
        return False
    protocol = load16(data, at + 12)
    return (
        is_network(protocol)
        or is_tag(protocol)
        or protocol == MPLS
        or protocol == MPLS_MULTICAST
        or protocol == PPPOE_SESSION
    )


@inner
def read_payload(data, at, end):
    """Guess what the bottom label carries; return ``(protocol, its offset)``."""
    if at >= end:
        return UNREAD, at
    first = load8(data, at) >> 4
    if first == 4:
        return IPV4, at
    if first == 6:
        return IPV6, at
    # An Ethernet pseudowire (RFC 4448), with a control word or without.
    if first == 0 and is_frame(data, at + CONTROL_WORD, end):
        return ETHERNET_FRAME, at + CONTROL_WORD
    if is_frame(data, at, end):
        return ETHERNET_FRAME, at
    if first == 0 and at + CONTROL_WORD + ETHERNET_HEADER <= end and load16(data, at + 16) <= LAST_LENGTH:
        return ETHERNET_FRAME, at + CONTROL_WORD
    return UNREAD, at


@inner
def read_mpls(data, at, end, wire_end):
    """Read a label stack; return ``(protocol, offset of what follows, label at the bottom, status)``."""
    while at + ENTRY <= end:
        entry = load32(data, at)
        at += ENTRY
        if entry & BOTTOM:
            label = entry >> 12
            if label == ASSOCIATED_CHANNEL or label == OAM_ALERT:
                return UNREAD, at, label, OK
            protocol, at = read_payload(data, at, end)
            return protocol, at, label, OK
    return UNREAD, end, -1, cut(at + ENTRY, wire_end)


@inner
def read_in_ip(data, transport, version, at, end, wire_end):
    """Announce a label stack, which ``encapsulation_kernels`` reads; as the readers of ``tunnel_kernels``."""
    return KIND_MPLS, -1, MPLS, at, OK


@inner
def read_in_udp(data, source, destination, at, end, wire_end):
    """Announce a label stack in UDP; as the readers of ``tunnel_kernels``."""
    if destination not in UDP_PORTS:
        return NONE, -1, UNREAD, at, OK
    return KIND_MPLS, -1, MPLS, at, OK
