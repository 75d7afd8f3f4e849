"""The sample capture: what the demo replays where it may not capture."""

from __future__ import annotations

import random
import time
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from streamgauge.demo import outside, packets
from streamgauge.demo.packets import ICMP, UDP, Conversation, ethernet, ipv4

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SEED: Final = 20261125
_DNS_SERVER, _WEB_SERVER, _TLS_SERVER = outside.DNS_SERVER, outside.WEB_SERVER, outside.TLS_SERVER
NAMES: Final = ("shop.example.com", "api.example.com", "cdn.example.net", "auth.example.org", "metrics.example.net")


def write(path: Path, *, count: int = 20_000, rate: float = 1_000.0) -> None:
    """Write ``count`` packets that follow each other at ``rate`` a second, the same at each call but for the time."""
    begin = time.time_ns()
    step = int(1e9 / rate)
    path.write_bytes(
        packets.pcap((begin + number * step, frame) for number, frame in enumerate(islice(_frames(), count)))
    )


def _frames() -> Iterator[bytes]:
    """Yield frames without end: clients that look up names, fetch pages, open TLS connections and ping."""
    chance = random.Random(_SEED)  # noqa: S311 the same traffic each time
    hellos = {name: packets.client_hello(name) for name in NAMES}
    while True:
        client = f"10.20.7.{chance.randrange(2, 30)}"
        name = chance.choice(NAMES)
        yield from _look_up(client, name, chance)
        if chance.random() < 0.25:
            yield from outside.exchange(chance, client)
        port = chance.randrange(32768, 60999)
        draw = chance.random()
        if draw < 0.45:
            yield from _fetch(client, port, name, chance)
        elif draw < 0.8:
            yield from _encrypted(client, port, hellos[name], chance)
        else:
            yield from _ping(client, chance.randrange(1 << 16))


def _look_up(client: str, name: str, chance: random.Random) -> Iterator[bytes]:
    identifier, port = chance.randrange(1 << 16), chance.randrange(32768, 60999)
    exists = chance.random() < 0.95
    response = packets.dns_response(identifier, name, rcode=0 if exists else 3, answer=bytes(4) if exists else b"")
    yield ethernet(ipv4(packets.udp(packets.dns_query(identifier, name), port, 53), client, _DNS_SERVER, UDP))
    yield ethernet(ipv4(packets.udp(response, 53, port), _DNS_SERVER, client, UDP))


def _fetch(client: str, port: int, name: str, chance: random.Random) -> Iterator[bytes]:
    talk = Conversation(client, _WEB_SERVER, port, 80, first=chance.randrange(1 << 31))
    request = f"GET /item/{chance.randrange(1000)} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
    body = bytes(chance.randrange(200, 12_000))
    head = f"HTTP/1.1 {chance.choice((200, 200, 200, 304, 404, 503))} -\r\nContent-Length: {len(body)}\r\n\r\n"
    yield from chain(talk.open(), talk.say(request), talk.answer(head.encode() + body), talk.close())


def _encrypted(client: str, port: int, hello: bytes, chance: random.Random) -> Iterator[bytes]:
    talk = Conversation(client, _TLS_SERVER, port, 443, first=chance.randrange(1 << 31))
    record = b"\x17\x03\x03" + (1200).to_bytes(2, "big") + chance.randbytes(1200)
    yield from chain(talk.open(), talk.say(hello), talk.answer(record * chance.randrange(1, 9)), talk.close())


def _ping(client: str, identifier: int) -> Iterator[bytes]:
    for reply in (False, True):
        ends = (_WEB_SERVER, client) if reply else (client, _WEB_SERVER)
        yield ethernet(ipv4(packets.icmp_echo(identifier, 1, reply=reply), *ends, ICMP))
