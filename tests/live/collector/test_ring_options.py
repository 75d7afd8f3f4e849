"""Options of ring and decoder that only real packets show: when a block is handed over, what is opened and told."""

from __future__ import annotations

import threading
import time

import pytest

from services.collector.sources.ring import RingSource
from streamgauge.settings import CollectorSettings
from tests.live.collector.collecting import CollectorProcess, frame, send_frames, stored
from tests.support import packets
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.live, pytest.mark.netns]


def seconds_until_seen(wire, timeout_ms):
    """Return how long a packet waits in its block, sent just after the block before was handed over."""
    source, stop = (
        RingSource(CollectorSettings(interface=wire.here, ring_block_timeout_ms=timeout_ms)),
        threading.Event(),
    )
    source.open()
    try:
        blocks, took = source.blocks(stop), []
        next(blocks)  # lets packets in
        for number in range(2):
            send_frames(wire.there, [frame(number)], namespace=wire.namespace)
            sent = time.monotonic()
            while not next(blocks).last:
                pass
            took.append(time.monotonic() - sent)
        return took[-1]
    finally:
        blocks.close()
        source.close()


def test_the_timeout_of_a_block_bounds_the_wait(wire):
    """A part-filled block is kept as long as the setting says: short for latency, long for fewer wake-ups."""
    long = seconds_until_seen(wire, 3000)

    assert long > 1.0
    assert seconds_until_seen(wire, 10) < long


async def test_tunnels_stay_closed_and_unreadable_handshakes_are_counted(nats_server, scratch, wire):
    """``decapsulate=false`` describes the outermost packet; a QUIC Initial that nobody can read has its metric."""
    inner = packets.ipv4(17, packets.udp(b"x" * 32, source=5000, target=5001))
    tunnel = packets.ethernet(0x0800, packets.ipv4(4, inner))
    initial = b"\xc0\x00\x00\x00\x01\x08" + bytes(8) + b"\x00\x00\x44\xb0" + bytes(1200)
    quic = packets.ethernet(0x0800, packets.ipv4(17, packets.udp(initial, source=5000, target=443)))
    with CollectorProcess(scratch, nats_url=nats_server.url, interface=wire.here, decapsulate="false") as collector:
        collector.await_event("capturing")
        send_frames(wire.there, [tunnel, quic], namespace=wire.namespace)
        eventually_sync(lambda: collector.metric("capture_packets_total") == 2, within=90)
        unreadable, joined = (
            collector.metric("handshakes_total", outcome=outcome) for outcome in ("unreadable", "joined")
        )
        assert collector.stop() == 0
    found = await stored(nats_server.url)

    assert (unreadable, joined) == (1, 0)
    assert set(found.column("ip_protocol")) == {4, 17}
    assert set(found.column("tunnel")) == {"none"}
