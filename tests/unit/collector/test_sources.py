"""Capture files as a source, and what each source says about settings that cannot work."""

from __future__ import annotations

import struct
import threading

import pytest

from services.collector import sources
from services.collector.sources import SourceCounts
from streamgauge.errors import CaptureError, CaptureFileError, ConfigurationError
from streamgauge.settings import CollectorSettings, load
from tests.unit.collector.making import TCP


def write_pcap(path, count, *, gap_ns=1000, cut=0):
    """Write a capture of ``count`` packets, its last ``cut`` bytes missing."""
    content = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    for number in range(count):
        seconds, fraction = divmod(number * gap_ns, 10**9)
        content += struct.pack("<IIII", 1_700_000_000 + seconds, fraction, len(TCP), len(TCP)) + TCP
    path.write_bytes(content[: len(content) - cut])
    return path


def read(source, stop=None):
    source.open()
    return sum(block.last - block.first for block in source.blocks(stop or threading.Event()))


def test_a_file_is_read_whole_and_as_often_as_asked(tmp_path):
    """Every packet of every round is yielded and counted; then the source ends."""
    path = write_pcap(tmp_path / "a.pcap", 5000)
    source = sources.make(CollectorSettings(source="file", file=path, file_loop=3))

    assert read(source) == 15_000
    assert source.counts() == SourceCounts(received=15_000)
    assert source.interface == "a.pcap"


def test_a_file_for_ever_ends_when_told_to(tmp_path):
    """``file_loop=0`` goes on until the service stops."""
    source = sources.make(CollectorSettings(source="file", file=write_pcap(tmp_path / "a.pcap", 10), file_loop=0))
    stop = threading.Event()
    seen = 0
    for block in source.blocks(stop):
        seen += block.last - block.first
        if seen >= 1000:
            stop.set()

    assert seen == 1000


def test_an_empty_file_for_ever_ends(tmp_path):
    """A capture without a packet has no second round."""
    source = sources.make(CollectorSettings(source="file", file=write_pcap(tmp_path / "a.pcap", 0), file_loop=0))

    assert read(source) == 0


def test_a_file_by_its_own_clock(tmp_path, monkeypatch):
    """A packet is yielded when its time has come, not before, measured from the first."""
    clock = [0]
    stop = threading.Event()
    monkeypatch.setattr("services.collector.sources.file.time.monotonic_ns", lambda: clock[0])

    def wait(seconds):
        clock[0] += max(int(seconds * 1e9), 1)

    monkeypatch.setattr(stop, "wait", wait)
    path = write_pcap(tmp_path / "a.pcap", 5, gap_ns=30_000_000)
    source = sources.make(CollectorSettings(source="file", file=path, file_pace="recorded"))
    seen = []
    for block in source.blocks(stop):
        seen += [clock[0] // 1_000_000] * (block.last - block.first)

    assert seen == [0, 30, 60, 90, 120]


def test_a_damaged_file_gives_what_comes_before(tmp_path):
    """The packets before the damage are yielded, then the error says where it is."""
    source = sources.make(CollectorSettings(source="file", file=write_pcap(tmp_path / "a.pcap", 100, cut=3)))
    source.open()
    with pytest.raises(CaptureFileError, match=r"breaks off inside a packet.*after packet 99"):
        list(source.blocks(threading.Event()))

    assert source.counts() == SourceCounts(received=99)


@pytest.mark.parametrize("content", [b"", b"this is no capture at all, but long enough"])
def test_not_a_capture_file(tmp_path, content):
    """A file that is no capture is refused before anything starts."""
    path = tmp_path / "a.txt"
    path.write_bytes(content)

    with pytest.raises(CaptureFileError, match=r"a\.txt: not a capture file"):
        sources.make(CollectorSettings(source="file", file=path)).check()


def test_no_such_interface_lists_those_there_are():
    """A wrong interface name is answered with the right ones."""
    with pytest.raises(CaptureError, match=r"no interface nosuch0; there are: any \(all of them\), .*lo"):
        sources.make(CollectorSettings(interface="nosuch0")).check()


@pytest.mark.parametrize("interface", [",", " , "])
def test_a_list_without_a_name(interface):
    """It would capture nothing for ever, so it is refused."""
    with pytest.raises(ConfigurationError, match=r"COLLECTOR_INTERFACE=.*names no interface"):
        sources.make(CollectorSettings(interface=interface)).check()


def test_no_permission_says_which_and_how(monkeypatch):
    """Without NET_RAW the error names the capability and three ways to get it."""

    def refuse(*_arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("services.collector.sources.packet_socket.socket.socket", refuse)
    with pytest.raises(CaptureError, match=r"CAP_NET_RAW.*sudo.*--cap-add NET_RAW.*capabilities.add") as caught:
        sources.make(CollectorSettings()).open()
    assert "\n" not in str(caught.value)


def test_scapy_needs_one_interface():
    """scapy's stream has one link type, so "any" is refused."""
    with pytest.raises(ConfigurationError, match="one interface at a time"):
        sources.make(CollectorSettings(source="scapy")).check()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"SOURCE": "file"}, "COLLECTOR_FILE: is not set, and STREAMGAUGE_COLLECTOR_SOURCE is file"),
        ({"SOURCE": "file", "FILE": "a", "FILTER": "udp"}, "COLLECTOR_FILTER=udp: is for live capture"),
        ({"PROMISCUOUS": "true"}, "COLLECTOR_PROMISCUOUS=true: needs one interface"),
        ({"RING_BLOCK_BYTES": "5000"}, "COLLECTOR_RING_BLOCK_BYTES=5000: is no power of two"),
    ],
)
def test_settings_that_cannot_work(settings, fault):
    """Settings that contradict each other are faults, told before anything starts."""
    with pytest.raises(ConfigurationError) as caught:
        load(("collector",), {f"STREAMGAUGE_COLLECTOR_{name}": value for name, value in settings.items()})

    assert fault in str(caught.value)
