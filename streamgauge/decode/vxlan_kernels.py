"""VXLAN (RFC 7348) and its Generic Protocol Extension (draft-ietf-nvo3-vxlan-gpe).

Port 4789 is VXLAN's; Linux and flannel still use 8472 by default, where the header must look like one.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import ETHERNET_FRAME, IPV4, IPV6, MPLS, OK, UNREAD, cut
from streamgauge.decode.load_kernels import load8, load32
from streamgauge.protocols import Tunnel

NONE, VXLAN = int(Tunnel.NONE), int(Tunnel.VXLAN)
VXLAN_PORT, EXTENSION_PORT, LINUX_PORT = 4789, 4790, 8472
UDP_PORTS = (VXLAN_PORT, EXTENSION_PORT, LINUX_PORT)
HEADER = 8
#: Flag: the network identifier is valid. In the extension: the next-protocol field is.
HAS_NETWORK, HAS_PROTOCOL = 0x08, 0x04


@inner
def looks_like_vxlan(data, at, end):
    """Tell whether a header is here with the one flag of RFC 7348 set and all reserved bits zero."""
    return at + HEADER <= end and load32(data, at) == HAS_NETWORK << 24 and load8(data, at + 7) == 0


@inner
def read_vxlan(data, at, end, wire_end):
    """Read a VXLAN header; return ``(kind, identifier, protocol, offset of what follows, status)``."""
    if at + HEADER > end:
        return VXLAN, -1, UNREAD, end, cut(at + HEADER, wire_end)
    network = load32(data, at + 4) >> 8 if load8(data, at) & HAS_NETWORK else -1
    return VXLAN, network, ETHERNET_FRAME, at + HEADER, OK


@inner
def read_extension(data, at, end, wire_end):
    """Read a header of the Generic Protocol Extension; what it carries is told, with the flag for it or without."""
    kind, network, protocol, behind, status = read_vxlan(data, at, end, wire_end)
    if status == OK:
        following = load8(data, at + 3)
        if following == 1:
            protocol = IPV4
        elif following == 2:
            protocol = IPV6
        elif following == 5:
            protocol = MPLS
        elif following != 3 and (following != 0 or load8(data, at) & HAS_PROTOCOL):
            protocol = UNREAD
    return kind, network, protocol, behind, status


@inner
def read_in_udp(data, source, destination, at, end, wire_end):
    """Read what one of the ports announces; as the readers of ``tunnel_kernels``."""
    if source == VXLAN_PORT or destination == VXLAN_PORT:
        return read_vxlan(data, at, end, wire_end)
    if source == EXTENSION_PORT or destination == EXTENSION_PORT:
        return read_extension(data, at, end, wire_end)
    if destination == LINUX_PORT and looks_like_vxlan(data, at, end):
        return read_vxlan(data, at, end, wire_end)
    return NONE, -1, UNREAD, at, OK
