"""Capture files: every container a capture comes in, whole and broken."""

from __future__ import annotations

import gzip
import io
import struct

import pytest

from streamgauge.decode.capture_file import CaptureFile, open_capture
from streamgauge.errors import CaptureFileError
from tests.support.decoding import decode_capture
from tests.support.packets import dns, ethernet, ipv4, udp

PACKET = ethernet(0x0800, ipv4(17, udp(dns())))
SECOND = 1_700_000_000


def pcap(count=3, *, order="<", magic=0xA1B2C3D4, link=1, fraction=123_456, extra=0):
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65_535, link)
    record = struct.pack(order + "IIII", SECOND, fraction, len(PACKET), 900) + bytes(extra) + PACKET
    return head + record * count


def block(kind, body, *, order="<"):
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(*, order="<", major=1):
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, major, 0, -1), order=order)


def interface(*, order="<", link=1, snaplen=0, options=b""):
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options, order=order)


def option(code, value, *, order="<"):
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(ticks, *, order="<", number=0, packet=PACKET):
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), 900)
    return block(6, head + packet, order=order)


def read(content, **how):
    with CaptureFile("test", io.BufferedReader(io.BytesIO(content)), **how) as capture:
        return decode_capture(capture)[1]


def times(content):
    return [time for _, _, _, time in read(content)]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "tick", "extra"), [(0xA1B2C3D4, 1000, 0), (0xA1B23C4D, 1, 0), (0xA1B2CD34, 1000, 8)])
def test_pcap(order, magic, tick, extra):
    """Both byte orders, both resolutions and the modified record header give the same packets."""
    packets = read(pcap(order=order, magic=magic, extra=extra))

    assert [(PACKET, 900, 1, SECOND * 10**9 + 123_456 * tick)] * 3 == packets


@pytest.mark.parametrize("order", "<>")
def test_pcapng(order):
    """Enhanced, simple and old packet blocks are packets; other blocks are skipped."""
    old = struct.pack(order + "HHIIII", 0, 0, 0, 7, len(PACKET), 900) + PACKET
    simple = struct.pack(order + "I", 900) + PACKET[:60]
    content = (
        section(order=order)
        + interface(order=order, link=101, snaplen=60)
        + block(0xBAD, b"custom", order=order)
        + enhanced(5, order=order)
        + block(3, simple, order=order)
        + block(2, old, order=order)
    )

    assert [(PACKET, 900, 101, 5000), (PACKET[:60], 900, 101, 0), (PACKET, 900, 101, 7000)] == read(content)


def test_sections_and_interfaces():
    """A section may have the other byte order, and its interfaces are its own."""
    content = section() + interface(link=1) + interface(link=113) + enhanced(1, number=1)
    content += section(order=">") + interface(order=">", link=101) + enhanced(2, order=">")
    with CaptureFile("test", io.BufferedReader(io.BytesIO(content))) as capture:
        _, packets = decode_capture(capture)

    assert [link for _, _, link, _ in packets] == [113, 101]
    assert capture.links == (1, 113, 101)


@pytest.mark.parametrize(
    ("resolution", "ticks", "expected"),
    [
        (b"\x00", 3, 3 * 10**9),
        (b"\x06", 1_500_000, 1_500_000_000),
        (b"\x09", SECOND * 10**9 + 7, SECOND * 10**9 + 7),
        (b"\x0c", 2_000_000_000_999, 2_000_000_000),
        (b"\x8a", 3 << 9, 1_500_000_000),
        (b"\xbf", 3 << 62, 1_500_000_000),
    ],
)
def test_timestamp_resolution(resolution, ticks, expected):
    """if_tsresol counts in powers of ten or two; what is finer than a nanosecond is cut."""
    assert [expected] == times(section() + interface(options=option(9, resolution)) + enhanced(ticks))


def test_timestamp_offset():
    """if_tsoffset adds seconds, also negative ones."""
    shifted = [interface(options=option(14, struct.pack("<q", seconds))) for seconds in (100, -1)]
    content = section() + b"".join(shifted) + enhanced(2_000_000) + enhanced(2_000_000, number=1)

    assert times(content) == [102 * 10**9, 10**9]


def test_gzip_and_small_blocks():
    """A compressed file gives the same packets, and so does any block size."""
    assert read(pcap(50)) == read(gzip.compress(pcap(50)))
    assert read(pcap(50)) == read(pcap(50), block_packets=7)


def test_a_file_larger_than_the_window():
    """The window moves over the file; packets that lie across its edge are whole."""
    packets = read(pcap(20_000))

    assert len(packets) == 20_000
    assert {PACKET} == {packet for packet, _, _, _ in packets}


def test_a_packet_larger_than_the_window():
    """The window grows for a packet that does not fit."""
    large = bytes(200_000)
    content = section() + interface() + enhanced(1, packet=large) * 8

    assert [large] * 8 == [packet for packet, _, _, _ in read(content)]


def test_standard_input_and_files(tmp_path):
    """A path opens the file."""
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap())
    with open_capture(path) as capture:
        assert len(decode_capture(capture)[1]) == 3
        assert (capture.format, capture.links, capture.snaplen) == ("pcap", (1,), 65_535)


def test_an_empty_capture_has_no_packets():
    """A header without packets is no fault."""
    assert read(pcap(0)) == []
    assert read(section() + interface()) == []


DAMAGES = {
    "cut in a record": (pcap(3)[:-1], 2, "breaks off"),
    "cut in a record header": (pcap(3) + b"\0" * 7, 3, "breaks off"),
    "length no packet has": (pcap(2) + struct.pack("<IIII", 0, 0, 1 << 30, 0) + bytes(99), 2, "impossible length"),
    "cut gzip": (gzip.compress(pcap(3))[:-9], 3, "ended before"),
    "cut block": ((section() + interface() + enhanced(1) * 2)[:-1], 1, "breaks off"),
    "block too short": (section() + interface() + enhanced(1) + struct.pack("<III", 6, 8, 0), 1, "impossible length"),
    "captured more than the block": (
        section() + interface() + block(6, struct.pack("<5I", 0, 0, 0, 99, 99)),
        0,
        "impossible",
    ),
    "no such interface": (section() + interface() + enhanced(1) + enhanced(1, number=1), 1, "interface"),
    "cut interface": (section() + interface()[:-3], 0, "breaks off"),
    "no byte order": (section() + interface() + enhanced(1) + block(0x0A0D0D0A, bytes(16)), 1, "byte order"),
    "version 2": (section(major=2) + interface() + enhanced(1), 0, "version"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_comes_after_the_good_packets(damage):
    """All packets before the damage are delivered, then one line says what is wrong, where, and what to do."""
    content, good, words = DAMAGES[damage]
    counts = []
    with CaptureFile("a.pcap", io.BufferedReader(io.BytesIO(content))) as capture:
        blocks = capture.blocks()
        with pytest.raises(CaptureFileError) as raised:
            counts.extend(count for _, _, count in blocks)
    message = str(raised.value)

    assert good == sum(counts)
    assert words in message
    assert "a.pcap: " in message
    assert "at byte" in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"a", b"\x89PNG\r\n\x1a\n" + bytes(99), gzip.compress(b"text"), pcap()[:20]])
def test_what_is_no_capture(content):
    """Other files are refused with one line."""
    with pytest.raises(CaptureFileError, match=r"^test: ") as raised:
        read(content)

    assert "\n" not in str(raised.value)


def test_what_cannot_be_opened(tmp_path):
    """A missing file and a folder are refused with one line."""
    for path in (tmp_path / "missing.pcap", tmp_path):
        with pytest.raises(CaptureFileError, match="cannot be opened"):
            open_capture(path)
