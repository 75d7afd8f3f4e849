"""Rows for the eye: one line a packet, like tcpdump, or chosen columns side by side."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from streamgauge import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

_Row = dict[str, Any]

_FLAGS: Final = tuple(zip((2, 1, 4, 8, 16, 32, 64, 128), "SFRPAUEC", strict=True))
_PROTOCOLS: Final = {
    1: "icmp",
    2: "igmp",
    6: "tcp",
    17: "udp",
    47: "gre",
    50: "esp",
    58: "icmp6",
    89: "ospf",
    132: "sctp",
}
_ETHER_TYPES: Final = {
    0x0800: "ip",
    0x0806: "arp",
    0x86DD: "ip6",
    0x8847: "mpls",
    0x88CC: "lldp",
    0x8863: "pppoe",
    0x8864: "pppoe",
}
_DNS_TYPES: Final = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 35: "NAPTR",
    41: "OPT", 43: "DS", 46: "RRSIG", 48: "DNSKEY", 64: "SVCB", 65: "HTTPS", 252: "AXFR", 255: "ANY",
}  # fmt: skip
_DNS_RCODES: Final = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
#: By IP protocol and type.
_ICMP_TYPES: Final = {
    (1, 0): "echo reply", (1, 3): "unreachable", (1, 5): "redirect", (1, 8): "echo request", (1, 11): "time exceeded",
    (58, 1): "unreachable", (58, 2): "too big", (58, 3): "time exceeded", (58, 128): "echo request",
    (58, 129): "echo reply", (58, 133): "router solicitation", (58, 134): "router advertisement",
    (58, 135): "neighbor solicitation", (58, 136): "neighbor advertisement",
}  # fmt: skip

#: Narrowest and widest end point: an IPv4 address with a port, an IPv6 address with one.
_NARROW, _WIDE = 21, 47
#: Longest text of the traffic (a name, a path) that stands in a line.
_TEXT_LENGTH: Final = 100


class Summary:
    """One line a packet: time, source, destination, protocol, length, and what it is about."""

    def __init__(self, *, header: bool = True) -> None:
        self._width = _NARROW
        self._header = header

    def lines(self, batch: pa.RecordBatch) -> Iterator[str]:
        """Yield the lines of a batch; columns widen as addresses ask for it, they never narrow."""
        rows = text.readable(batch).to_pylist()
        ends = [(_end(row, "src"), _end(row, "dst")) for row in rows]
        self._width = min(max([self._width, *(len(end) for pair in ends for end in pair)]), _WIDE)
        if self._header:
            self._header = False
            yield (
                f"{'TIME (UTC)':15} {'SOURCE':{self._width}}   {'DESTINATION':{self._width}} "
                f"{'PROTO':7} {'BYTES':>6}  INFO\n"
            )
        for row, (source, target) in zip(rows, ends, strict=True):
            merged = f" ({row['packets']} packets)" if row["packets"] > 1 else ""
            yield (
                f"{_time_of_day(row['time'])} {source:{self._width}} > {target:{self._width}} "
                f"{_protocol(row):7} {row['bytes']:6}  {information(row)}{merged}".rstrip()
                + "\n"
            )


class Columns:
    """Chosen columns side by side, each as wide as its widest value so far."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._widths = [len(name) for name in names]
        self._header = True

    def lines(self, batch: pa.RecordBatch) -> Iterator[str]:
        """Yield the lines of a batch."""
        readable = text.readable(batch)
        columns = [[_cell(value) for value in readable.column(name).to_pylist()] for name in self._names]
        self._widths = [max(width, *map(len, column), 0) for width, column in zip(self._widths, columns, strict=True)]
        if self._header:
            self._header = False
            yield self._line(self._names)
        for cells in zip(*columns, strict=True):
            yield self._line(cells)

    def _line(self, cells: Iterable[str]) -> str:
        return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, self._widths, strict=True)).rstrip() + "\n"


def information(row: _Row) -> str:
    """Return what a packet is about in a few words."""
    parts = [part for part in (_about(row), _damage(row)) if part]
    return " ".join(parts)


def _about(row: _Row) -> str:
    for column, describe in _ABOUT.items():
        if row[column] is not None:
            return describe(row)
    return "fragment" if row["fragment"] else ""


def _dns(row: _Row) -> str:
    kind = "response" if row["dns_response"] else "query"
    question = (
        ""
        if row["dns_name"] is None
        else f" {_DNS_TYPES.get(row['dns_type'], row['dns_type'])} {printable(row['dns_name'] or '.')}"
    )
    code = "" if row["dns_rcode"] is None else f" {_DNS_RCODES.get(row['dns_rcode'], row['dns_rcode'])}"
    return f"{kind} {row['dns_id']:#06x}{question}{code}"


def _http_request(row: _Row) -> str:
    return f"{printable(row['http_method'])} {printable(row['http_host'] or '')}{printable(row['http_path'] or '')}"


def _tcp(row: _Row) -> str:
    flags = "".join(letter for bit, letter in _FLAGS if row["tcp_flags"] & bit)
    ack = f" ack {row['tcp_ack']}" if row["tcp_flags"] & 16 else ""
    return f"[{flags}] seq {row['tcp_seq']}{ack} win {row['tcp_window']} len {row['payload_bytes']}"


def _icmp(row: _Row) -> str:
    known = _ICMP_TYPES.get((row["ip_protocol"], row["icmp_type"]), f"type {row['icmp_type']}")
    return f"{known} code {row['icmp_code']}" if row["icmp_code"] else known


def _arp(row: _Row) -> str:
    return {1: "request", 2: "reply"}.get(row["arp_opcode"], f"operation {row['arp_opcode']}")


#: The first column that has a value decides what is told.
_ABOUT: Final[dict[str, Callable[[_Row], str]]] = {
    "dns_id": _dns,
    "tls_sni": lambda row: f"client hello {printable(row['tls_sni'])}",
    "http_method": _http_request,
    "http_status": lambda row: f"status {row['http_status']}",
    "tcp_flags": _tcp,
    "icmp_type": _icmp,
    "arp_opcode": _arp,
    "src_port": lambda row: f"len {row['payload_bytes']}",
}


def _damage(row: _Row) -> str:
    return "" if row["decode_status"] == "ok" else f"[{row['decode_status']}]"


def _end(row: _Row, side: str) -> str:
    address, port = row[f"{side}_ip"], row[f"{side}_port"]
    if address is None:
        return row[f"{side}_mac"] or "-"
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if row["ip_version"] == 6 else f"{address}:{port}"


def _protocol(row: _Row) -> str:
    if row["app"] not in (None, "unknown"):
        return str(row["app"])
    if row["ip_protocol"] is not None:
        return _PROTOCOLS.get(row["ip_protocol"], f"ip/{row['ip_protocol']}")
    if row["eth_type"] is not None:
        return _ETHER_TYPES.get(row["eth_type"], f"{row['eth_type']:#06x}")
    return "-"


def _time_of_day(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    return f"{moment:%H:%M:%S}.{nanoseconds % 1_000_000_000 // 1000:06}"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.hex() if isinstance(value, bytes) else printable(str(value))


def printable(words: str) -> str:
    """Return text from the traffic so that it cannot steer the terminal, and no longer than a line allows."""
    cut = words if len(words) <= _TEXT_LENGTH else words[:_TEXT_LENGTH] + "…"
    return text.printable(cut)
