"""IPFIX (RFC 7011): flows as messages. Pure: flows and a clock in, bytes out.

Each observation domain (a node and interface) has a sequence number of its own: the data records sent before. Templates
are sent at the start of each domain and again after a while, since over UDP nobody says that they arrived (RFC 7011,
8.4).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamgauge.export.flows import End, Flow

#: Bytes of a message: fits an Ethernet frame over IPv6 and UDP.
LARGEST: Final = 1420
_VERSION, _TEMPLATE_SET = 10, 2
_MESSAGE: Final = struct.Struct("!HHIII")
_SET: Final = struct.Struct("!HH")


class Element(NamedTuple):
    """An information element of IANA's registry, as a template lists it."""

    name: str
    number: int
    length: int


def _elements(address: tuple[Element, Element], icmp: Element) -> tuple[Element, ...]:
    return (
        *address,
        Element("sourceTransportPort", 7, 2),
        Element("destinationTransportPort", 11, 2),
        Element("protocolIdentifier", 4, 1),
        Element("ipClassOfService", 5, 1),
        Element("tcpControlBits", 6, 2),
        icmp,
        Element("vlanId", 58, 2),
        Element("packetDeltaCount", 2, 8),
        Element("octetDeltaCount", 1, 8),
        Element("layer2OctetDeltaCount", 352, 8),
        Element("flowStartMilliseconds", 152, 8),
        Element("flowEndMilliseconds", 153, 8),
        Element("flowEndReason", 136, 1),
    )


TEMPLATES: Final[dict[int, tuple[int, tuple[Element, ...]]]] = {
    4: (
        256,
        _elements(
            (Element("sourceIPv4Address", 8, 4), Element("destinationIPv4Address", 12, 4)),
            Element("icmpTypeCodeIPv4", 32, 2),
        ),
    ),
    6: (
        257,
        _elements(
            (Element("sourceIPv6Address", 27, 16), Element("destinationIPv6Address", 28, 16)),
            Element("icmpTypeCodeIPv6", 139, 2),
        ),
    ),
}
_RECORDS: Final = {version: struct.Struct(f"!{length}s{length}sHHBBHHHQQQQQB") for version, length in ((4, 4), (6, 16))}


def domain_of(node: str, interface: str) -> int:
    """Return the observation domain of a node and interface: the same at each start, and never 0.

    >>> domain_of("worker-1", "eth0") == domain_of("worker-1", "eth0") != domain_of("worker-2", "eth0")
    True
    """
    return zlib.crc32(f"{node}/{interface}".encode()) or 1


class Exporter:
    """Makes the messages of one observation domain."""

    def __init__(self, domain: int, *, template_interval: float) -> None:
        """``template_interval`` is after how many seconds templates are sent again."""
        self._domain = domain
        self._interval = template_interval
        self._told_at: float | None = None
        #: Data records sent so far.
        self.sequence = 0

    def messages(self, ended: Iterable[tuple[Flow, End]], now: float) -> Iterator[bytes]:
        """Yield the messages for flows; ``now`` is the time in seconds since 1970."""
        records: dict[int, list[bytes]] = {version: [] for version in TEMPLATES}
        for flow, reason in ended:
            records[int(flow.key[0])].append(_record(flow, reason))
        for version, made in records.items():
            step = (LARGEST - _MESSAGE.size - _SET.size) // _RECORDS[version].size
            for first in range(0, len(made), step):
                part = made[first : first + step]
                if self._told_at is None or now - self._told_at >= self._interval:
                    self._told_at = now
                    yield self._message(_template_set(), now)
                yield self._message(_set(TEMPLATES[version][0], b"".join(part)), now)
                self.sequence = (self.sequence + len(part)) & 0xFFFFFFFF

    def _message(self, content: bytes, now: float) -> bytes:
        length = _MESSAGE.size + len(content)
        return _MESSAGE.pack(_VERSION, length, int(now), self.sequence, self._domain) + content


def _set(number: int, content: bytes) -> bytes:
    return _SET.pack(number, _SET.size + len(content)) + content


def _template_set() -> bytes:
    content = b""
    for number, elements in TEMPLATES.values():
        content += struct.pack("!HH", number, len(elements))
        content += b"".join(struct.pack("!HH", element.number, element.length) for element in elements)
    return _set(_TEMPLATE_SET, content)


def _record(flow: Flow, reason: End) -> bytes:
    version, source, target, *rest = flow.key
    source_port, target_port, protocol, icmp, dscp, vlan = (_number(value) for value in rest)
    addresses = (source[12:], target[12:]) if version == 4 else (source, target)
    if not source_port and not target_port and icmp:
        # Where NetFlow has always put it, and many look for it still.
        target_port = icmp
    return _RECORDS[version].pack(
        *addresses,
        *(source_port, target_port, protocol, dscp << 2, flow.flags, icmp, vlan),
        *(flow.packets, flow.octets, flow.wire, flow.first // 1_000_000, flow.last // 1_000_000, reason),
    )


def _number(value: Any) -> int:
    return 0 if value is None else int(value)
