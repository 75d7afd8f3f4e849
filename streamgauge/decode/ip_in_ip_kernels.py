"""IP in IP (RFC 2003, RFC 2473, RFC 4213): one IP header right behind another one."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import IPV4, IPV6, MALFORMED, OK, UNREAD, cut
from streamgauge.decode.load_kernels import load8
from streamgauge.protocols import Tunnel

NONE = int(Tunnel.NONE)
IPIP, IP6IN4, IP4IN6, IP6IN6 = int(Tunnel.IPIP), int(Tunnel.IP6IN4), int(Tunnel.IP4IN6), int(Tunnel.IP6IN6)
IP_IN_IP, IPV6_IN_IP = 4, 41
IP_PROTOCOLS = (IP_IN_IP, IPV6_IN_IP)


@inner
def read_in_ip(data, transport, version, at, end, wire_end):
    """Read no header, there is none: the first bits tell which IP is inside."""
    if at >= end:
        return NONE, -1, UNREAD, at, cut(at + 1, wire_end)
    inside = load8(data, at) >> 4
    if inside == 4 and transport == IP_IN_IP:
        return (IPIP if version == 4 else IP4IN6), -1, IPV4, at, OK
    if inside == 6:
        return (IP6IN4 if version == 4 else IP6IN6), -1, IPV6, at, OK
    return NONE, -1, UNREAD, at, MALFORMED
