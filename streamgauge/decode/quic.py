"""QUIC Initial packets: their keys come from the packet itself, so that anyone may read them (RFC 9001, 5; RFC 9369).

    for offset, piece in client_crypto(datagram, connection_id): ...

No I/O; ``cryptography`` is imported with the first packet.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION_1: Final = 0x00000001
VERSION_2: Final = 0x6B3343CF

_SALT_1: Final = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_SALT_2: Final = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")
_SALT_DRAFT_29: Final = bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899")
_SALT_DRAFT_23: Final = bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502")

_SAMPLE: Final = 16
_TAG: Final = 16
_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO = 0x00, 0x01, 0x02, 0x03, 0x06


class QuicError(Exception):
    """A packet that cannot be read: damaged, cut, of an unknown draft, or under other keys."""


class Keys(NamedTuple):
    """What protects the Initial packets of a client."""

    key: bytes
    iv: bytes
    header: bytes


class _Packet(NamedTuple):
    version: int
    initial: bool
    connection_id: bytes
    #: Offsets in the datagram: of the packet, of its packet number, and behind it.
    start: int
    number: int
    end: int


def _salt(version: int) -> bytes:
    if version == VERSION_2:
        return _SALT_2
    draft = version & 0xFF if version >> 8 == 0xFF0000 else 0
    if version == VERSION_1 or draft >= 33:
        return _SALT_1
    if draft >= 29:
        return _SALT_DRAFT_29
    if draft >= 23:
        return _SALT_DRAFT_23
    raise QuicError("unknown version")


def _expand(secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446, 7.1) of at most one hash block."""
    name = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return hmac.digest(secret, info + b"\1", "sha256")[:length]


@lru_cache(maxsize=1024)
def client_keys(version: int, connection_id: bytes) -> Keys:
    """Derive the client's keys from the connection identifier it first chose (RFC 9001, 5.2)."""
    secret = _expand(hmac.digest(_salt(version), connection_id, "sha256"), "client in", 32)
    prefix = "quicv2" if version == VERSION_2 else "quic"
    return Keys(
        _expand(secret, f"{prefix} key", 16), _expand(secret, f"{prefix} iv", 12), _expand(secret, f"{prefix} hp", 16)
    )


def _variable(data: bytes, at: int) -> tuple[int, int]:
    """Read a variable-length integer (RFC 9000, 16); return it and the offset behind."""
    if at >= len(data):
        raise QuicError("cut")
    length = 1 << (data[at] >> 6)
    if at + length > len(data):
        raise QuicError("cut")
    return int.from_bytes(data[at : at + length], "big") & ((1 << (8 * length - 2)) - 1), at + length


def _connection_id(data: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(data) or at + 1 + data[at] > len(data):
        raise QuicError("cut")
    return data[at + 1 : at + 1 + data[at]], at + 1 + data[at]


def _long_packets(datagram: bytes) -> Iterator[_Packet]:
    """Yield the packets with long headers and a length that a datagram starts with (RFC 9000, 12.2)."""
    at = 0
    while at + 7 <= len(datagram) and datagram[at] & 0xC0 == 0xC0:
        version = int.from_bytes(datagram[at + 1 : at + 5], "big")
        kind = (datagram[at] >> 4) & 3
        if version == VERSION_2:
            kind = (kind - 1) & 3
        if kind == 3:  # a Retry has neither length nor number
            return
        target, behind = _connection_id(datagram, at + 5)
        _, behind = _connection_id(datagram, behind)
        if kind == 0:
            token, behind = _variable(datagram, behind)
            behind += token
        length, number = _variable(datagram, behind)
        yield _Packet(version, kind == 0, target, at, number, number + length)
        at = number + length


def connection_id(datagram: bytes) -> bytes:
    """Return the destination connection identifier of the first packet."""
    return _connection_id(datagram, 5)[0]


def client_crypto(datagram: bytes, original: bytes) -> list[tuple[int, bytes]]:
    """Return the handshake bytes in a client's datagram, as pieces with their offsets.

    Args:
        datagram: The UDP payload, beginning with a long header.
        original: The destination connection identifier of the client's first packet.

    Raises:
        QuicError: nothing could be read.

    """
    pieces: list[tuple[int, bytes]] = []
    for packet in _long_packets(datagram):
        if packet.initial:
            pieces += _crypto_frames(_decrypt(datagram, packet, client_keys(packet.version, original)))
    return pieces


def _decrypt(datagram: bytes, packet: _Packet, keys: Keys) -> bytes:
    """Remove header and packet protection (RFC 9001, 5.3 and 5.4)."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sample = datagram[packet.number + 4 : packet.number + 4 + _SAMPLE]
    if packet.end > len(datagram) or packet.end < packet.number + 4 + _TAG or len(sample) < _SAMPLE:
        raise QuicError("cut")
    # One block of a header mask; there is no message whose structure ECB could show.
    mask = Cipher(algorithms.AES(keys.header), modes.ECB()).encryptor().update(sample)  # noqa: S305
    first = datagram[packet.start] ^ (mask[0] & 0x0F)
    length = (first & 3) + 1
    number = bytes(a ^ b for a, b in zip(datagram[packet.number : packet.number + length], mask[1:], strict=False))
    header = bytes([first]) + datagram[packet.start + 1 : packet.number] + number
    nonce = (int.from_bytes(keys.iv, "big") ^ int.from_bytes(number, "big")).to_bytes(12, "big")
    try:
        return AESGCM(keys.key).decrypt(nonce, datagram[packet.number + length : packet.end], header)
    except InvalidTag:
        raise QuicError("other keys") from None


def _crypto_frames(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the CRYPTO frames (RFC 9000, 19.6); of the others that an Initial may hold only the length matters."""
    at = 0
    while at < len(payload):
        kind, at = payload[at], at + 1
        if kind == _CRYPTO:
            offset, at = _variable(payload, at)
            length, at = _variable(payload, at)
            yield offset, payload[at : at + length]
            at += length
        elif kind in (_ACK, _ACK_ECN):
            at = _behind_ack(payload, at, ecn=kind == _ACK_ECN)
        elif kind not in (_PADDING, _PING):
            return


def _behind_ack(payload: bytes, at: int, *, ecn: bool) -> int:
    _, at = _variable(payload, at)
    _, at = _variable(payload, at)
    ranges, at = _variable(payload, at)
    for _ in range(min(2 * ranges + 1 + 3 * ecn, len(payload))):
        _, at = _variable(payload, at)
    return at
