"""Real traffic on loopback for the demo: servers and clients for DNS, HTTP, TLS, UDP and ICMP, at a bounded rate.

With the right to use raw sockets also what only looks real: ``outside``.

    python -m streamgauge.demo.traffic --rate 1000

A process of its own, so that it costs the rest nothing; it ends with SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import ssl
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamgauge.demo import outside, packets
from streamgauge.demo.sample import NAMES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: All of 127.0.0.0/8 is loopback on Linux, so the parts look like the hosts of a network.
_DNS, _WEB, _TLS, _UDP = ".0.53", ".0.80", ".0.143", ".0.99"
_CLIENTS: Final = range(1, 13)

#: Share of the packets and packets of one round, by kind of traffic (measured on loopback).
_MIX: Final = {
    "http": (0.45, 11),
    "tls": (0.2, 18),
    "dns": (0.15, 2),
    "udp": (0.05, 2),
    "ping": (0.05, 2),
    "outside": (0.1, 10),
}
#: Seconds between two frames of an exchange with the world outside.
_GAP: Final = 0.0005


def network() -> str:
    """Return the network of this process; another demo has another one."""
    return f"127.{100 + os.getpid() % 100}"


def names(network: str) -> list[tuple[str, str, str]]:
    """Return (address or network, namespace, workload) of the parts in a network."""
    return [
        (network + _DNS, "kube-system", "dns"),
        (network + _WEB, "shop", "web"),
        (network + _TLS, "shop", "checkout"),
        (network + _UDP, "monitoring", "echo"),
        *((f"{network}.7.{client}", "office", f"laptops-{'ab'[client % 2]}") for client in _CLIENTS),
        (outside.DNS_SERVER, "kube-system", "dns"),
        (outside.WEB_SERVER, "shop", "web"),
        (outside.TLS_SERVER, "shop", "checkout"),
        (outside.SILENT_HOST, "shop", "database"),
        (outside.CLIENTS, "office", "desks"),
    ]


class _Answering(asyncio.DatagramProtocol):
    """A UDP server that answers each datagram at once."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(self._answer(data), addr)


class Traffic:
    """Servers on loopback and the clients that use them; runs until it is cancelled."""

    def __init__(self, rate: float, network: str) -> None:
        """``network`` are the first two numbers of the addresses, such as ``127.100``."""
        self._rate = rate
        self._network = network
        self._chance = random.Random(1)  # noqa: S311 the same mix each time
        self._ports: dict[str, int] = {}
        self._certificate = Path()

    async def run(self) -> None:
        """Serve and ask, for ever."""
        async with contextlib.AsyncExitStack() as stack:
            self._certificate = _certificate(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamgauge-")))
            await self._serve(stack)
            async with asyncio.TaskGroup() as group:
                for kind, work in self._kinds().items():
                    group.create_task(self._repeat(kind, work), name=kind)

    def _kinds(self) -> dict[str, Callable[[str], Awaitable[None]]]:
        kinds: dict[str, Callable[[str], Awaitable[None]]] = {
            "http": self._fetch,
            "tls": self._encrypted,
            "dns": self._look_up,
            "udp": self._datagram,
        }
        if _may_ping():
            kinds["ping"] = self._ping
            kinds["outside"] = self._outside
        return kinds

    async def _repeat(self, kind: str, work: Callable[[str], Awaitable[None]]) -> None:
        """Do one kind of round again and again, as often as its share of the rate allows."""
        share, size = _MIX[kind]
        interval = size / (self._rate * share)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            # Not wait_for: in Python 3.11 it swallows a cancellation that arrives together with the result.
            with contextlib.suppress(OSError, TimeoutError, ssl.SSLError, EOFError):
                async with asyncio.timeout(5):
                    await work(f"{self._network}.7.{self._chance.choice(_CLIENTS)}")
            # When the machine is slower than the rate, rounds follow each other without a debt building up.
            due = max(due + interval, loop.time())
            await asyncio.sleep(due - loop.time())

    # --- servers ---

    async def _serve(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for kind, host, wanted, answer in (
            ("dns", self._network + _DNS, 53, _dns_answer),
            ("udp", self._network + _UDP, 0, lambda data: data[::-1]),
        ):
            transport = await _datagram_server(loop, host, wanted, answer)
            stack.callback(transport.close)
            self._ports[kind] = transport.get_extra_info("sockname")[1]
        web = await asyncio.start_server(_serve_page, self._network + _WEB, 0)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._certificate)
        secure = await asyncio.start_server(_serve_page, self._network + _TLS, 0, ssl=context)
        for kind, server in (("http", web), ("tls", secure)):
            stack.callback(server.close)
            self._ports[kind] = server.sockets[0].getsockname()[1]

    # --- clients ---

    async def _fetch(self, client: str) -> None:
        name = self._chance.choice(NAMES)
        await self._request(
            name, await asyncio.open_connection(self._network + _WEB, self._ports["http"], local_addr=(client, 0))
        )

    async def _encrypted(self, client: str) -> None:
        context = ssl.create_default_context(cafile=str(self._certificate))
        name = self._chance.choice(NAMES)
        connection = await asyncio.open_connection(
            self._network + _TLS, self._ports["tls"], ssl=context, server_hostname=name, local_addr=(client, 0)
        )
        await self._request(name, connection)

    async def _request(self, name: str, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        reader, writer = connection
        try:
            path = f"/item/{self._chance.randrange(1000)}?bytes={self._chance.randrange(200, 12_000)}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    async def _look_up(self, client: str) -> None:
        query = packets.dns_query(self._chance.randrange(1 << 16), self._chance.choice((*NAMES, "no.such.example")))
        await self._ask(client, (self._network + _DNS, self._ports["dns"]), query)

    async def _datagram(self, client: str) -> None:
        await self._ask(
            client, (self._network + _UDP, self._ports["udp"]), self._chance.randbytes(self._chance.randrange(1, 900))
        )

    async def _ask(self, client: str, server: tuple[str, int], data: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            asking.bind((client, 0))
            loop = asyncio.get_running_loop()
            await loop.sock_sendto(asking, data, server)
            await loop.sock_recv(asking, 4096)

    async def _ping(self, client: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as asking:
            asking.setblocking(False)
            asking.bind((client, 0))
            echo = packets.icmp_echo(self._chance.randrange(1 << 16), 1)
            await asyncio.get_running_loop().sock_sendto(asking, echo, (self._network + _WEB, 0))

    async def _outside(self, _client: str) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sending:
            sending.bind(("lo", 0))
            for frame in outside.exchange(self._chance, f"10.20.7.{self._chance.randrange(2, 30)}"):
                sending.send(frame)
                await asyncio.sleep(_GAP)


async def _datagram_server(
    loop: asyncio.AbstractEventLoop, host: str, port: int, answer: Callable[[bytes], bytes]
) -> asyncio.DatagramTransport:
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: _Answering(answer), (host, port))
    except OSError:
        # Low ports need a right of their own, and another server may listen everywhere.
        transport, _ = await loop.create_datagram_endpoint(lambda: _Answering(answer), (host, 0))
    return transport


def _dns_answer(query: bytes) -> bytes:
    identifier, name = int.from_bytes(query[:2], "big"), _asked_name(query)
    if name.startswith("no."):
        return packets.dns_response(identifier, name, rcode=3)
    return packets.dns_response(identifier, name, answer=b"\x7f\x00\x00\x50")


def _asked_name(query: bytes) -> str:
    labels, at = [], 12
    while at < len(query) and query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += 1 + query[at]
    return ".".join(labels)


async def _serve_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError, ValueError):
        request = await reader.readuntil(b"\r\n\r\n")
        length = int(request.split(b"bytes=", 1)[1].split(b" ", 1)[0])
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + bytes(length))
        await writer.drain()
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


def _may_ping() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except OSError:
        return False
    return True


def _certificate(folder: str) -> Path:
    """Write a throw-away certificate with its key for the names of the demo."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "streamgauge demo")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = Path(folder) / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return path


async def _until_told(rate: float, network: str) -> None:
    running = asyncio.ensure_future(Traffic(rate, network).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m streamgauge.demo.traffic", description=__doc__)
    parser.add_argument("--rate", type=float, default=1000.0, help="packets per second, at the most")
    parser.add_argument("--network", default=network(), help="first two numbers of the addresses, within 127.0.0.0/8")
    arguments = parser.parse_args()
    asyncio.run(_until_told(arguments.rate, arguments.network))
    return 0


if __name__ == "__main__":
    sys.exit(main())
