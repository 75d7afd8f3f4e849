"""Logical link control (IEEE 802.2) and its SubNetwork Access Protocol (RFC 1042): what IEEE 802.3 frames carry."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import IPV4, MALFORMED, OK, UNREAD, cut
from streamgauge.decode.load_kernels import load8, load16

SNAP_SAP, IP_SAP = 0xAA, 0x06
UNNUMBERED_INFORMATION = 0x03
SNAP_HEADER = 5
#: Organisations under which SNAP numbers are EtherTypes: RFC 1042, and Cisco's for bridged frames.
ENCAPSULATED_ETHERNET, CISCO_90 = 0x000000, 0x0000F8


@inner
def read_llc(data, at, end, wire_end):
    """Read an LLC header; return ``(protocol, offset of what follows, status)``."""
    if at + 3 > end:
        return UNREAD, end, cut(at + 3, wire_end)
    access_points = load16(data, at)
    control = load8(data, at + 2)
    if control == UNNUMBERED_INFORMATION:
        at += 3
    elif control & 1 == 0:  # an information frame: its control field has two bytes
        at += 4
    else:
        return UNREAD, at, OK
    if access_points >> 8 == IP_SAP:
        return IPV4, at, OK
    if access_points != (SNAP_SAP << 8 | SNAP_SAP):
        return UNREAD, at, OK
    if at + SNAP_HEADER > end:
        return UNREAD, end, cut(at + SNAP_HEADER, wire_end)
    organisation = load8(data, at) << 16 | load16(data, at + 1)
    protocol = load16(data, at + 3)
    if organisation != ENCAPSULATED_ETHERNET and organisation != CISCO_90:
        return UNREAD, at, OK
    # A number below the EtherTypes would be a length, and lead here again without an end.
    return (protocol, at + SNAP_HEADER, OK) if protocol >= 0x0600 else (UNREAD, at, MALFORMED)
