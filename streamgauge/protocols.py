"""The protocols that the decoder knows by name: for each the number in a row, and the module that recognises it.

A protocol is registered by its line here. Numbers are stored: they are never changed, new ones go to the end. A module,
``streamgauge/decode/<name>_kernels.py``, is named where a protocol is recognised by itself; those without one are told
by another protocol's reader. What such a module has is in docs/84-adding-a-protocol.md. No I/O, no Numba.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class _Protocol(IntEnum):
    """A number, and the module in ``streamgauge.decode`` that recognises the protocol; empty if another's does."""

    module: str

    def __new__(cls, number: int, module: str = "") -> Self:
        """Make a member that is equal to its number."""
        protocol = int.__new__(cls, number)
        protocol._value_ = number
        protocol.module = module
        return protocol

    @classmethod
    def modules(cls) -> tuple[tuple[Self, str], ...]:
        """Return the protocols that are recognised by a module of their own, with its name, in the order of numbers."""
        return tuple((protocol, protocol.module) for protocol in cls if protocol.module)


class App(_Protocol):
    """The application protocol, where the decoder recognised one (values of the column ``app``)."""

    UNKNOWN = 0
    DNS = 1
    TLS = 2
    HTTP = 3
    QUIC = 4
    MDNS = 5
    LLMNR = 6
    DHCP = 7, "dhcp_kernels"
    NTP = 8, "ntp_kernels"
    SSH = 9, "ssh_kernels"


class Tunnel(_Protocol):
    """What carries the packet that the main columns describe, outermost first (values of the column ``tunnel``)."""

    NONE = 0
    #: Label stack (RFC 3032): ``tunnel_id`` is the label at its bottom.
    MPLS = 1, "mpls_kernels"
    #: Session (RFC 2516): ``tunnel_id`` is its identifier.
    PPPOE = 2
    #: RFC 2784, RFC 2890: ``tunnel_id`` is the key; of PPTP (RFC 2637) the call identifier.
    GRE = 3, "gre_kernels"
    #: Mirrored frames: ``tunnel_id`` is the session, of types II and III.
    ERSPAN = 4
    #: RFC 7348: ``tunnel_id`` is the network identifier (VNI).
    VXLAN = 5, "vxlan_kernels"
    #: RFC 8926: ``tunnel_id`` is the network identifier (VNI).
    GENEVE = 6, "geneve_kernels"
    #: IPv4 in IPv4 (RFC 2003).
    IPIP = 7, "ip_in_ip_kernels"
    #: IPv6 in IPv4 (RFC 4213).
    IP6IN4 = 8
    #: IPv4 in IPv6 (RFC 2473).
    IP4IN6 = 9
    #: IPv6 in IPv6 (RFC 2473).
    IP6IN6 = 10
    #: Ethernet in IP: EtherIP (RFC 3378), SRv6 (RFC 8986).
    ETHERNET = 11, "etherip_kernels"

    @property
    def word(self) -> str:
        """The tunnel as it stands in the column, e.g. ``6in4``."""
        return self.name.lower().removeprefix("ip") if self.name.startswith(("IP4", "IP6")) else self.name.lower()
