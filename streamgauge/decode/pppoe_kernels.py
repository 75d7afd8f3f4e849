"""PPP over Ethernet, session stage (RFC 2516), and the protocol field of PPP (RFC 1661)."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import IPV4, IPV6, MPLS, MPLS_MULTICAST, OK, UNREAD, cut
from streamgauge.decode.load_kernels import load8, load16

PPPOE_HEADER = 6
PPP_IPV4, PPP_IPV6, PPP_MPLS, PPP_MPLS_MULTICAST = 0x0021, 0x0057, 0x0281, 0x0283


@inner
def read_ppp(data, at, end, wire_end):
    """Read a PPP protocol number, one byte if its field is compressed; return ``(protocol, offset behind, status)``."""
    if at >= end:
        return UNREAD, end, cut(at + 1, wire_end)
    number = load8(data, at)
    if number & 1:
        at += 1
    else:
        if at + 2 > end:
            return UNREAD, end, cut(at + 2, wire_end)
        number = load16(data, at)
        at += 2
    if number == PPP_IPV4:
        return IPV4, at, OK
    if number == PPP_IPV6:
        return IPV6, at, OK
    if number == PPP_MPLS:
        return MPLS, at, OK
    if number == PPP_MPLS_MULTICAST:
        return MPLS_MULTICAST, at, OK
    return UNREAD, at, OK


@inner
def read_pppoe(data, at, end, wire_end):
    """Read a session header; return ``(protocol, offset of what follows, session, status)``."""
    if at + PPPOE_HEADER > end:
        return UNREAD, end, -1, cut(at + PPPOE_HEADER, wire_end)
    session = load16(data, at + 2)
    protocol, at, status = read_ppp(data, at + PPPOE_HEADER, end, wire_end)
    return protocol, at, session, status
