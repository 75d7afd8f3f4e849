"""Traffic with a known answer to each named query: what the tests of `streamgauge query` and its benchmark look for.

A cluster of 10.0.0.0/8 with a resolver at 10.0.0.53; everything happens within the minute after ``start``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from streamgauge.demo import packets as made
from streamgauge.demo.packets import ACK, RST, SYN, TCP, UDP, Conversation, ethernet, ipv4

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECOND: Final = 1_000_000_000
MS: Final = 1_000_000

WEB, DATABASE, RESOLVER, SCANNER, VICTIM = "10.0.0.11", "10.0.0.12", "10.0.0.53", "10.0.0.66", "10.0.0.77"
INFECTED, OUTSIDE, OLD_SERVER, DROP = "10.0.0.88", "198.51.100.7", "10.0.0.99", "203.0.113.9"

#: What the traffic below holds.
SCANNED_PORTS: Final = 120
BEACONS: Final = 12
FAILED_NAMES: Final = 7
SLOW_HANDSHAKE: Final = 400 * MS
UPLOAD: Final = 200 * 1400
OLD_TLS: Final = 5
REPEATED: Final = 9

Timed = tuple[int, bytes]


def incidents(start: int) -> list[Timed]:
    """Return the packets of a minute with an incident of each kind, in order of time (ns)."""
    found: list[Timed] = []
    for part in (_web, _failing_names, _slow_server, _old_tls, _beacon, _upload, _scan, _retransmissions):
        found += part(start)
    return sorted(found, key=lambda one: one[0])


def _spread(frames: Iterable[bytes], start: int, step: int) -> Iterator[Timed]:
    for number, frame in enumerate(frames):
        yield start + number * step, frame


def _web(start: int) -> Iterator[Timed]:
    """Three requests of the web pod to its database, with names looked up before."""
    yield from _lookup(start, 1, WEB, "database.shop.svc.cluster.local", answer=bytes([10, 0, 0, 12]))
    for number in range(3):
        one = Conversation(WEB, DATABASE, 41000 + number, 8080)
        request = b"GET /orders/%d HTTP/1.1\r\nHost: database.shop\r\n\r\n" % number
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + bytes(3000)
        frames = [*one.open(), *one.say(request), *one.answer(answer), *one.close()]
        yield from _spread(frames, start + number * SECOND + 10 * MS, MS)


def _lookup(
    start: int, number: int, client: str, name: str, *, rcode: int = 0, answer: bytes = b"", port: int = 0
) -> Iterator[Timed]:
    port = port or 50_000 + number
    query = made.udp(made.dns_query(number, name), port, 53)
    response = made.udp(made.dns_response(number, name, rcode=rcode, answer=answer), 53, port)
    yield start, ethernet(ipv4(query, client, RESOLVER, UDP))
    yield start + 2 * MS, ethernet(ipv4(response, RESOLVER, client, UDP))


def _failing_names(start: int) -> Iterator[Timed]:
    """The web pod asks for a name that is not there, and once the server fails."""
    for number in range(FAILED_NAMES - 1):
        yield from _lookup(start + number * SECOND, 100 + number, WEB, "gone.shop.svc.cluster.local", rcode=3)
    yield from _lookup(start + 9 * SECOND, 199, WEB, "broken.example.com", rcode=2)


def _slow_server(start: int) -> Iterator[Timed]:
    """Twenty handshakes with the database, the last one slow on the way to the server."""
    for number in range(20):
        one = Conversation(DATABASE, WEB, 42000 + number, 9000)
        syn, answer, ack = one.open()
        begin = start + 20 * SECOND + number * 100 * MS
        wait = SLOW_HANDSHAKE if number == 19 else 2 * MS
        yield from ((begin, syn), (begin + wait - MS, answer), (begin + wait, ack))


def _old_tls(start: int) -> Iterator[Timed]:
    """A server that chooses TLS 1.0, one that chooses TLS 1.2."""
    for number in range(OLD_TLS + 1):
        server = OLD_SERVER if number < OLD_TLS else DATABASE
        one = Conversation(WEB, server, 43000 + number, 443)
        hello = _server_hello(0x0301 if number < OLD_TLS else 0x0303)
        frames = [*one.open(), *one.say(made.client_hello("old.shop.example")), *one.answer(hello), *one.close()]
        yield from _spread(frames, start + 25 * SECOND + number * SECOND, MS)


def _server_hello(version: int) -> bytes:
    body = struct.pack("!H", version) + bytes(32) + b"\0" + struct.pack("!HB", 0x002F, 0)
    handshake = b"\2" + len(body).to_bytes(3, "big") + body
    return b"\x16" + struct.pack("!HH", version, len(handshake)) + handshake


def _beacon(start: int) -> Iterator[Timed]:
    """A connection to the outside every five seconds, within a few milliseconds."""
    for number in range(BEACONS):
        one = Conversation(INFECTED, OUTSIDE, 44000 + number, 443)
        frames = [*one.open(), *one.say(b"\x17\x03\x03\x00\x10" + bytes(16)), *one.close()]
        yield from _spread(frames, start + number * 5 * SECOND + (number % 3) * 4 * MS, MS)


def _upload(start: int) -> Iterator[Timed]:
    """The database sends much to the outside."""
    one = Conversation(DATABASE, DROP, 45000, 22)
    frames = [*one.open(), *one.say(bytes(UPLOAD)), *one.close()]
    yield from _spread(frames, start + 30 * SECOND, MS)


def _scan(start: int) -> Iterator[Timed]:
    """One host asks another for many ports; all but one are closed."""
    for number in range(SCANNED_PORTS):
        begin, port = start + 35 * SECOND + number * 5 * MS, 1 + number
        syn = made.tcp(b"", 46000, port, flags=SYN, seq=7000, ack=0)
        answer = made.tcp(b"", port, 46000, flags=(SYN | ACK) if port == 80 else (RST | ACK), seq=0, ack=7001)
        yield begin, ethernet(ipv4(syn, SCANNER, VICTIM, TCP))
        yield begin + MS, ethernet(ipv4(answer, VICTIM, SCANNER, TCP))


def _retransmissions(start: int) -> Iterator[Timed]:
    """The web pod sends the same bytes to the victim again and again."""
    one = Conversation(WEB, VICTIM, 47000, 5000)
    yield from _spread(one.open(), start + 45 * SECOND, MS)
    data = made.tcp(bytes(500), 47000, 5000, flags=ACK, seq=1001, ack=6001)
    frames = [ethernet(ipv4(data, WEB, VICTIM, TCP))] * (REPEATED + 1)
    yield from _spread(frames, start + 46 * SECOND, 300 * MS)
