"""Conversations as Zeek's conn.log: for tools that read it. What a record does not carry stays unset (``-``).

Fields: https://docs.zeek.org/en/master/logs/conn.html. ``orig_ip_bytes``, ``resp_ip_bytes``, ``missed_bytes`` and
``tunnel_parents`` are not known. ``history`` has each letter once, in the order of its first packet.
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from streamgauge.flows.community_id import community_id as community_id_of

if TYPE_CHECKING:
    import pyarrow as pa

SQL: Final = """
SELECT
  first_ns, last_ns, node, ip_protocol, client_ip, client_port, server_ip, server_port, app,
  client_packets, server_packets, client_payload_bytes, server_payload_bytes, client_flags, server_flags, community_id,
  client_syn, server_syn, client_syn_ack, server_syn_ack, client_ack, server_ack, client_data, server_data,
  client_fin, server_fin, client_rst, server_rst, client_again, server_again, client_closed, server_closed,
  icmp_type, icmp_code,
  is_inside(client_ip) AS local_orig, is_inside(server_ip) AS local_resp
FROM conversations
ORDER BY first_ns, client_ip, client_port, server_ip, server_port
"""

#: Name and type of each field, in Zeek's order.
FIELDS: Final = (
    ("ts", "time"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("proto", "enum"),
    ("service", "string"),
    ("duration", "interval"),
    ("orig_bytes", "count"),
    ("resp_bytes", "count"),
    ("conn_state", "string"),
    ("local_orig", "bool"),
    ("local_resp", "bool"),
    ("missed_bytes", "count"),
    ("history", "string"),
    ("orig_pkts", "count"),
    ("orig_ip_bytes", "count"),
    ("resp_pkts", "count"),
    ("resp_ip_bytes", "count"),
    ("tunnel_parents", "set[string]"),
)
_COMMUNITY_ID: Final = ("community_id", "string")
_UNSET: Final = "-"
_PROTOCOLS: Final = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp"}
_SERVICES: Final = {"tls": "ssl", "mdns": "dns", "llmnr": "dns"}
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Letters of ``history`` for the client; lower case for the server.
_LETTERS: Final = {
    "S": "syn",
    "H": "syn_ack",
    "A": "ack",
    "D": "data",
    "F": "fin",
    "R": "rst",
    "T": "again",
    "W": "closed",
}


def write(answer: pa.RecordBatchReader, stream: BinaryIO, *, community_id: bool = False) -> None:
    """Write the answer to ``SQL`` as Zeek's tab-separated conn.log."""
    fields = (*FIELDS, _COMMUNITY_ID) if community_id else FIELDS
    names, kinds = zip(*fields, strict=True)
    lines = [
        "#separator \\x09",
        "#set_separator\t,",
        "#empty_field\t(empty)",
        f"#unset_field\t{_UNSET}",
        "#path\tconn",
        f"#open\t{_now()}",
        "#fields\t" + "\t".join(names),
        "#types\t" + "\t".join(kinds),
    ]
    stream.write("".join(f"{line}\n" for line in lines).encode())
    for batch in answer:
        stream.writelines(
            ("\t".join(_line(row, community_id=community_id)) + "\n").encode() for row in batch.to_pylist()
        )
    stream.write(f"#close\t{_now()}\n".encode())


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}"


def _line(row: dict[str, Any], *, community_id: bool) -> list[str]:
    protocol = row["ip_protocol"]
    duration = row["last_ns"] - row["first_ns"]
    single = row["client_packets"] + row["server_packets"] <= 1
    values = [
        _seconds(row["first_ns"]),
        _uid(row),
        row["client_ip"],
        _port(row["client_port"], row["icmp_type"]),
        row["server_ip"],
        _port(row["server_port"], row["icmp_code"]),
        _PROTOCOLS.get(protocol, "unknown_transport"),
        _UNSET if row["app"] is None else _SERVICES.get(row["app"], row["app"]),
        _UNSET if single else _seconds(duration),
        _UNSET if single and not row["client_payload_bytes"] else str(row["client_payload_bytes"]),
        _UNSET if single and not row["server_payload_bytes"] else str(row["server_payload_bytes"]),
        _tcp_state(row) if protocol == 6 else _other_state(row),
        "T" if row["local_orig"] else "F",
        "T" if row["local_resp"] else "F",
        _UNSET,
        _history(row) or _UNSET,
        str(row["client_packets"]),
        _UNSET,
        str(row["server_packets"]),
        _UNSET,
        _UNSET,
    ]
    return [*values, _community_id(row)] if community_id else values


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9 // 1000:06}"


def _port(port: int | None, icmp: int | None) -> str:
    """Return the port; of ICMP, as Zeek does, the type and the code of who began."""
    return str(next((number for number in (port, icmp) if number is not None), 0))


def _uid(row: dict[str, Any]) -> str:
    """Return an identifier as Zeek's look, the same each time the conversation is written."""
    key = "|".join(
        str(row[name])
        for name in ("first_ns", "node", "ip_protocol", "client_ip", "client_port", "server_ip", "server_port")
    )
    number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=13).digest(), "big")
    digits = ""
    for _ in range(17):
        number, digit = divmod(number, 62)
        digits += _DIGITS[digit]
    return f"C{digits}"


def _tcp_state(row: dict[str, Any]) -> str:
    """Return conn_state of TCP, by which flags either side sent."""
    client, server = row["client_flags"] or 0, row["server_flags"] or 0
    asked = bool(client & _SYN)
    accepted = server & (_SYN | _ACK) == _SYN | _ACK
    if asked and not accepted:
        if server & _RST:
            return "REJ"
        if client & _RST:
            return "RSTOS0"
        return "SH" if client & _FIN else "S0" if not row["server_packets"] else "OTH"
    if accepted and not asked:
        return "RSTRH" if server & _RST else "SHR" if server & _FIN else "OTH"
    if not asked:
        return "OTH"
    if client & _RST or server & _RST:
        return _reset(row)
    ended = (bool(client & _FIN), bool(server & _FIN))
    return {(True, True): "SF", (True, False): "S2", (False, True): "S3", (False, False): "S1"}[ended]


def _reset(row: dict[str, Any]) -> str:
    """Return who ended an established connection by a reset: who sent the first one."""
    both_closed = row["client_fin"] is not None and row["server_fin"] is not None
    client, server = row["client_rst"], row["server_rst"]
    by_client = server is None or (client is not None and client <= server)
    first = client if by_client else server
    if both_closed and first is not None and first > max(row["client_fin"], row["server_fin"]):
        return "SF"
    return "RSTO" if by_client else "RSTR"


def _other_state(row: dict[str, Any]) -> str:
    if row["ip_protocol"] in (1, 58):
        return "OTH"
    if row["client_packets"] and row["server_packets"]:
        return "SF"
    return "S0" if row["client_packets"] else "SHR"


def _history(row: dict[str, Any]) -> str:
    found: list[tuple[int, str]] = []
    for letter, what in _LETTERS.items():
        if row["ip_protocol"] != 6 and letter != "D":
            continue
        for side, shown in (("client", letter), ("server", letter.lower())):
            first = row[f"{side}_{what}"]
            if first is not None:
                found.append((first, shown))
    return "".join(letter for _, letter in sorted(found, key=lambda one: one[0]))


def _community_id(row: dict[str, Any]) -> str:
    if row["community_id"] is not None:
        return str(row["community_id"])
    source, target = (ipaddress.ip_address(row[name]).packed for name in ("client_ip", "server_ip"))
    first, second = (row["client_port"], row["server_port"])
    if first is None:
        first, second = row["icmp_type"], row["icmp_code"]
    return community_id_of(source, target, row["ip_protocol"], None if first is None else (first, second))
