"""Community ID v1: one text for both directions of a flow, the same in Zeek, Suricata, Wireshark and others.

Specification and test data: https://github.com/corelight/community-id-spec. The slow way, but once a flow and block:
rows are reduced to their distinct flows first, and what was computed is remembered.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from streamgauge.schema import SLOTS, Present

if TYPE_CHECKING:
    from streamgauge.rows import Rows

#: Flows whose text is remembered; when they are used up all are forgotten.
_REMEMBERED: Final = 1 << 16

#: Types that answer each other stand for ports: the type's own, and the counterpart's. The mapping is Zeek's.
_ICMP_PAIRS: Final = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 10: 9, 9: 10, 17: 18, 18: 17}
_ICMPV6_PAIRS: Final = {128: 129, 133: 134, 135: 136, 130: 131, 139: 140, 144: 145}
_PAIRS: Final = {1: _ICMP_PAIRS, 58: _ICMPV6_PAIRS | {reply: request for request, reply in _ICMPV6_PAIRS.items()}}

#: The first twelve bytes of an IPv4 address as it stands in the row buffers.
_MAPPED: Final = bytes(10) + b"\xff\xff"

_FLOW: Final = np.dtype(
    [("src", ">u8", 2), ("dst", ">u8", 2), ("first", ">u2"), ("second", ">u2"), ("protocol", "u1"), ("kind", "u1")]
)
_PORTS, _ICMP, _NONE = 1, 2, 0


def community_id(src: bytes, dst: bytes, protocol: int, ports: tuple[int, int] | None, *, seed: int = 0) -> str:
    """Return the identifier of a flow.

    Args:
        src: Source address, 4 or 16 bytes.
        dst: Destination address.
        protocol: IP protocol.
        ports: Source and destination port; of ICMP and ICMPv6 type and code; None where there are none.
        seed: Tells apart the identifiers of different users.

    """
    one_way = False
    if ports is not None and protocol in _PAIRS:
        counterpart = _PAIRS[protocol].get(ports[0])
        one_way = counterpart is None
        ports = ports if counterpart is None else (ports[0], counterpart)
    first, second = ports or (0, 0)
    if not one_way and (dst, second) < (src, first):
        src, dst, first, second = dst, src, second, first
    hashed = struct.pack("!H", seed) + src + dst + bytes((protocol, 0))
    if ports is not None:
        hashed += struct.pack("!HH", first, second)
    # The specification chose SHA-1; nothing is protected by it.
    return "1:" + base64.b64encode(hashlib.sha1(hashed, usedforsecurity=False).digest()).decode()


class CommunityIds:
    """Fills the column ``community_id``; remembers the texts of flows, bounded."""

    def __init__(self) -> None:
        self._texts: dict[bytes, bytes] = {}

    def fill(self, rows: Rows, first: int) -> None:
        """Fill the column of the rows from ``first`` on that have an IP header; the pool grows if it must."""
        chosen = first + np.flatnonzero(rows.column("present")[first:] & np.uint64(Present.IP))
        if not len(chosen):
            return
        flows, which = np.unique(_flows(rows, chosen), return_inverse=True)
        starts, lengths = self._write(rows, [flow.tobytes() for flow in flows])
        slot = SLOTS["community_id"]
        rows.buffers.u4[slot, chosen] = starts[which]
        rows.buffers.u4[slot + 1, chosen] = lengths[which]
        rows.buffers.u8[SLOTS["present"], chosen] |= np.uint64(Present.COMMUNITY_ID)

    def _write(self, rows: Rows, flows: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Put the texts of flows into the pool, each once; return where they start and how long they are."""
        texts = [self._text(flow) for flow in flows]
        lengths = np.array([len(text) for text in texts], np.uint32)
        joined = b"".join(texts)
        at = rows.reserve_text(len(joined))
        rows.buffers.pool[at : at + len(joined)] = np.frombuffer(joined, np.uint8)
        return (at + np.cumsum(lengths) - lengths).astype(np.uint32), lengths

    def _text(self, flow: bytes) -> bytes:
        text = self._texts.get(flow)
        if text is None:
            if len(self._texts) >= _REMEMBERED:
                self._texts.clear()
            src, dst = (address.removeprefix(_MAPPED) for address in (flow[:16], flow[16:32]))
            first, second, protocol, kind = struct.unpack_from("!HHBB", flow, 32)
            ports = None if kind == _NONE else (first, second)
            text = self._texts[flow] = community_id(src, dst, protocol, ports).encode()
        return text


def _flows(rows: Rows, chosen: np.ndarray) -> np.ndarray:
    """Return what the identifiers are made of, one element a chosen row, as bytes that compare."""
    present = rows.column("present")[chosen]
    has_ports, has_icmp = present & np.uint64(Present.PORTS) != 0, present & np.uint64(Present.ICMP) != 0
    flows = np.zeros(len(chosen), _FLOW)
    for name in ("src", "dst"):
        flows[name][:, 0] = rows.column(f"{name}_ip")[chosen]
        flows[name][:, 1] = rows.second(f"{name}_ip")[chosen]
    for name, port, icmp in (("first", "src_port", "icmp_type"), ("second", "dst_port", "icmp_code")):
        flows[name] = np.where(has_ports, rows.column(port)[chosen], 0)
        flows[name][has_icmp] = rows.column(icmp)[chosen][has_icmp]
    flows["protocol"] = rows.column("ip_protocol")[chosen]
    flows["kind"] = np.where(has_ports, _PORTS, np.where(has_icmp, _ICMP, _NONE))
    return flows.view(f"V{_FLOW.itemsize}")
