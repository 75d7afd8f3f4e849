"""The record: one table lists every column of a summary once; buffers, Arrow, Parquet, NDJSON and docs derive from it.

A *summary* is one packet (``packets`` = 1) or several packets of one flow merged (``packets`` > 1).
Every consumer sums ``packets`` and ``bytes``, so it reads both alike.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag, auto
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from streamgauge.protocols import App, Tunnel

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Version of the record, and the second token of every subject. Within a version columns are only ever added.
VERSION: Final = 1


class Kind(Enum):
    """How a column is held in memory and what it is in Arrow."""

    U1 = auto()
    U2 = auto()
    U4 = auto()
    #: 64 bits in memory, int64 in Arrow: Spark and Trino have no unsigned 64-bit integer.
    U8 = auto()
    BOOL = auto()
    TIME = auto()
    #: A MAC address: the low 48 bits of a 64-bit slot; six bytes in Arrow.
    MAC = auto()
    #: An IP address: two 64-bit slots (high, low), IPv4 mapped into ::ffff:0:0/96; sixteen bytes in Arrow.
    IP = auto()
    #: Two 32-bit slots (offset, length) into the byte pool; UTF-8 text in Arrow, damaged bytes replaced.
    TEXT = auto()
    #: Two 32-bit slots (offset, length) into the byte pool; binary in Arrow.
    BYTES = auto()
    #: A small integer into a fixed list of words; dictionary in Arrow.
    WORD = auto()


class Present(IntFlag):
    """Which optional columns of a row hold a value: one bit a group of columns that come and go together."""

    ETHERNET = auto()
    ETH_TYPE = auto()
    VLAN = auto()
    IP = auto()
    TUNNEL_ID = auto()
    OUTER_IP = auto()
    PORTS = auto()
    TCP = auto()
    ICMP = auto()
    ARP = auto()
    APP = auto()
    DNS = auto()
    DNS_QUESTION = auto()
    DNS_RCODE = auto()
    TLS_VERSION = auto()
    TLS_CIPHER = auto()
    TLS_SNI = auto()
    TLS_ALPN = auto()
    JA4 = auto()
    HTTP_REQUEST = auto()
    HTTP_HOST = auto()
    HTTP_STATUS = auto()
    TCP_HEALTH = auto()
    TCP_RTT = auto()
    TCP_HANDSHAKE = auto()
    DNS_LATENCY = auto()
    DNS_UNANSWERED = auto()
    COMMUNITY_ID = auto()
    FRAME = auto()


class DecodeStatus(IntEnum):
    """What became of a packet in the decoder. A damaged packet is a row, never an exception and never a silence."""

    #: Every layer the decoder knows was read whole.
    OK = 0
    #: The capture ends inside a header (snaplen); what came before is filled.
    TRUNCATED = 1
    #: A length or version field contradicts the packet; what came before is filled.
    MALFORMED = 2
    #: A link type or layer this decoder does not read; what came before is filled.
    UNSUPPORTED = 3


class TrafficClass(IntEnum):
    """The last token of a summary's subject: ``traffic.v1.<node>.<class>``."""

    OTHER = 0
    TCP = 1
    UDP = 2
    DNS = 3
    TLS = 4
    HTTP = 5
    QUIC = 6
    ICMP = 7
    ARP = 8

    @property
    def token(self) -> str:
        """The class as it stands in a subject, e.g. ``dns``."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the record."""

    name: str
    group: str
    kind: Kind
    meaning: str
    unit: str = ""
    #: The presence bit that says whether a row has a value here; None means it always has.
    present: Present | None = None
    #: The words of a WORD column, by code.
    words: tuple[str, ...] = ()

    @property
    def nullable(self) -> bool:
        """Whether a row may have no value here."""
        return self.present is not None

    @property
    def arrow_type(self) -> pa.DataType:
        """The column's type on the wire."""
        return _ARROW_TYPES[self.kind]


_ARROW_TYPES: Final[dict[Kind, pa.DataType]] = {
    Kind.U1: pa.uint8(),
    Kind.U2: pa.uint16(),
    Kind.U4: pa.uint32(),
    Kind.U8: pa.int64(),
    Kind.BOOL: pa.bool_(),
    Kind.TIME: pa.timestamp("ns", "UTC"),
    Kind.MAC: pa.binary(6),
    Kind.IP: pa.binary(16),
    Kind.TEXT: pa.string(),
    Kind.BYTES: pa.binary(),
    Kind.WORD: pa.dictionary(pa.int8(), pa.string()),
}

_APP_WORDS: Final = tuple(app.name.lower() for app in App)
_TUNNEL_WORDS: Final = tuple(tunnel.word for tunnel in Tunnel)
_STATUS_WORDS: Final = tuple(status.name.lower() for status in DecodeStatus)

COLUMNS: Final[tuple[Column, ...]] = (
    Column("time", "when", Kind.TIME, "Capture time of the (first) packet.", "ns since 1970, UTC"),
    Column("duration", "when", Kind.U8, "Time from the first to the last packet of a merged row, else 0.", "ns"),
    Column("packets", "how much", Kind.U4, "Packets this row stands for.", "packets"),
    Column("bytes", "how much", Kind.U8, "Length on the wire, VLAN tags included.", "bytes"),
    Column("captured_bytes", "how much", Kind.U8, "Length that was captured (snaplen may cut).", "bytes"),
    Column("payload_bytes", "how much", Kind.U8, "Payload of the transport layer, by its headers.", "bytes"),
    Column("src_mac", "link", Kind.MAC, "Source hardware address.", present=Present.ETHERNET),
    Column("dst_mac", "link", Kind.MAC, "Destination hardware address.", present=Present.ETHERNET),
    Column(
        "eth_type", "link", Kind.U2, "EtherType of what the frame carries, after VLAN tags.", present=Present.ETH_TYPE
    ),
    Column("vlan", "link", Kind.U2, "Outermost VLAN identifier.", present=Present.VLAN),
    Column("ip_version", "network", Kind.U1, "4 or 6.", present=Present.IP),
    Column("src_ip", "network", Kind.IP, "Source address.", present=Present.IP),
    Column("dst_ip", "network", Kind.IP, "Destination address.", present=Present.IP),
    Column("ip_protocol", "network", Kind.U1, "Protocol number, after IPv6 extension headers.", present=Present.IP),
    Column("ttl", "network", Kind.U1, "Time to live, or hop limit.", "hops", present=Present.IP),
    Column("dscp", "network", Kind.U1, "Differentiated services code point.", present=Present.IP),
    Column("fragment", "network", Kind.BOOL, "Fragment offset or more-fragments is set.", present=Present.IP),
    Column("tunnel", "tunnel", Kind.WORD, "Outermost tunnel that was opened.", words=_TUNNEL_WORDS),
    Column(
        "tunnel_id",
        "tunnel",
        Kind.U4,
        "VXLAN or Geneve network, GRE key, ERSPAN or PPPoE session, MPLS label at the bottom of the stack.",
        present=Present.TUNNEL_ID,
    ),
    Column("outer_src_ip", "tunnel", Kind.IP, "Source address of the outermost IP header.", present=Present.OUTER_IP),
    Column(
        "outer_dst_ip", "tunnel", Kind.IP, "Destination address of the outermost IP header.", present=Present.OUTER_IP
    ),
    Column("src_port", "transport", Kind.U2, "Source port (TCP, UDP, SCTP).", present=Present.PORTS),
    Column("dst_port", "transport", Kind.U2, "Destination port (TCP, UDP, SCTP).", present=Present.PORTS),
    Column("tcp_flags", "transport", Kind.U1, "The eight flag bits CWR to FIN.", present=Present.TCP),
    Column("tcp_seq", "transport", Kind.U4, "Sequence number as sent.", present=Present.TCP),
    Column("tcp_ack", "transport", Kind.U4, "Acknowledgement number as sent.", present=Present.TCP),
    Column("tcp_window", "transport", Kind.U2, "Window as sent, unscaled.", present=Present.TCP),
    Column("icmp_type", "transport", Kind.U1, "ICMP or ICMPv6 type.", present=Present.ICMP),
    Column("icmp_code", "transport", Kind.U1, "ICMP or ICMPv6 code.", present=Present.ICMP),
    Column("arp_opcode", "transport", Kind.U2, "ARP operation: 1 request, 2 reply.", present=Present.ARP),
    Column(
        "app", "application", Kind.WORD, "Application protocol, if recognised.", present=Present.APP, words=_APP_WORDS
    ),
    Column("dns_id", "application", Kind.U2, "DNS transaction identifier.", present=Present.DNS),
    Column("dns_response", "application", Kind.BOOL, "False for a query, true for a response.", present=Present.DNS),
    Column(
        "dns_name",
        "application",
        Kind.TEXT,
        "Name of the first question: lower case, no trailing dot, the root is empty.",
        present=Present.DNS_QUESTION,
    ),
    Column("dns_type", "application", Kind.U2, "Type of the first question.", present=Present.DNS_QUESTION),
    Column(
        "dns_rcode",
        "application",
        Kind.U2,
        "Response code of a response, with its EDNS extension (RFC 6891).",
        present=Present.DNS_RCODE,
    ),
    Column("dns_answers", "application", Kind.U2, "Records in the answer section.", present=Present.DNS),
    Column(
        "tls_version",
        "application",
        Kind.U2,
        "Version: 771 is TLS 1.2, 772 TLS 1.3. Highest that a ClientHello offers, or what a ServerHello chose.",
        present=Present.TLS_VERSION,
    ),
    Column("tls_cipher", "application", Kind.U2, "Cipher suite a ServerHello chose.", present=Present.TLS_CIPHER),
    Column("tls_sni", "application", Kind.TEXT, "Server name of a TLS ClientHello.", present=Present.TLS_SNI),
    Column(
        "tls_alpn",
        "application",
        Kind.TEXT,
        "Application protocols a ClientHello offers, comma-separated, or the one a ServerHello chose.",
        present=Present.TLS_ALPN,
    ),
    Column("ja4", "application", Kind.TEXT, "JA4 fingerprint of a ClientHello.", present=Present.JA4),
    Column("http_method", "application", Kind.TEXT, "Method of an HTTP/1 request.", present=Present.HTTP_REQUEST),
    Column("http_host", "application", Kind.TEXT, "Host of an HTTP/1 request.", present=Present.HTTP_HOST),
    Column("http_path", "application", Kind.TEXT, "Request target of an HTTP/1 request.", present=Present.HTTP_REQUEST),
    Column("http_status", "application", Kind.U2, "Status of an HTTP/1 response.", present=Present.HTTP_STATUS),
    Column(
        "tcp_rtt",
        "health",
        Kind.U8,
        "Time from a segment of the other side to its acknowledgement, which this packet is.",
        "ns",
        present=Present.TCP_RTT,
    ),
    Column(
        "tcp_handshake",
        "health",
        Kind.U8,
        "Time from the first SYN to this packet, which completes the handshake.",
        "ns",
        present=Present.TCP_HANDSHAKE,
    ),
    Column(
        "retransmission", "health", Kind.BOOL, "Sequence numbers were sent before this.", present=Present.TCP_HEALTH
    ),
    Column("out_of_order", "health", Kind.BOOL, "Fills a gap that a later segment left.", present=Present.TCP_HEALTH),
    Column("zero_window", "health", Kind.BOOL, "The sender takes no more data.", present=Present.TCP_HEALTH),
    Column(
        "dns_latency",
        "health",
        Kind.U8,
        "Time from the query to this response.",
        "ns",
        present=Present.DNS_LATENCY,
    ),
    Column(
        "dns_unanswered",
        "health",
        Kind.BOOL,
        "True on a row that stands for no packet: the query it repeats got no response in time.",
        present=Present.DNS_UNANSWERED,
    ),
    Column("decode_status", "truth", Kind.WORD, "What became of the packet in the decoder.", words=_STATUS_WORDS),
    Column(
        "community_id",
        "optional",
        Kind.TEXT,
        "Community ID v1 of the flow, the same for both directions, if asked for.",
        present=Present.COMMUNITY_ID,
    ),
    Column("frame", "optional", Kind.BYTES, "First bytes of the packet, if kept.", present=Present.FRAME),
)

#: Constant per batch: metadata of the schema on the wire, dictionary columns at rest and in text output.
ORIGIN_COLUMNS: Final = ("node", "interface", "observation_point")

BY_NAME: Final[dict[str, Column]] = {column.name: column for column in COLUMNS}

#: Names of all columns in the order of text output.
NAMES: Final = (*BY_NAME, *ORIGIN_COLUMNS)


def arrow_words(words: Sequence[str]) -> pa.Array:
    """Return words as an Arrow array; ``pa.array`` of a list would import pandas, where there is one, for 0.3 s."""
    encoded = [word.encode() for word in words]
    offsets = struct.pack(f"={len(words) + 1}i", *accumulate(map(len, encoded), initial=0))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(words), buffers)


def arrow_schema(*, metadata: dict[str, str] | None = None) -> pa.Schema:
    """Return the schema of a batch on the wire; ``metadata`` holds the origin (node, interface, …)."""
    fields = [pa.field(column.name, column.arrow_type, column.nullable) for column in COLUMNS]
    return pa.schema(fields, metadata={"streamgauge.schema": str(VERSION), **(metadata or {})})


# --- Where each column lives in the row buffers (streamgauge.rows) -------------------------------------------------

#: Slots beside the columns, for the decoder's own use: the presence bits and the traffic class of a row.
_HIDDEN: Final = {"present": "u8", "traffic_class": "u1"}

_WIDTHS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.U1: ("u1",),
    Kind.U2: ("u2",),
    Kind.U4: ("u4",),
    Kind.U8: ("u8",),
    Kind.BOOL: ("u1",),
    Kind.TIME: ("u8",),
    Kind.MAC: ("u8",),
    Kind.IP: ("u8", "u8"),
    Kind.TEXT: ("u4", "u4"),
    Kind.BYTES: ("u4", "u4"),
    Kind.WORD: ("u1",),
}


def _lay_out() -> tuple[dict[str, int], dict[str, int]]:
    used = dict.fromkeys(("u8", "u4", "u2", "u1"), 0)
    slots: dict[str, int] = {}
    for name, width in (*_HIDDEN.items(), *((column.name, _WIDTHS[column.kind][0]) for column in COLUMNS)):
        slots[name] = used[width]
        used[width] += len(_WIDTHS[BY_NAME[name].kind]) if name in BY_NAME else 1
    return slots, used


_LAYOUT = _lay_out()

#: Row of a column's (first) slot in the buffer of its width; a second slot, where there is one, follows.
SLOTS: Final[dict[str, int]] = _LAYOUT[0]
#: How many slots each buffer has: keys ``u8``, ``u4``, ``u2``, ``u1``.
SLOT_COUNTS: Final[dict[str, int]] = _LAYOUT[1]


def width(name: str) -> str:
    """Return which buffer holds a column (or hidden slot): ``u8``, ``u4``, ``u2`` or ``u1``."""
    return _HIDDEN[name] if name in _HIDDEN else _WIDTHS[BY_NAME[name].kind][0]


def slot_count(name: str) -> int:
    """Return how many slots a column takes, one behind the other."""
    return len(_WIDTHS[BY_NAME[name].kind])
