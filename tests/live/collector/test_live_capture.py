"""Live capture: on a wire of our own, on loopback, through the ring and through scapy."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess

import pytest

from streamgauge import encode
from streamgauge.decode import Decoder
from streamgauge.decode.capture_file import open_capture
from streamgauge.embedded import free_ports
from streamgauge.rows import Rows
from tests.live.collector.collecting import CollectorProcess, frame, send_frames, send_udp, stored, write_pcap
from tests.support import packets, require
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.live, pytest.mark.netns]

TAGS = ((0x8100, 100),)
STACKED = ((0x88A8, 200), (0x8100, 300))
#: Everything but what a container or a kernel decides: the time.
COMPARED = ("bytes", "captured_bytes", "payload_bytes", "eth_type", "vlan", "src_ip", "src_port", "decode_status")


def captured(collector, count):
    eventually_sync(lambda: collector.metric("capture_packets_total") >= count, within=90)


async def test_sent_is_captured_is_published(nats_server, scratch, wire):
    """Every packet sent over a wire is captured and published; the kernel drops none, and the ledger says so."""
    frames = [frame(number) for number in range(20_000)]
    with CollectorProcess(scratch, nats_url=nats_server.url, interface=wire.here) as collector:
        collector.await_event("capturing")
        send_frames(wire.there, frames, namespace=wire.namespace)
        captured(collector, len(frames))
        assert collector.stop() == 0
    found = await stored(nats_server.url)
    last = found.ledger[-1]

    found.assert_exact(20_000)
    assert last.kernel_dropped == 0
    assert last.kernel_received == last.decoded == last.published == 20_000
    assert last.reason == "stop"
    assert {envelope.interface for envelope in found.envelopes} == {wire.here}


@pytest.mark.parametrize("source", ["ring", "scapy"])
async def test_live_rows_equal_the_rows_of_a_file(nats_server, scratch, wire, source):
    """The kernel takes the outer VLAN tag off; the row is still that of the packet as it was on the wire."""
    frames = [
        packet
        for number in range(10)
        for packet in (frame(number), frame(number, tags=TAGS), frame(number, tags=STACKED))
    ]
    frames += [packets.ethernet(0x86DD, packets.ipv6(17, packets.udp(packets.dns()))), frame(1)[:30], b"\xff" * 14]
    with CollectorProcess(scratch, nats_url=nats_server.url, interface=wire.here, source=source) as collector:
        if source == "ring":
            collector.await_event("capturing")
        else:
            eventually_sync(lambda: send_and_see(collector, wire), within=90)
        before = collector.metric("capture_packets_total")
        send_frames(wire.there, frames, namespace=wire.namespace)
        captured(collector, before + len(frames))
        assert collector.stop() == 0
    found = await stored(nats_server.url)
    rows = Rows(len(frames))
    with open_capture(write_pcap(scratch / "same.pcap", frames)) as capture:
        for data, index, count in capture.blocks():
            Decoder().decode(data, index, 0, count, rows)
    expected = encode.to_arrow(rows, encode.Origin("node-a", "x")).select(COMPARED).to_pylist()

    live = [row for batch in found.batches for row in batch.select(COMPARED).to_pylist() if row["bytes"] != len(PROBE)]
    assert sorted(map(repr, live)) == sorted(map(repr, expected))


PROBE = b"\x02" * 12 + b"\x12\x34" + bytes(986)


def send_and_see(collector, wire):
    """Send a probe until one is captured: scapy does not say when it is ready."""
    send_frames(wire.there, [PROBE], namespace=wire.namespace)
    return collector.metric("capture_packets_total") > 0


async def test_filter_and_snaplen(nats_server, scratch, wire):
    """The kernel leaves out what the filter does not name, and cuts what it names; bytes on the wire stay whole."""
    wanted = [packets.ethernet(0x0800, packets.ipv4(6, packets.tcp(b"x" * 500), total=540)) for _ in range(100)]
    with CollectorProcess(
        scratch, nats_url=nats_server.url, interface=wire.here, filter="tcp", snaplen=64
    ) as collector:
        collector.await_event("capturing")
        send_frames(wire.there, [frame(1), *wanted, frame(2)], namespace=wire.namespace)
        captured(collector, 100)
        assert collector.stop() == 0
    found = await stored(nats_server.url)

    assert found.packets == 100
    assert set(found.column("bytes")) == {554}
    assert set(found.column("captured_bytes")) == {64}
    assert found.ledger[-1].kernel_received == 100


async def test_the_interface_going_away_is_told(nats_server, scratch, wire):
    """An interface that is removed ends the collector with one line, after what was captured is published."""
    with CollectorProcess(scratch, nats_url=nats_server.url, interface=wire.here) as collector:
        collector.await_event("capturing")
        send_frames(wire.there, [frame(number) for number in range(100)], namespace=wire.namespace)
        captured(collector, 100)
        remove(wire.here)

        assert collector.wait() == 1
    words = [line for line in collector.log.read_text().splitlines() if not line.startswith("{")]
    found = await stored(nats_server.url)

    assert words == [f"streamgauge: interface {wire.here} has gone (ENETDOWN)"]
    found.assert_exact(100)
    assert found.ledger[-1].reason == "stop"


def remove(interface):
    """Remove an interface."""
    subprocess.run(["ip", "link", "del", interface], check=True)


@pytest.mark.parametrize("interface", ["lo", "any"])
async def test_loopback_counts_each_packet_once_as_tcpdump_does(nats_server, scratch, interface):
    """On loopback a packet passes the capture twice; it is counted once, as ``tcpdump -i lo`` shows it once."""
    require.root()
    (port,) = free_ports(1)
    filter_ = f"udp and dst port {port}"
    with (
        tcpdump_on_loopback(scratch / "lo.pcap", filter_) as tcpdump,
        CollectorProcess(scratch, nats_url=nats_server.url, interface=interface, filter=filter_) as collector,
    ):
        collector.await_event("capturing")
        send_udp(port, 20)
        captured(collector, 20)
        assert collector.stop() == 0
        if tcpdump is not None:
            tcpdump.send_signal(signal.SIGINT)
            assert b"20 packets captured" in tcpdump.stderr.read()
    found = await stored(nats_server.url)

    assert found.packets == 20
    assert found.ledger[-1].kernel_received == 20


@contextlib.contextmanager
def tcpdump_on_loopback(path, expression):
    """Run tcpdump, where there is one, until the end of the block."""
    if shutil.which("tcpdump") is None:
        yield None
        return
    command = ["tcpdump", "-i", "lo", "--immediate-mode", "-s", "128", "-nn", "-U", "-w", str(path), expression]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            assert b"listening" in process.stderr.readline()
            yield process
        finally:
            process.kill()
