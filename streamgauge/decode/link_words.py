"""Numbers that several layers share: EtherTypes (https://www.iana.org/assignments/ieee-802-numbers) and statuses."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import hot
from streamgauge.schema import DecodeStatus

IPV4, IPV6, ARP, RARP = 0x0800, 0x86DD, 0x0806, 0x8035
VLAN, VLAN_SERVICE, VLAN_QINQ_1, VLAN_QINQ_2, VLAN_QINQ_3 = 0x8100, 0x88A8, 0x9100, 0x9200, 0x9300
MPLS, MPLS_MULTICAST, PPPOE_SESSION = 0x8847, 0x8848, 0x8864
#: An Ethernet frame (Transparent Ethernet Bridging, RFC 1701), and LLC in a jumbo frame.
ETHERNET_FRAME, LLC_JUMBO = 0x6558, 0x8870

#: No EtherType: link types, address families and encapsulations this decoder does not read.
UNREAD = -1

#: Below this, the field after the addresses is a length (IEEE 802.3, 3.2.6); up to 1500 LLC follows.
FIRST_ETHERTYPE, LAST_LENGTH = 0x0600, 1500

ETHERNET_HEADER, TAG = 14, 4

OK, UNSUPPORTED = int(DecodeStatus.OK), int(DecodeStatus.UNSUPPORTED)
TRUNCATED, MALFORMED = int(DecodeStatus.TRUNCATED), int(DecodeStatus.MALFORMED)


@hot
def cut(needed, wire_end):
    """Return why bytes up to ``needed`` are missing: the capture stops early, or no header left room for them."""
    if needed <= wire_end:
        return TRUNCATED
    return MALFORMED


@hot
def is_tag(protocol):
    """Tell whether an EtherType announces a VLAN tag."""
    return protocol in (VLAN, VLAN_SERVICE, VLAN_QINQ_1, VLAN_QINQ_2, VLAN_QINQ_3)


@hot
def is_network(protocol):
    """Tell whether an EtherType announces a network layer that this decoder reads."""
    return protocol in (IPV4, IPV6, ARP, RARP)
