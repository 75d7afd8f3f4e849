"""What loopback does not have: visitors from the world outside, and what goes wrong in any network.

Only frames, for the sample capture and for ``traffic``, which puts them on loopback for whoever captures there: they
are addressed to a station that does not exist, so no kernel takes, answers or forwards them.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from streamgauge.demo import packets
from streamgauge.demo.packets import ACK, PSH, RST, SYN, TCP, UDP, Conversation, ethernet, ipv4

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

#: The demo's own network (inside), and addresses of RFC 5737 (outside; nobody has them).
DNS_SERVER, WEB_SERVER, TLS_SERVER, SILENT_HOST = "10.20.0.53", "10.20.0.80", "10.20.1.43", "10.20.9.9"
CLIENTS: Final = "10.20.7.0/24"
_VISITORS, _PARTNERS = "203.0.113", "198.51.100"

#: TLS versions that servers choose, newest most often.
_VERSIONS: Final = (0x0304, 0x0304, 0x0304, 0x0303, 0x0303, 0x0301)
#: A segment that is sent again must fit one frame.
_SEGMENT: Final = bytes(900)


def exchange(chance: random.Random, client: str) -> Iterator[bytes]:
    """Yield the frames of one of the exchanges; ``client`` is an address inside."""
    kind: Callable[[random.Random, str], Iterator[bytes]] = chance.choices(tuple(_KINDS), tuple(_KINDS.values()))[0]
    return kind(chance, client)


def _talk(chance: random.Random, client: str, server: str, port: int) -> Conversation:
    return Conversation(client, server, chance.randrange(32768, 60999), port, first=chance.randrange(1 << 31))


def _visit(chance: random.Random, _client: str) -> Iterator[bytes]:
    """Yield a visit: a browser outside asks the site inside, encrypted."""
    return _encrypted(_talk(chance, f"{_VISITORS}.{chance.randrange(2, 250)}", TLS_SERVER, 443), chance)


def _partner(chance: random.Random, client: str) -> Iterator[bytes]:
    """Yield a call: a program inside asks a service outside, encrypted."""
    return _encrypted(_talk(chance, client, f"{_PARTNERS}.{chance.randrange(20, 24)}", 443), chance)


def _encrypted(talk: Conversation, chance: random.Random) -> Iterator[bytes]:
    record = b"\x17\x03\x03" + (1200).to_bytes(2, "big") + bytes(1200)
    hello = packets.server_hello(chance.choice(_VERSIONS))
    yield from chain(
        talk.open(),
        talk.say(packets.client_hello("shop.example.com")),
        talk.answer(hello),
        talk.answer(record * chance.randrange(1, 6)),
        talk.close(),
    )


def _plain(chance: random.Random, client: str) -> Iterator[bytes]:
    """Yield a call for all to read: a program inside fetches a page outside."""
    talk = _talk(chance, client, f"{_PARTNERS}.80", 80)
    request = b"GET /feed HTTP/1.1\r\nHost: partner.example.org\r\n\r\n"
    yield from chain(talk.open(), talk.say(request), talk.answer(b"HTTP/1.1 200 OK\r\n\r\n" + _SEGMENT), talk.close())


def _lossy(chance: random.Random, client: str) -> Iterator[bytes]:
    """Yield trouble: a segment is sent again, two change places, the receiver is full for a moment."""
    port, seq = chance.randrange(32768, 60999), chance.randrange(1 << 30)

    def frame(flags: int, offset: int, data: bytes = b"", *, reply: bool = False, window: int = 64240) -> bytes:
        ends, ports = ((WEB_SERVER, client), (8080, port)) if reply else ((client, WEB_SERVER), (port, 8080))
        own, other = (7, seq + offset) if reply else (seq + offset, 8)
        segment = packets.tcp(data, *ports, flags=flags, seq=own, ack=other if flags & ACK else 0, window=window)
        return ethernet(ipv4(segment, *ends, TCP))

    size = len(_SEGMENT)
    yield frame(SYN, 0)
    yield ethernet(ipv4(packets.tcp(b"", 8080, port, flags=SYN | ACK, seq=7, ack=seq + 1), WEB_SERVER, client, TCP))
    yield frame(ACK, 1)
    for position in (0, 0, 2, 1):
        yield frame(PSH | ACK, 1 + position * size, _SEGMENT)
    yield ethernet(
        ipv4(packets.tcp(b"", 8080, port, flags=ACK, seq=8, ack=seq + 1 + 3 * size, window=0), WEB_SERVER, client, TCP)
    )
    yield frame(RST | ACK, 1 + 3 * size)


def _refused(chance: random.Random, client: str) -> Iterator[bytes]:
    """Yield a refusal: nobody listens on that port, and the host says so."""
    port = chance.randrange(32768, 60999)
    yield ethernet(ipv4(packets.tcp(b"", port, 6379, flags=SYN, ack=0), client, WEB_SERVER, TCP))
    yield ethernet(ipv4(packets.tcp(b"", 6379, port, flags=RST | ACK, seq=0, ack=2), WEB_SERVER, client, TCP))


def _silent(chance: random.Random, client: str) -> Iterator[bytes]:
    """Yield attempts in vain: at a host that is away, and of a scanner outside that a firewall swallows."""
    port = chance.randrange(32768, 60999)
    yield ethernet(ipv4(packets.tcp(b"", port, 5432, flags=SYN, ack=0), client, SILENT_HOST, TCP))
    scanner = f"{_VISITORS}.251"
    yield ethernet(ipv4(packets.tcp(b"", port, chance.randrange(1, 1024), flags=SYN, ack=0), scanner, SILENT_HOST, TCP))


def _unresolved(chance: random.Random, client: str) -> Iterator[bytes]:
    """Yield a query the resolver fails at, and one that nobody answers."""
    for answered in (True, False):
        identifier, port = chance.randrange(1 << 16), chance.randrange(32768, 60999)
        query = packets.dns_query(identifier, "db.internal.example", 1 if answered else 28)
        yield ethernet(ipv4(packets.udp(query, port, 53), client, DNS_SERVER, UDP))
        if answered:
            response = packets.dns_response(identifier, "db.internal.example", rcode=2)
            yield ethernet(ipv4(packets.udp(response, 53, port), DNS_SERVER, client, UDP))


_KINDS: Final = {_visit: 8, _partner: 5, _plain: 2, _lossy: 2, _refused: 1, _silent: 1, _unresolved: 1}
