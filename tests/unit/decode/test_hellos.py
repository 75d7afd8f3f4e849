"""TLS hellos: columns, and JA4 against the vectors its authors publish."""

from __future__ import annotations

import hashlib
import struct

import pytest

from tests.support import oracle
from tests.support.decoding import decode_packets
from tests.support.packets import ethernet, extension, hello, ipv4, listed, record, server_hello, tcp

H2 = extension(16, listed(b"h2", b"http/1.1"))
CIPHERS = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"


def words(text):
    return bytes.fromhex(text.replace(",", ""))


def vector(version, algorithms):
    """The ClientHello of the specification's example, with GREASE where Chrome puts it."""
    sigalgs = words(algorithms)
    known = {0x000D: struct.pack("!H", len(sigalgs)) + sigalgs, 0x002B: version}
    order = [
        0x001B,
        0x0033,
        0x000D,
        0x0017,
        0x000A,
        0x0023,
        0x0005,
        0x000B,
        0x0012,
        0x002B,
        0x4469,
        0x002D,
        0x0015,
        0xFF01,
    ]
    body = b"".join(extension(kind, known.get(kind, b"\0")) for kind in order)
    grease = extension(0x0A0A, b"")
    return hello(b"example.com", before=grease + H2, after=body + grease, ciphers=b"\x1a\x1a" + words(CIPHERS))


def row_of(message):
    packet = ethernet(0x0800, ipv4(6, tcp(record(message))))
    [row] = decode_packets([packet])

    assert oracle.decode(packet) == row
    return row


def test_the_example_of_the_specification():
    """t13d1516h2_8daaf6152771_e5627efa2ab1 is the example of JA4's technical details."""
    message = vector(b"\6\x2a\x2a\3\4\3\3", "0403,0804,0401,0503,0805,0501,0806,0601")
    row = row_of(message)

    assert row["ja4"] == b"t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert (row["tls_version"], row["tls_sni"], row["tls_alpn"]) == (0x0304, b"example.com", b"h2,http/1.1")


@pytest.mark.parametrize(
    ("alpn", "characters"),
    [
        (b"h2", b"h2"), (b"http/1.1", b"h1"), (b"x", b"xx"), (b"\xab", b"ab"), (b"\xab\xcd", b"ad"),
        (b"\x30\xab", b"3b"), (b"\x30\x31\xab\xcd", b"3d"), (b"\x30\xab\xcd\x31", b"01"), (b"", b"00"),
    ],
)  # fmt: skip
def test_the_characters_of_the_first_protocol(alpn, characters):
    """They are those of its hexadecimal form where one is not alphanumeric (the specification's own examples)."""
    assert row_of(hello(after=extension(16, listed(alpn))))["ja4"][8:10] == characters


@pytest.mark.parametrize(
    ("version", "letters"), [(b"\3\3", b"12"), (b"\3\2", b"11"), (b"\3\1", b"10"), (b"\3\0", b"s3"), (b"\7\7", b"00")]
)
def test_the_version_without_the_extension(version, letters):
    """It is that of the message."""
    row = row_of(hello(version=version))

    assert (row["ja4"][1:3], row["tls_version"]) == (letters, int.from_bytes(version, "big"))


def test_empty_lists():
    """Nothing to hash gives zeros; without signature algorithms there is no underscore."""
    assert row_of(hello(ciphers=b""))["ja4"] == b"t12i000000_000000000000_000000000000"
    assert (
        row_of(hello(after=extension(0x17, b"")))["ja4"][23:]
        == b"_" + hashlib.sha256(b"0017").hexdigest()[:12].encode()
    )


def test_counts_stop_at_99():
    """More than two digits do not fit."""
    many = b"".join(struct.pack("!H", 0x1000 + number) for number in range(120))

    assert row_of(hello(ciphers=many))["ja4"][4:6] == b"99"


def test_lists_are_bounded():
    """A hello with more cipher suites than any client has gets no fingerprint; the rest is there."""
    row = row_of(hello(b"a.example", ciphers=bytes(2 * 257)))

    assert (row.get("ja4"), row["tls_sni"]) == (None, b"a.example")


def test_extensions_in_any_order_are_one_client():
    """Chrome shuffles them."""
    one, two = extension(0x17, b""), extension(0x23, b"")
    first, second = decode_packets(
        [ethernet(0x0800, ipv4(6, tcp(record(hello(after=order))))) for order in (one + two, two + one)]
    )

    assert first["ja4"] == second["ja4"]


def test_server_hello():
    """Cipher suite, version and protocol are what the server chose."""
    row = row_of(server_hello(extensions=extension(43, b"\3\4") + extension(16, listed(b"h2"))))

    assert (row["tls_cipher"], row["tls_version"], row["tls_alpn"]) == (0x1302, 0x0304, b"h2")
    assert row_of(server_hello(cipher=0xC02F))["tls_version"] == 0x0303


@pytest.mark.parametrize("count", [1, 10, 11, 12, 13, 23, 24, 25, 26, 256])
def test_sha256(count):
    """The digest is hashlib's, at every edge of the padding: lists of n values make texts of 5 n - 1 characters."""
    ciphers = [0x2000 + 7 * number for number in range(count)]
    text = ",".join(f"{cipher:04x}" for cipher in ciphers)
    row = row_of(hello(ciphers=struct.pack(f"!{count}H", *ciphers)))

    assert row["ja4"][11:23].decode() == hashlib.sha256(text.encode()).hexdigest()[:12]
