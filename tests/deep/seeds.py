"""Packets to start from: the exact ones of the unit tests, one of each kind, with their link type."""

from __future__ import annotations

from tests.support.packets import (
    client_hello,
    dns,
    erspan,
    ethernet,
    extension,
    geneve,
    gre,
    hello,
    ipv4,
    ipv6,
    listed,
    mpls,
    pppoe,
    record,
    server_hello,
    snap,
    tcp,
    udp,
    vxlan,
)

INSIDE = ipv6(6, tcp(client_hello(b"shop.example.com")))
FRAME = ethernet(0x86DD, INSIDE, tags=[(0x8100, 9)])
NETWORK = [
    ipv4(6, tcp(b"GET /index.html HTTP/1.1\r\nHost: example.com\r\n\r\n", target=80)),
    ipv4(6, tcp(b"HTTP/1.1 200 OK\r\n\r\n")),
    ipv4(6, tcp(record(hello(b"a.example", after=extension(16, listed(b"h2")) + extension(43, b"\2\3\4"))))),
    ipv4(6, tcp(record(hello(b"a.example", before=extension(21, bytes(900))))[:400])),
    ipv4(
        6, tcp(record(hello(b"a.example")[:3]) + record(hello(b"a.example")[3:40]) + record(hello(b"a.example")[40:]))
    ),
    ipv4(6, tcp(record(server_hello(extensions=extension(43, b"\3\4"))))),
    ipv4(6, tcp(len(dns()).to_bytes(2, "big") + dns(), target=53)),
    ipv4(17, udp(dns(flags=0x8180, additional=1) + b"\0\0\x29\x10\0\1\0\0\0\0\0", source=53)),
    ipv4(17, udp(dns(b"\3www\xc0\x0c", flags=0x8180), source=5353, target=5353)),
    ipv4(17, udp(b"\xc3\0\0\0\1\x08" + bytes(60), target=443)),
    ipv4(17, udp(b"\1" + bytes(235) + bytes.fromhex("63825363"), target=67)),
    ipv4(17, udp(b"\x23" + bytes(47), target=123)),
    ipv4(132, bytes(20)),
    ipv4(1, b"\3\1" + bytes(30)),
    ipv6(0, b"\x3c\0" + bytes(6) + b"\x11\0" + bytes(6) + udp(dns())),
    ipv6(44, b"\6\0\0\x08" + bytes(30)),
    ipv6(51, b"\6\4" + bytes(22) + tcp(b"")),
    ipv4(4, ipv4(41, INSIDE)),
    ipv4(47, gre(0x86DD, INSIDE, flags=0xF000)),
    ipv4(47, gre(0x88BE, erspan(FRAME), flags=0x1000)),
    ipv4(47, gre(0x22EB, erspan(FRAME, version=2, flags=1), flags=0x1000)),
    ipv4(47, gre(0x880B, b"\xff\3\0\x57" + INSIDE)),
    ipv4(17, udp(vxlan(FRAME), target=4789)),
    ipv4(17, udp(vxlan(INSIDE, flags=12, following=2), target=4790)),
    ipv4(17, udp(geneve(0x6558, FRAME, options=bytes(8)), target=6081)),
    ipv4(137, mpls(3, 5) + INSIDE),
]
FRAMES = [
    ethernet(0x8847, mpls(16, 17) + bytes(4) + FRAME),
    ethernet(0x8864, pppoe(INSIDE, number=b"\x57")),
    ethernet(60, snap(0x86DD, INSIDE)),
    ethernet(0x0806, b"\0\1\x08\0\6\4\0\2" + bytes(20)),
    ethernet(0x0800, NETWORK[0], tags=[(0x88A8, 7), (0x8100, 9)]),
]
#: ``(link type, packet)``
SEEDS = [
    *((1, ethernet(0x0800 if packet[0] >> 4 == 4 else 0x86DD, packet)) for packet in NETWORK),
    *((1, frame) for frame in FRAMES),
    *((101, packet) for packet in NETWORK[:8]),
    (0, b"\2\0\0\0" + NETWORK[6]),
    (108, b"\0\0\0\2" + NETWORK[1]),
    (113, bytes(14) + b"\x08\0" + NETWORK[2]),
    (276, b"\x08\0" + bytes(18) + NETWORK[3]),
]
