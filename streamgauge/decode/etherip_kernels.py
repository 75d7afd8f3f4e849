"""Ethernet in IP: EtherIP (RFC 3378), and SRv6 (RFC 8986, protocol 143), which has no header of its own."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.link_words import ETHERNET_FRAME, OK
from streamgauge.protocols import Tunnel

ETHERNET = int(Tunnel.ETHERNET)
ETHERIP, ETHERNET_IN_IP = 97, 143
IP_PROTOCOLS = (ETHERIP, ETHERNET_IN_IP)
ETHERIP_HEADER = 2


@inner
def read_in_ip(data, transport, version, at, end, wire_end):
    """Step over the version of EtherIP."""
    return ETHERNET, -1, ETHERNET_FRAME, at + (ETHERIP_HEADER if transport == ETHERIP else 0), OK
