"""Display filters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import schema
from streamgauge.cli.tail import wanted_subjects
from streamgauge.demo import packets
from streamgauge.errors import ConfigurationError
from streamgauge.filter import Filter
from streamgauge.filter_words import WORDS
from streamgauge.schema import TrafficClass
from tests.support.rows import any_batch, batch_from, batch_of

DNS: dict[str, Any] = {
    "ip_version": 4,
    "src_ip": "10.0.0.1",
    "dst_ip": "10.9.0.53",
    "ip_protocol": 17,
    "src_port": 4000,
    "dst_port": 53,
    "app": "dns",
    "dns_id": 1,
    "dns_response": False,
    "dns_name": "www.example.com",
    "ttl": 64,
    "bytes": 80,
}
TLS: dict[str, Any] = {
    "ip_version": 6,
    "src_ip": "fd00::1",
    "dst_ip": "2001:db8::9",
    "ip_protocol": 6,
    "src_port": 50000,
    "dst_port": 443,
    "app": "tls",
    "tls_sni": "API.example.org",
    "ttl": 3,
    "bytes": 600,
    "vlan": 12,
}
ARP: dict[str, Any] = {"eth_type": 0x0806, "arp_opcode": 1, "src_mac": "02:00:5e:10:00:01", "bytes": 42}
CUT: dict[str, Any] = {"ip_version": 4, "src_ip": "10.0.0.9", "dst_ip": "10.0.0.1", "decode_status": "truncated"}

ROWS = {"dns": DNS, "tls": TLS, "arp": ARP, "cut": CUT}


def chosen(text: str) -> set[str]:
    """Return which of the rows a filter takes."""
    numbered = [{**row, "time": number} for number, row in enumerate(ROWS.values())]
    taken = Filter(text).apply(batch_from(numbered)).column("time").cast("int64").to_pylist()
    return {list(ROWS)[number] for number in taken}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", {"dns", "tls", "arp", "cut"}),
        ("   ", {"dns", "tls", "arp", "cut"}),
        ("dns", {"dns"}),
        ("DNS", {"dns"}),
        ("udp", {"dns"}),
        ("tcp port 443", {"tls"}),
        ("tcp and port 443", {"tls"}),
        ("arp", {"arp"}),
        ("ip", {"dns", "cut"}),
        ("ip6", {"tls"}),
        ("damaged", {"cut"}),
        ("host 10.0.0.1", {"dns", "cut"}),
        ("src host 10.0.0.1", {"dns"}),
        ("dst host 10.0.0.1", {"cut"}),
        ("host fd00::1", {"tls"}),
        ("net 10.0.0.0/24", {"dns", "cut"}),
        ("src net 10.0.0.0/29", {"dns"}),
        ("net 2001:db8::/32", {"tls"}),
        ("net 0.0.0.0/0", {"dns", "cut"}),
        ("port 53", {"dns"}),
        ("dst port 440-445", {"tls"}),
        ("src port 443", set()),
        ("vlan 12", {"tls"}),
        ("name www.example.com", {"dns"}),
        ("name *.EXAMPLE.*", {"dns", "tls"}),
        ("name example", set()),
        ("node node-a", {"dns", "tls", "arp", "cut"}),
        ("node other", set()),
        ("interface eth0 arp", {"arp"}),
        ("not ip", {"tls", "arp"}),
        ("! (dns or tls)", {"arp", "cut"}),
        ("dns or tls and vlan 12", {"dns", "tls"}),
        ("(dns or tls) and vlan 12", {"tls"}),
        ("dns || tls && not vlan 12", {"dns"}),
        ("ttl < 5", {"tls"}),
        ("ttl<=3", {"tls"}),
        ("ttl != 64", {"tls"}),
        ("bytes>=80 bytes<=600", {"dns", "tls"}),
        ("eth_type = 0x0806", {"arp"}),
        ("app = dns", {"dns"}),
        ("app != dns", {"tls"}),
        ("dns_response = false", {"dns"}),
        ("src_mac = 02-00-5E-10-00-01", {"arp"}),
        ("src_ip = 10.0.0.0/24", {"dns", "cut"}),
        ("dns_name = www.*", {"dns"}),
        ("decode_status = truncated", {"cut"}),
        ("node = node-a and arp", {"arp"}),
    ],
)
def test_filter_takes_the_rows_it_says(text: str, rows: set[str]) -> None:
    """Words, values, comparisons, and how they are joined."""
    assert chosen(text) == rows


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("dnss", 1, "'dnss' is no test; did you mean 'dns'?"),
        ("tcp port", 5, "'port' needs a value"),
        ("port x", 1, "'x' is no number for port"),
        ("port 70000", 1, "port is 0 to 65535, not 70000"),
        ("dns and", 8, "a test is missing"),
        ("dns or or tls", 8, "'or' is no test"),
        ("(dns", 5, "a closing parenthesis is missing"),
        ("dns)", 4, "')' has no beginning"),
        ("host example.com", 1, "'example.com' is no address or network"),
        ("not", 4, "a test is missing"),
        ("tls ttl", 5, "'ttl' is no test; a column is compared, as in ttl < 5"),
        ("colour = red", 1, "'colour' is no column"),
        ("ttl = many", 1, "'many' is no number for ttl"),
        ("app = smtp", 1, "app is one of unknown, dns"),
        ("app < dns", 1, "app is compared with = or !="),
        ("dns_response = yes", 1, "dns_response is true or false"),
        ("src_mac = 1", 1, "'1' is no hardware address"),
        ("frame = 1", 1, "frame cannot be compared"),
        ("src vlan 3", 1, "'src' goes with host, net or port"),
        ("src tcp", 1, "'src' goes with host, net or port"),
        ("vlan 5000", 1, "VLAN is 0 to 4095"),
        ("dns &", 5, "unknown character"),
        ("ttl <", 1, "'ttl' needs a value"),
    ],
)
def test_wrong_filter_says_where_and_why(text: str, position: int, words: str) -> None:
    """One line with the position, counted from 1."""
    with pytest.raises(ConfigurationError) as caught:
        Filter(text)

    assert f"position {position}: " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.text(max_size=30) | st.lists(st.sampled_from([*WORDS, "and", "or", "not", "(", ")", "port", "53"])).map(" ".join)
)
def test_any_text_is_a_filter_or_one_line(text: str) -> None:
    """Nothing else is raised, whatever a person types."""
    try:
        Filter(text).apply(batch_from([DNS, ARP]))
    except ConfigurationError:
        return


@given(any_batch, st.sampled_from([*WORDS, "port 53", "host ::1", "ttl > 5", "name *", "src_ip = 10.0.0.0/8"]))
def test_a_filter_and_its_opposite_split_any_batch(batch: Any, text: str) -> None:
    """Each row is taken by exactly one of them, nulls included."""
    taken, left = Filter(text).apply(batch), Filter(f"not ({text})").apply(batch)

    assert len(taken) + len(left) == len(batch)


def frames() -> list[bytes]:
    """Return packets of every class."""
    ends = ("10.0.0.1", "10.0.0.2")
    udp, tcp = packets.UDP, packets.TCP
    return [
        packets.ethernet(packets.arp(*ends), 0x0806),
        packets.ethernet(packets.ipv4(packets.udp(packets.dns_query(1, "a.b"), 4000, 53), *ends, udp)),
        packets.ethernet(packets.ipv4(packets.udp(packets.dns_query(1, "a.local"), 5353, 5353), *ends, udp)),
        packets.ethernet(packets.ipv4(packets.udp(b"x" * 9, 4000, 4001), *ends, udp)),
        packets.ethernet(packets.ipv4(packets.udp(b"\xc3\0\0\0\1" + bytes(40), 4000, 443), *ends, udp)),
        packets.ethernet(packets.ipv4(packets.tcp(b"", 4000, 4001), *ends, tcp)),
        packets.ethernet(packets.ipv4(packets.tcp(b"GET / HTTP/1.1\r\n\r\n", 4000, 80), *ends, tcp)),
        packets.ethernet(packets.ipv4(packets.tcp(packets.client_hello("a.b"), 4000, 443), *ends, tcp)),
        packets.ethernet(packets.ipv4(packets.tcp(b"SSH-2.0-x\r\n", 4000, 22), *ends, tcp)),
        packets.ethernet(packets.ipv4(packets.icmp_echo(1, 1), *ends, packets.ICMP)),
        packets.ethernet(packets.ipv4(b"\0" * 20, *ends, 132)),
        packets.ethernet(b"\0" * 30, 0x88CC),
    ]


@pytest.mark.parametrize("text", [*WORDS, "tcp and not tls", "dns or http", "not dns", "udp port 53", "quic or arp"])
def test_narrow_subscription_loses_nothing(text: str) -> None:
    """Every row that matches is of a class that the filter subscribes to."""
    from streamgauge.encode import by_class
    from tests.support.rows import decoded

    rows = decoded(frames())
    classes = {int(position): kind for kind, positions in by_class(rows) for position in positions}
    batch = batch_of(frames())
    first = batch.column("time").cast("int64")[0].as_py()
    taken = Filter(text).apply(batch).column("time").cast("int64").to_pylist()

    assert {classes[(time - first) // 1000] for time in taken} <= Filter(text).classes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ["traffic.v1.*.*"]),
        ("port 53", ["traffic.v1.*.*"]),
        ("not dns", ["traffic.v1.*.*"]),
        ("dns", ["traffic.v1.*.dns"]),
        ("dns or tls", ["traffic.v1.*.dns", "traffic.v1.*.tls"]),
        ("udp and dns", ["traffic.v1.*.dns"]),
        ("node a.b dns", ["traffic.v1.a_b.dns"]),
        ("node a or node b", ["traffic.v1.*.*"]),
        ("node a", ["traffic.v1.a.*"]),
    ],
)
def test_subjects_are_as_narrow_as_the_filter_allows(text: str, wanted: list[str]) -> None:
    """The server sends only what can match."""
    assert wanted_subjects(Filter(text)) == wanted


def test_filter_that_cannot_match_is_told() -> None:
    """Waiting for it would be for ever."""
    with pytest.raises(ConfigurationError, match="cannot match anything"):
        wanted_subjects(Filter("dns and tls"))


def test_every_class_and_column_can_be_asked_for() -> None:
    """A class is a word of its own or part of one; any column can be compared."""
    assert frozenset.union(*(test.classes for test in WORDS.values() if len(test.classes) < 9)) == set(TrafficClass)
    for column in schema.COLUMNS:
        if column.name not in ("frame", "time"):
            value = (
                column.words[0]
                if column.words
                else {"IP": "::1", "MAC": "0" * 12, "BOOL": "true"}.get(column.kind.name, "1")
            )
            Filter(f"{column.name} = {value}")
