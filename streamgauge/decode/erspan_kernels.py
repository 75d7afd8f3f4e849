"""ERSPAN (draft-foschiano-erspan-03): mirrored frames in GRE, types I, II and III."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import ETHERNET_FRAME, IPV4, MALFORMED, OK, UNREAD, cut
from streamgauge.decode.load_kernels import load16, load32
from streamgauge.protocols import Tunnel

ERSPAN = int(Tunnel.ERSPAN)
#: EtherTypes: types I and II, type III.
ERSPAN_II, ERSPAN_III = 0x88BE, 0x22EB
VERSION_II, VERSION_III = 1, 2
HEADER_II, HEADER_III, SUBHEADER = 8, 12, 8
#: What the mirrored frame is, in type III.
FRAME_ETHERNET, FRAME_IP = 0, 2


@inner
def read_erspan(data, at, end, wire_end):
    """Read a header of type II or III (type I has none); as the readers of ``tunnel_kernels``."""
    if at + HEADER_II > end:
        return ERSPAN, -1, UNREAD, end, cut(at + HEADER_II, wire_end)
    first = load32(data, at)
    session = first & 0x3FF
    version = first >> 28
    if version == VERSION_II:
        return ERSPAN, session, ETHERNET_FRAME, at + HEADER_II, OK
    if version != VERSION_III:
        return ERSPAN, -1, UNREAD, at, MALFORMED
    if at + HEADER_III > end:
        return ERSPAN, session, UNREAD, end, cut(at + HEADER_III, wire_end)
    flags = load16(data, at + 10)
    at += HEADER_III
    if flags & 1:
        at += SUBHEADER
    kind = (flags >> 10) & 0x1F
    if kind == FRAME_ETHERNET:
        return ERSPAN, session, ETHERNET_FRAME, at, OK
    if kind == FRAME_IP:
        return ERSPAN, session, IPV4, at, OK  # the version nibble tells IPv6
    return ERSPAN, session, UNREAD, at, OK
