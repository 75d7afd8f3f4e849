"""Several interfaces and several workers: patterns, interfaces that come and go, sharing by flow, merged rows."""

from __future__ import annotations

import contextlib
import subprocess

import pytest

from streamgauge.flows import warm_up
from tests.live.collector.collecting import CollectorProcess, frame, send_frames, stored
from tests.support import packets
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.live, pytest.mark.netns]


@pytest.fixture(name="_flow_kernels", scope="module", autouse=True)
def _compile_flow_kernels():
    """Fill the cache once, so that no collector spends a test's time on it."""
    warm_up()


def captured(collector, count):
    eventually_sync(lambda: collector.metric("capture_packets_total") >= count, within=90)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def second_wire(wire):
    """Join the namespaces by one more pair of silent interfaces; yield the names of both ends."""
    here, there = f"{wire.here}x", f"{wire.there}x"
    ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", wire.namespace)
    try:
        for where, name in (((), here), (("-n", wire.namespace), there)):
            ip(*where, "link", "set", name, "addrgenmode", "none")
            ip(*where, "link", "set", name, "up")
        yield here, there
    finally:
        subprocess.run(["ip", "link", "del", here], check=False, capture_output=True)


async def test_workers_share_an_interface_by_flow(nats_server, scratch, wire):
    """Each packet is captured by one of the workers, none twice and none not at all."""
    frames = [frame(number) for number in range(5000)]
    with CollectorProcess(scratch, nats_url=nats_server.url, interface=wire.here, workers="2") as collector:
        collector.await_event("capturing")
        send_frames(wire.there, frames, namespace=wire.namespace)
        captured(collector, len(frames))
        assert collector.stop() == 0
    found = await stored(nats_server.url)

    found.assert_exact(5000)
    assert {envelope.interface for envelope in found.envelopes} == {wire.here}
    assert found.ledger[-1].kernel_received == 5000


async def test_interfaces_that_match_come_and_go(nats_server, scratch, wire):
    """One that comes is captured within seconds, one that goes is let go; both are counted and nothing is lost."""
    with CollectorProcess(scratch, nats_url=nats_server.url, interface=f"{wire.here}*,nomatch?") as collector:
        collector.await_event("capturing")
        send_frames(wire.there, [frame(number) for number in range(100)], namespace=wire.namespace)
        captured(collector, 100)
        with second_wire(wire) as (_here, there):
            eventually_sync(lambda: collector.metric("interface_changes_total", change="appeared") == 1, within=30)
            send_frames(there, [frame(number) for number in range(100, 250)], namespace=wire.namespace)
            captured(collector, 250)
        eventually_sync(lambda: collector.metric("interface_changes_total", change="disappeared") == 1, within=30)
        send_frames(wire.there, [frame(number) for number in range(250, 300)], namespace=wire.namespace)
        captured(collector, 300)
        assert collector.stop() == 0
    found = await stored(nats_server.url)

    found.assert_exact(300)
    assert {envelope.interface for envelope in found.envelopes} == {wire.here, f"{wire.here}x"}
    assert found.ledger[-1].kernel_received == 300


async def test_outgoing_packets_can_be_left_out(nats_server, scratch, wire):
    """What this host sends is not captured where the settings say so; a card without a clock is told in one line."""
    settings = {"ignore_outgoing": "true", "timestamps": "hardware"}
    with CollectorProcess(scratch, nats_url=nats_server.url, interface=wire.here, **settings) as collector:
        collector.await_event("capturing")
        send_frames(wire.here, [frame(number) for number in range(100, 150)])
        send_frames(wire.there, [frame(number) for number in range(100)], namespace=wire.namespace)
        captured(collector, 100)
        assert collector.stop() == 0
    found = await stored(nats_server.url)
    (told,) = collector.events("no hardware timestamps, the kernel's are taken")

    assert told["reason"] == f"the interface has none (ethtool -T {wire.here})"
    found.assert_exact(100)


async def test_granularity_flow_keeps_totals(nats_server, scratch, wire):
    """Packets of a flow and second are one row; packets and bytes are those of the wire."""
    packet = packets.ethernet(0x0800, packets.ipv4(17, packets.udp(b"x" * 32, source=5000, target=5001)))
    with CollectorProcess(scratch, nats_url=nats_server.url, interface=wire.here, granularity="flow") as collector:
        collector.await_event("capturing")
        send_frames(wire.there, [packet] * 1000, namespace=wire.namespace)
        captured(collector, 1000)
        assert collector.stop() == 0
    found = await stored(nats_server.url)
    last = found.ledger[-1]

    assert sum(found.column("packets")) == 1000
    assert sum(found.column("bytes")) == 1000 * len(packet)
    assert len(found.column("packets")) < 20
    assert last.decoded == last.published == 1000
    assert last.coarsened > 900
    assert last.level == 0
