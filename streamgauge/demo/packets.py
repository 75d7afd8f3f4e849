"""Packets and capture files made by hand: the sample of the demo, and what tests need.

frame = ethernet(ipv4(udp(dns_query(7, "example.com"), 40000, 53), "10.0.0.1", "10.0.0.53", 17))
Path("one.pcap").write_bytes(pcap([(time_ns, frame)]))
"""

from __future__ import annotations

import functools
import ipaddress
import ssl
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58

_PCAP_HEADER: Final = struct.Struct("<IHHiIII")
_PCAP_RECORD: Final = struct.Struct("<IIII")
_NANOSECOND_MAGIC: Final = 0xA1B23C4D
_TCP_HEADER: Final = struct.Struct("!HHIIBBHHH")

ETHERNET: Final = 1  # link type


def pcap(packets: Iterable[tuple[int, bytes]], *, link: int = ETHERNET, snaplen: int = 262144) -> bytes:
    """Return a capture file with nanosecond times; ``packets`` are (ns since 1970, frame)."""
    parts = [_PCAP_HEADER.pack(_NANOSECOND_MAGIC, 2, 4, 0, 0, snaplen, link)]
    for time, frame in packets:
        seconds, nanoseconds = divmod(time, 1_000_000_000)
        kept = frame[:snaplen]
        parts += [_PCAP_RECORD.pack(seconds, nanoseconds, len(kept), len(frame)), kept]
    return b"".join(parts)


def ethernet(payload: bytes, ether_type: int = 0x0800, *, vlan: int | None = None) -> bytes:
    """Return a frame between two fixed stations."""
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    return b"\x02\x00\x5e\x00\x00\x02\x02\x00\x5e\x00\x00\x01" + tag + struct.pack("!H", ether_type) + payload


def ipv4(payload: bytes, source: str, target: str, protocol: int, *, ttl: int = 64) -> bytes:
    """Return an IPv4 packet; a TCP, UDP or ICMP payload gets its checksum."""
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    payload = _with_checksum(payload, addresses, protocol)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, ttl, protocol, 0) + addresses
    return header[:10] + _checksum(header) + header[12:] + payload


def ipv6(payload: bytes, source: str, target: str, protocol: int, *, hops: int = 64) -> bytes:
    """Return an IPv6 packet; a TCP, UDP or ICMPv6 payload gets its checksum."""
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(target).packed
    payload = _with_checksum(payload, addresses, protocol)
    return struct.pack("!IHBB", 0x6000_0000, len(payload), protocol, hops) + addresses + payload


def udp(payload: bytes, source_port: int, target_port: int) -> bytes:
    """Return a UDP datagram."""
    return struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def tcp(
    payload: bytes,
    source_port: int,
    target_port: int,
    *,
    flags: int = ACK,
    seq: int = 1,
    ack: int = 1,
    window: int = 64240,
) -> bytes:
    """Return a TCP segment without options."""
    return _TCP_HEADER.pack(source_port, target_port, seq, ack, 0x50, flags, window, 0, 0) + payload


def icmp_echo(identifier: int, sequence: int, *, reply: bool = False) -> bytes:
    """Return an ICMP echo request or reply."""
    message = struct.pack("!BBHHH", 0 if reply else 8, 0, 0, identifier, sequence) + bytes(range(48))
    return _with_checksum(message, b"", ICMP)


def arp(source: str, target: str, *, reply: bool = False) -> bytes:
    """Return an ARP packet for IPv4 over Ethernet."""
    hardware, asked = b"\x02\x00\x5e\x00\x00\x01", bytes(6)
    fixed = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2 if reply else 1)
    return fixed + hardware + ipaddress.IPv4Address(source).packed + asked + ipaddress.IPv4Address(target).packed


def dns_query(identifier: int, name: str, kind: int = 1) -> bytes:
    """Return a DNS query with one question."""
    return struct.pack("!HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + _question(name, kind)


def dns_response(identifier: int, name: str, kind: int = 1, *, rcode: int = 0, answer: bytes = b"") -> bytes:
    """Return a DNS response to one question; ``answer`` is the data of one record of the kind asked for."""
    record = struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(answer)) + answer if answer else b""
    header = struct.pack("!HHHHHH", identifier, 0x8180 | rcode, 1, 1 if answer else 0, 0, 0)
    return header + _question(name, kind) + record


def server_hello(version: int = 0x0304, cipher: int = 0x1301) -> bytes:
    """Return a TLS record with the ServerHello that chooses this version (772 is TLS 1.3)."""
    chosen = struct.pack("!HHH", 43, 2, version) if version > 0x0303 else b""
    legacy = min(version, 0x0303)
    body = struct.pack("!H", legacy) + bytes(32) + b"\0" + struct.pack("!HBH", cipher, 0, len(chosen)) + chosen
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + struct.pack("!H", len(message)) + message


def client_hello(server_name: str) -> bytes:
    """Return a TLS ClientHello as this Python would send it."""
    outgoing = ssl.MemoryBIO()
    connection = _client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake cannot end without a server")


@functools.cache
def _client_context() -> ssl.SSLContext:
    # Reading the machine's list of authorities takes 20 ms: once, not for each of a sample's two hundred greetings.
    return ssl.create_default_context()


class Conversation:
    """A TCP connection between two ends; each step yields its frames in order."""

    def __init__(self, client: str, server: str, client_port: int, server_port: int, *, first: int = 1000) -> None:
        """Start with the sequence numbers ``first`` and ``first + 5000``."""
        self._client, self._server = (client, client_port), (server, server_port)
        self._next = {self._client: first, self._server: first + 5000}

    def open(self) -> Iterator[bytes]:
        """Yield the three packets of the handshake."""
        yield self._frame(self._client, SYN)
        yield self._frame(self._server, SYN | ACK)
        yield self._frame(self._client, ACK)

    def say(self, data: bytes) -> Iterator[bytes]:
        """Yield what the client sends, acknowledged."""
        yield from self._send(self._client, self._server, data)

    def answer(self, data: bytes) -> Iterator[bytes]:
        """Yield what the server sends, acknowledged."""
        yield from self._send(self._server, self._client, data)

    def close(self) -> Iterator[bytes]:
        """Yield the end, begun by the client."""
        yield self._frame(self._client, FIN | ACK)
        yield self._frame(self._server, FIN | ACK)
        yield self._frame(self._client, ACK)

    def _send(self, sender: tuple[str, int], receiver: tuple[str, int], data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), 1400):
            yield self._frame(sender, PSH | ACK, data[start : start + 1400])
        yield self._frame(receiver, ACK)

    def _frame(self, sender: tuple[str, int], flags: int, data: bytes = b"") -> bytes:
        receiver = self._server if sender == self._client else self._client
        acknowledged = self._next[receiver] if flags & ACK else 0
        segment = tcp(data, sender[1], receiver[1], flags=flags, seq=self._next[sender], ack=acknowledged)
        self._next[sender] += len(data) + bool(flags & (SYN | FIN))
        return ethernet(ipv4(segment, sender[0], receiver[0], TCP))


def _question(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    return labels + b"\0" + struct.pack("!HH", kind, 1)


#: Where the checksum stands in the header of a transport protocol.
_CHECKSUM_AT: Final = {ICMP: 2, TCP: 16, UDP: 6, ICMP6: 2}


def _with_checksum(payload: bytes, addresses: bytes, protocol: int) -> bytes:
    at = _CHECKSUM_AT.get(protocol)
    if at is None or len(payload) < at + 2:
        return payload
    pseudo = b"" if protocol == ICMP else addresses + struct.pack("!II", len(payload), protocol)
    return payload[:at] + _checksum(pseudo + payload) + payload[at + 2 :]


def _checksum(data: bytes) -> bytes:
    # 2^16 leaves 1 when divided by 65,535: the rest of the whole is the sum of its 16-bit words, carries added.
    number = int.from_bytes(data + bytes(len(data) % 2), "big")
    total = (number % 0xFFFF or 0xFFFF) if number else 0
    return struct.pack("!H", ~total & 0xFFFF)
