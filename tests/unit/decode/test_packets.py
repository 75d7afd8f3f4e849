"""What each protocol gives: one exact packet a case."""

from __future__ import annotations

import pytest

from streamgauge.rows import Rows
from tests.support import oracle
from tests.support.decoding import decode_packets
from tests.support.packets import client_hello, dns, ethernet, ipv4, ipv6, tcp, udp

REQUEST = b"GET /index.html?q=1 HTTP/1.1\r\nUser-Agent: x\r\nhost: Example.COM \r\n\r\n"


OPT = b"\0\0\x29\x10\0\1\0\0\0\0\0"


def four(protocol, payload, **how):
    return ethernet(0x0800, ipv4(protocol, payload, **how))


def six(protocol, payload, **how):
    return ethernet(0x86DD, ipv6(protocol, payload, **how))


CASES = {
    "tcp": (
        four(6, tcp(b"\0" * 10)),
        {"ip_version": 4, "ttl": 64, "dscp": 46, "src_port": 40_000, "dst_port": 443, "tcp_seq": 1000, "tcp_ack": 2000,
         "tcp_flags": 0x18, "tcp_window": 512, "payload_bytes": 10, "fragment": False, "eth_type": 0x0800},
    ),
    "addresses": (
        four(6, tcp(b"")),
        {"src_mac": 0x0242AC110003, "dst_mac": 0x0242AC110002, "src_ip": 0xFFFF_0A000001, "dst_ip": 0xFFFF_0A000002},
    ),
    "ipv6 addresses": (
        six(17, udp(b"")),
        {"src_ip": 0x20010DB8 << 96 | 1, "dst_ip": 0x20010DB8 << 96 | 2, "ip_version": 6, "ttl": 63, "dscp": 46},
    ),
    "ethernet padding": (four(6, tcp(b"")) + bytes(6), {"payload_bytes": 0, "decode_status": "ok"}),
    "segmentation offload": (four(6, tcp(bytes(5)), total=0), {"payload_bytes": 5, "decode_status": "ok"}),
    "first fragment": (
        four(17, udp(b"x", target=9, length=900), fragment=0x2000),
        {"fragment": True, "src_port": 40_000, "decode_status": "ok"},
    ),
    "later fragment": (four(17, bytes(9), fragment=7), {"fragment": True, "src_port": None, "payload_bytes": 9}),
    "ip options": (four(17, udp(b""), options=bytes(8)), {"dst_port": 53}),
    "hop by hop and destination options": (
        six(0, b"\x3c\0" + bytes(6) + b"\x11\0" + bytes(6) + udp(b"")),
        {"ip_protocol": 17, "dst_port": 53, "fragment": False},
    ),
    "later ipv6 fragment": (
        six(44, b"\x06\0\0\x08" + bytes(4) + bytes(30)),
        {"ip_protocol": 6, "fragment": True, "src_port": None, "payload_bytes": 30},
    ),
    "authentication header": (six(51, b"\x06\4" + bytes(22) + tcp(b"")), {"ip_protocol": 6, "dst_port": 443}),
    "sctp": (four(132, b"\x0b\x59\x0b\x5a" + bytes(12)), {"src_port": 2905, "dst_port": 2906, "payload_bytes": 4}),
    "icmp": (four(1, b"\x03\1" + bytes(6) + four(6, tcp(b""))), {"icmp_type": 3, "icmp_code": 1, "src_port": None}),
    "icmpv6": (six(58, b"\x87\0" + bytes(22)), {"icmp_type": 135, "icmp_code": 0}),
    "arp": (ethernet(0x0806, b"\0\1\x08\0\6\4\0\2" + bytes(20)), {"arp_opcode": 2, "ip_version": None}),
    "one tag": (ethernet(0x0800, ipv4(6, tcp(b"")), tags=[(0x8100, 0x6064)]), {"vlan": 100, "eth_type": 0x0800}),
    "two tags": (ethernet(0x0800, ipv4(6, tcp(b"")), tags=[(0x88A8, 7), (0x8100, 9)]), {"vlan": 7, "dst_port": 443}),
    "802.3 length": (ethernet(40, b"\x42\x42\3" + bytes(37)), {"eth_type": None, "decode_status": "unsupported"}),
    "unread ethertype": (ethernet(0x88CC, bytes(40)), {"eth_type": 0x88CC, "decode_status": "unsupported"}),
    "dns query": (
        four(17, udp(dns())),
        {"app": "dns", "dns_id": 0xBEEF, "dns_response": False, "dns_name": b"www.example.com", "dns_type": 1,
         "dns_rcode": None},
    ),
    "dns response": (
        four(17, udp(dns(flags=0x8183), source=53, target=40_000)),
        {"dns_response": True, "dns_rcode": 3, "dns_name": b"www.example.com"},
    ),
    "dns with an extended response code": (
        four(17, udp(dns(flags=0x8180, additional=1) + OPT, source=53, target=40_000)),
        {"dns_rcode": 16, "dns_answers": 0},
    ),
    "dns on a port of its own": (four(17, udp(dns(), source=1024, target=1053)), {"app": "dns", "dns_type": 1}),
    "dns with a label that has no meaning": (
        four(17, udp(dns(b"\1a\x42bc\0"))),
        {"dns_name": b"<unknown extended label>", "decode_status": "malformed"},
    ),
    "dns with control characters": (four(17, udp(dns(b"\4a\r\1b\0"))), {"dns_name": b"a\\r\\001b"}),
    "dns root": (four(17, udp(dns(b"\0", kind=2))), {"dns_name": b"", "dns_type": 2}),
    "dns pointer to itself": (
        four(17, udp(dns(b"\xc0\x0c"))),
        {"dns_id": 0xBEEF, "dns_name": None, "decode_status": "malformed"},
    ),
    "mdns": (four(17, udp(dns(), source=5353, target=5353)), {"app": "mdns", "dns_name": b"www.example.com"}),
    "llmnr": (four(17, udp(dns(), target=5355)), {"app": "llmnr"}),
    "dns over tcp": (
        four(6, tcp(len(dns()).to_bytes(2, "big") + dns(), target=53)),
        {"app": "dns", "dns_name": b"www.example.com"},
    ),
    "server name": (four(6, tcp(client_hello(b"Shop.example.com"))), {"app": "tls", "tls_sni": b"Shop.example.com"}),
    "server name in the second record": (
        four(6, tcp(b"\x14\3\3\0\1\1" + client_hello(b"a.example"), target=8443)),
        {"app": "tls", "tls_sni": b"a.example"},
    ),
    "tls data": (four(6, tcp(b"\x17\3\3\0\x10" + bytes(16))), {"app": "tls", "tls_sni": None}),
    "http request": (
        four(6, tcp(REQUEST, target=8081)),
        {"app": "http", "http_method": b"GET", "http_path": b"/index.html?q=1", "http_host": b"Example.COM",
         "http_status": None},
    ),
    "http 0.9": (four(6, tcp(b"GET /old\r\n")), {"http_method": b"GET", "http_path": b"/old", "http_host": None}),
    "http response": (
        four(6, tcp(b"HTTP/1.1 204 No Content\r\n\r\n")),
        {"app": "http", "http_status": 204, "http_method": None},
    ),
    "not http": (four(6, tcp(b"OPTIONS sip:x SIP/2.0\r\n\r\n")), {"app": None}),
    "quic": (four(17, udp(b"\xc3\0\0\0\1\x08" + bytes(20), target=443)), {"app": "quic"}),
    "ntp": (four(17, udp(b"\x23" + bytes(47), target=123)), {"app": "ntp"}),
    "dhcp": (four(17, udp(b"\1" + bytes(235) + bytes.fromhex("63825363"), target=67)), {"app": "dhcp"}),
    "ssh": (four(6, tcp(b"SSH-2.0-OpenSSH_9.2\r\n", target=22)), {"app": "ssh"}),
    "total length too long": (four(6, tcp(b""), total=900), {"decode_status": "malformed", "dst_port": 443}),
    "tcp header too short": (four(6, tcp(b"", offset=4)), {"decode_status": "malformed", "tcp_seq": 1000}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_columns(case):
    """Each case gives the columns it states (None: no value), and the row the oracle gives."""
    packet, expected = CASES[case]
    [row] = decode_packets([packet])

    assert expected == {name: row.get(name) for name in expected}
    assert oracle.decode(packet) == row


@pytest.mark.parametrize(
    ("link", "head", "protocol"),
    [
        (0, b"\2\0\0\0", 4), (0, b"\0\0\0\x1e", 6), (108, b"\0\0\0\x18", 6), (101, b"", 4), (12, b"", 6), (14, b"", 4),
        (228, b"", 4), (229, b"", 6), (113, bytes(14) + b"\x08\0", 4), (276, b"\x86\xdd" + bytes(18), 6),
    ],
)  # fmt: skip
def test_link_types(link, head, protocol):
    """Every link type we claim leads to IP, and names the EtherType it implies."""
    packet = head + (ipv4 if protocol == 4 else ipv6)(17, udp(dns()))
    [row] = decode_packets([packet], link=link)

    assert (protocol, b"www.example.com") == (row["ip_version"], row["dns_name"])
    assert {4: 0x0800, 6: 0x86DD}[protocol] == row["eth_type"]


def test_a_link_type_we_do_not_read_is_a_row():
    """Lengths are counted whatever the link type is."""
    [row] = decode_packets([b"abc"], link=147, wire=900)

    assert (row["decode_status"], row["bytes"], row["captured_bytes"]) == ("unsupported", 900, 3)


def test_a_stripped_tag_counts_as_if_it_were_there():
    """Live, the kernel strips the outer tag: length and identifier are those of the frame on the wire."""
    inner = ethernet(0x0800, ipv4(6, tcp(b"")), tags=[(0x8100, 9)])
    [row] = decode_packets([inner], tag=0x2007)

    assert (7, len(inner) + 4, len(inner) + 4) == (row["vlan"], row["bytes"], row["captured_bytes"])


@pytest.mark.parametrize("length", range(len(four(17, udp(dns())))))
def test_a_cut_packet_is_truncated(length):
    """A snaplen inside of a header keeps what came before and says so; right behind one, nothing read is missing."""
    packet = four(17, udp(dns()))
    whole = length == len(packet) - len(dns())
    [row] = decode_packets([packet[:length]], wire=len(packet))

    assert ("ok" if whole else "truncated") == row["decode_status"]
    assert oracle.decode(packet[:length], wire=len(packet)) == row


def test_frame_bytes():
    """The first bytes of each packet are kept on request."""
    rows = decode_packets([b"abcdef", b"xy"], frame_bytes=4)

    assert [row["frame"] for row in rows] == [b"abcd", b"xy"]


def test_rows_are_reused():
    """A row that was something else before shows nothing of it."""
    first, second = four(17, udp(dns())), ethernet(0x88CC, bytes(40))

    assert [oracle.decode(first), oracle.decode(second) | {"time": 1}] == decode_packets([first, second], rows=Rows(1))


def test_a_text_longer_than_the_pool_is_cut():
    """Text that fits no pool is cut; the row is there."""
    packet = four(6, tcp(b"GET /" + b"x" * 900 + b" HTTP/1.1\r\n\r\n"))
    [row] = decode_packets([packet], rows=Rows(4, 100))

    assert (row["http_method"], len(row["http_path"])) == (b"GET", 97)
