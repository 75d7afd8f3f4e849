"""ClientHellos that are not whole in one packet: joined from segments, or decrypted from QUIC."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from streamgauge.decode import Decoder, handshakes
from streamgauge.decode.pieces import MAX_BYTES, HelloInRecords, Pieces
from streamgauge.decode.quic import QuicError, client_crypto, client_keys, connection_id
from streamgauge.rows import Rows
from tests.support.decoding import as_dictionaries, decode_packets, index_of
from tests.support.packets import ethernet, extension, hello, ipv4, listed, record, tcp, udp

NAME = b"shop.example.com"
LONG = hello(NAME, before=extension(21, bytes(2000)), after=extension(16, listed(b"h2")))
VERSION_1, VERSION_2 = 1, 0x6B3343CF
CONNECTION = bytes.fromhex("8394c8f03e515708")


def segment(payload, offset, *, source=40_000):
    head = bytearray(tcp(payload, source=source))
    head[4:8] = struct.pack("!I", (0xFFFFFF00 + offset) & 0xFFFFFFFF)
    return ethernet(0x0800, ipv4(6, bytes(head)))


def segments(stream, *cuts, source=40_000):
    edges = [0, *cuts, len(stream)]
    return [segment(stream[a:b], a, source=source) for a, b in pairwise(edges)]


def datagram(payload, *, source=40_000):
    return ethernet(0x0800, ipv4(17, udp(payload, source=source, target=443)))


def variable(number):
    return struct.pack("!H", 0x4000 | number)


def crypto(offset, content):
    return b"\6" + variable(offset) + variable(len(content)) + content


def initial(frames, *, version=VERSION_1, connection=CONNECTION, number=2, original=None):
    """A protected Initial packet, made the way RFC 9001, appendix A, describes."""
    keys = client_keys(version, original or connection)
    payload = frames + bytes(max(0, 64 - len(frames)))
    kind = 0x10 if version == VERSION_2 else 0
    head = bytes([0xC3 | kind]) + struct.pack("!I", version) + bytes([len(connection)]) + connection + b"\0\0"
    head += variable(4 + len(payload) + 16) + struct.pack("!I", number)
    nonce = (int.from_bytes(keys.iv, "big") ^ number).to_bytes(12, "big")
    sealed = AESGCM(keys.key).encrypt(nonce, payload, head)
    mask = Cipher(algorithms.AES(keys.header), modes.ECB()).encryptor().update(sealed[:16])
    head = (
        bytes([head[0] ^ mask[0] & 0x0F]) + head[1:-4] + bytes(a ^ b for a, b in zip(head[-4:], mask[1:], strict=False))
    )
    return head + sealed


def decode_all(packets, decoder):
    data, index = index_of(packets)
    rows = Rows(len(packets))
    assert decoder.decode(data, index, 0, len(packets), rows) == len(packets)
    return as_dictionaries(rows)


def whole():
    [row] = decode_packets([segment(record(LONG), 0)])
    return row


def test_two_segments():
    """The row that completes a ClientHello has what one whole segment would have."""
    decoder = Decoder()
    first, second = decode_all(segments(record(LONG), 1400), decoder)

    assert (first.get("ja4"), first["app"]) == (None, "tls")
    for name in ("ja4", "tls_version", "tls_sni", "tls_alpn", "app"):
        assert whole()[name] == second[name]
    assert decoder.handshakes.joined == 1


SHORT = record(hello(NAME, after=extension(16, listed(b"h2"))))


@pytest.mark.parametrize("cut", [*range(1, 60), *range(60, len(SHORT), 37), len(SHORT) - 1])
def test_two_segments_wherever_they_are_cut(cut):
    """Also a first segment that is too short to tell what it begins; the name is told once, by one of the two."""
    [expected] = decode_packets([segment(SHORT, 0)])
    decoder = Decoder()
    first, second = decode_all(segments(SHORT, cut), decoder)

    assert {name: second[name] for name in ("ja4", "tls_version", "app")} == {
        name: expected[name] for name in ("ja4", "tls_version", "app")
    }
    for name in ("tls_sni", "tls_alpn"):
        assert [row[name] for row in (first, second) if name in row] == [expected[name]]
    assert decoder.handshakes.joined == 1


def test_a_byte_at_a_time():
    """As some do to be overlooked: the row that completes the hello has it all, the others have nothing."""
    decoder = Decoder()
    *before, last = [decode_all([packet], decoder)[0] for packet in segments(SHORT, *range(1, len(SHORT)))]

    assert (last["tls_sni"], last["app"]) == (NAME, "tls")
    assert [row for row in before if "ja4" in row or "tls_sni" in row] == []


def test_a_byte_that_looks_like_a_beginning():
    """A hello sent in small pieces has pieces that start as a record does (here extension 22); they begin nothing."""
    stream = record(hello(NAME, before=extension(22, b""), after=extension(16, listed(b"h2"))))
    [expected] = decode_packets([segment(stream, 0)])
    decoder = Decoder()
    rows = [decode_all([packet], decoder)[0] for packet in segments(stream, *range(1, len(stream)))]

    assert stream.count(b"\x16") > 1
    assert [row["ja4"] for row in rows if "ja4" in row] == [expected["ja4"]]


def test_a_beginning_that_is_sent_again():
    """What was seen in the meantime is kept."""
    first, second, third = segments(record(LONG), 700, 1400)
    rows = decode_all([first, third, first, second], Decoder())

    assert rows[3]["ja4"] == whole()["ja4"]


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 40, 70])
def test_one_segment_with_a_hello_in_two_records(cut):
    """Wherever the records divide it, in one segment or two, it reads as in one record; nothing is waited for after."""
    message = SHORT[5:]
    [expected] = decode_packets([segment(SHORT, 0)])
    stream = record(message[:cut]) + record(message[cut:])
    decoder = Decoder()
    [row] = decode_all([segment(stream, 0)], decoder)
    [after] = decode_all([segment(b"other", len(stream))], decoder)
    halves = decode_all(segments(stream, len(stream) - 3), Decoder())

    assert {name: row.get(name) for name in ("app", "ja4", "tls_sni", "tls_alpn", "tls_version")} == {
        name: expected[name] for name in ("app", "ja4", "tls_sni", "tls_alpn", "tls_version")
    }
    assert halves[1]["ja4"] == expected["ja4"]
    assert "app" not in after
    assert len(decoder._handshakes._tcp) == 0


def test_each_byte_of_a_hello_is_looked_at_once():
    """Records of one byte, a segment for each: the reader goes on where it was, and the time grows with the bytes."""
    stream = bytearray(b"".join(record(LONG[at : at + 1]) for at in range(len(LONG))))
    reader = HelloInRecords()
    found = [reader.read(stream[:end]) for end in range(6, len(stream) + 1, 6)]

    assert (found[:-1].count(None), found[-1]) == (len(LONG) - 1, LONG)
    assert (reader._at, len(reader._message)) == (len(stream), len(LONG))


def test_what_may_begin_a_hello_and_does_not():
    """Control-V of a terminal is the first byte of a record: what comes after it is recognised as if it were not."""
    decoder = Decoder()
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    stream = b"\x16" + request + b"x" * 20
    typed, asked, after = decode_all(segments(stream, 1, 1 + len(request)), decoder)

    assert ("app" in typed, asked["app"], asked["http_host"], "app" in after) == (False, "http", b"a", False)
    assert decoder.handshakes.joined == 0
    assert len(decoder._handshakes._tcp) == 0
    assert not decoder._marks.waiting[:, 0].any()


def test_the_server_name_is_told_once():
    """A name that the first segment shows is not repeated by the row that completes the hello."""
    stream = record(hello(NAME, after=extension(21, bytes(2000))))
    first, second = decode_all(segments(stream, 1000), Decoder())

    assert (first["tls_sni"], second.get("tls_sni")) == (NAME, None)
    assert len(second["ja4"]) == 36


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (0, 1, 1, 2), (0, 2, 2, 1)])
def test_segments_in_any_order(order):
    """Segments that come late or twice do not matter; the sequence number wraps on the way."""
    parts = segments(record(LONG), 700, 1400)
    rows = decode_all([parts[place] for place in order], Decoder())

    assert [row["ja4"] for row in rows if "ja4" in row] == [whole()["ja4"]]


def test_across_blocks_of_the_decoder():
    """Flows go on from one call to the next, and are told apart by their ports."""
    decoder = Decoder()
    one, other = segments(record(LONG), 1000), segments(record(LONG), 500, source=40_001)
    rows = [decode_all([packet], decoder)[0] for packet in (one[0], other[0], one[1], other[1])]

    assert [("ja4" in row) for row in rows] == [False, False, True, True]


def test_a_hello_in_several_records():
    """The message is joined across records, whose headers are no part of it."""
    stream = record(LONG[:900]) + record(LONG[900:1800]) + record(LONG[1800:])
    rows = decode_all(segments(stream, 1000, 1500), Decoder())

    assert rows[2]["ja4"] == whole()["ja4"]


def test_what_follows_is_no_part_of_it():
    """The first segment behind the hello is not taken for TLS because of where it comes."""
    rows = decode_all([*segments(record(LONG), 1000), segment(b"other", len(record(LONG)))], Decoder())

    assert "app" not in rows[2]


def test_streams_are_bounded(monkeypatch):
    """The oldest stream makes place for a new one, and is counted."""
    monkeypatch.setattr(handshakes, "MAX_STREAMS", 2)
    decoder = Decoder()
    for port in range(40_000, 40_005):
        decode_all([segments(record(LONG), 1000, source=port)[0]], decoder)

    assert decoder.handshakes.evicted == 3


def test_pieces():
    """Pieces join in any order, the first of an overlap stays, and the end is bounded."""
    pieces = Pieces()
    for offset, piece in ((4, b"efgh"), (2, b"cdX"), (0, b"abc"), (6, b"YYij"), (MAX_BYTES - 1, b"zz")):
        pieces.put(offset, piece)

    assert pieces.joined == b"abcdXfghij"


def test_loose_pieces_are_bounded_together():
    """Pieces of 16 kB that overlap and never join do not add up."""
    pieces = Pieces()
    for offset in range(1, 40):
        pieces.put(offset, bytes(16_000))

    assert sum(map(len, pieces._loose.values())) <= MAX_BYTES


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (
            VERSION_1,
            "1f369613dd76d5467730efcbe3b1a22d fa044b2f42a3fd3b46fb255c 9f50449e04a0e810283a1e9933adedd2",
        ),
        (
            VERSION_2,
            "8b1a0bc121284290a29e0971b5cd045d 91f73e2351d8fa91660e909f 45b95e15235d6f45a6b19cbcb0294ba9",
        ),
    ],
)
def test_keys(version, expected):
    """The keys are those of RFC 9001, A.1 and RFC 9369, A.1."""
    assert expected == " ".join(part.hex() for part in client_keys(version, CONNECTION))


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2, 0xFF00001D, 0xFF000017])
def test_quic(version):
    """Server name, protocols and fingerprint come from the encrypted Initial."""
    message = hello(NAME, after=extension(16, listed(b"h3")) + extension(43, b"\2\3\4"))
    decoder = Decoder()
    [row] = decode_all([datagram(initial(b"\1" + crypto(0, message), version=version))], decoder)

    assert (row["app"], row["tls_sni"], row["tls_alpn"], row["tls_version"]) == ("quic", NAME, b"h3", 0x0304)
    assert row["ja4"].startswith(b"q13d0103h3_")
    assert decoder.handshakes.decrypted == 1


def test_quic_over_two_datagrams():
    """CRYPTO frames come shuffled, among other frames, and in several packets."""
    decoder = Decoder()
    acknowledgement = b"\2" + variable(5) + variable(0) + b"\1\1" + b"\1\1"
    first = initial(acknowledgement + crypto(900, LONG[900:]) + b"\0\0")
    second = initial(crypto(300, LONG[300:900]) + b"\1" + crypto(0, LONG[:300]), number=3)
    rows = decode_all([datagram(first), datagram(second)], decoder)

    assert [("ja4" in row) for row in rows] == [False, True]
    assert rows[1]["tls_sni"] == NAME


def test_quic_after_a_retry():
    """The keys come from the identifier that the server's Retry told the client to use."""
    decoder = Decoder()
    lost = initial(b"\1")
    again = initial(crypto(0, hello(NAME)), connection=b"12345678")
    rows = decode_all([datagram(lost), datagram(again)], decoder)

    assert rows[1]["tls_sni"] == NAME


def test_quic_of_a_server_is_not_tried():
    """What goes back on a flow whose client is known is the server's; its keys are others."""
    decoder = Decoder()
    client = datagram(initial(crypto(0, hello(NAME))))
    ip = ipv4(17, udp(initial(crypto(0, b"x")), source=443, target=40_000))
    server = ethernet(0x0800, ip[:12] + ip[16:20] + ip[12:16] + ip[20:])
    decode_all([client, server], decoder)

    assert (decoder.handshakes.decrypted, decoder.handshakes.unreadable) == (1, 0)


def test_decryptions_are_bounded(monkeypatch):
    """A flood of Initials costs a bounded time a call; the rest are counted."""
    monkeypatch.setattr(handshakes, "MAX_DECRYPTIONS", 2)
    decoder = Decoder()
    decode_all([datagram(initial(b"\1"), source=port) for port in range(40_000, 40_005)], decoder)

    assert decoder.handshakes.skipped == 3


@pytest.mark.parametrize("cut", range(7, 60, 7))
def test_damaged_quic(cut):
    """What is cut or changed cannot be read, and says so."""
    packet = initial(crypto(0, hello(NAME)))
    changed = packet[:-cut] + bytes([packet[-cut] ^ 1]) + packet[len(packet) - cut + 1 :]
    for damaged in (packet[:-cut], packet[:cut], changed):
        with pytest.raises(QuicError):
            client_crypto(damaged, connection_id(packet))


def test_unknown_version():
    """A version without a published salt cannot be read."""
    with pytest.raises(QuicError):
        client_keys(0xFF000001, CONNECTION)
