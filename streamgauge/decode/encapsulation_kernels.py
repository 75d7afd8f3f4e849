"""What stands between a link header and the network layer: tags, LLC, MPLS, PPPoE, bridged Ethernet.

They are read through whether tunnels are opened or not: there is no other network layer outside of them.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import (
    ETHERNET_FRAME,
    ETHERNET_HEADER,
    LAST_LENGTH,
    LLC_JUMBO,
    MPLS,
    MPLS_MULTICAST,
    OK,
    PPPOE_SESSION,
    TAG,
    UNREAD,
    cut,
    is_network,
    is_tag,
)
from streamgauge.decode.llc_kernels import read_llc
from streamgauge.decode.load_kernels import load16
from streamgauge.decode.mpls_kernels import read_mpls
from streamgauge.decode.pppoe_kernels import read_pppoe
from streamgauge.protocols import Tunnel

#: Headers that are read through at most; each is at least three bytes, but a hostile frame could stack thousands.
MAX_ENCAPSULATIONS = 16

NONE, KIND_MPLS, KIND_PPPOE = int(Tunnel.NONE), int(Tunnel.MPLS), int(Tunnel.PPPOE)


@inner
def read_encapsulations(data, protocol, at, end, wire_end):
    """Follow an EtherType (or IEEE 802.3 length) to the network layer.

    Returns ``(protocol, offset of what follows, kind of the first tunnel or NONE, its identifier or -1, status)``.
    """
    first_kind, first_identifier = NONE, -1
    for _ in range(MAX_ENCAPSULATIONS):
        kind, identifier, status = NONE, -1, OK
        if is_network(protocol) or protocol == UNREAD:
            break
        if is_tag(protocol):
            if at + TAG > end:
                return UNREAD, end, first_kind, first_identifier, cut(at + TAG, wire_end)
            protocol = load16(data, at + 2)
            at += TAG
        elif protocol == MPLS or protocol == MPLS_MULTICAST:
            kind = KIND_MPLS
            protocol, at, identifier, status = read_mpls(data, at, end, wire_end)
        elif protocol == PPPOE_SESSION:
            kind = KIND_PPPOE
            protocol, at, identifier, status = read_pppoe(data, at, end, wire_end)
        elif protocol == ETHERNET_FRAME:
            if at + ETHERNET_HEADER > end:
                return UNREAD, end, first_kind, first_identifier, cut(at + ETHERNET_HEADER, wire_end)
            protocol = load16(data, at + 12)
            at += ETHERNET_HEADER
        elif 0 <= protocol <= LAST_LENGTH or protocol == LLC_JUMBO:
            protocol, at, status = read_llc(data, at, end, wire_end)
        else:
            break
        if first_kind == NONE:
            first_kind, first_identifier = kind, identifier
        if status != OK:
            return UNREAD, at, first_kind, first_identifier, status
    return protocol, at, first_kind, first_identifier, OK
