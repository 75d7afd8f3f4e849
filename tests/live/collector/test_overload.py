"""The overload ladder on a real collector: up, up, down, down, and no packet or byte too many or too few."""

from __future__ import annotations

import pytest

from tests.live.collector.collecting import CollectorProcess, send_frames, stored
from tests.support import packets
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.live, pytest.mark.netns]

#: A small queue that a burst fills past its half; steps follow one another quickly.
SETTINGS = {
    "pending_bytes": 1 << 20,
    "batch_age": 0.05,
    "compression": "none",
    "overload_patience": 0.5,
    "overload_calm": 1.5,
}


def packet(source):
    return packets.ethernet(0x0800, packets.ipv4(17, packets.udp(b"x" * 32, source=source, target=5001)))


async def test_the_ladder_is_climbed_and_left_with_exact_totals(nats_server, scratch, wire):
    """While NATS is away rows become coarser instead of being dropped; when it is back they become packets again."""
    sent = []

    def send(frames):
        sent.extend(frames)
        send_frames(wire.there, frames, namespace=wire.namespace)

    def level_is(level, *, while_sending):
        """Send a little until the level is reached: it is looked at when rows come."""

        def look():
            if while_sending:
                send([packet(7000)] * 20)
            return collector.metric("shed_level") == level

        eventually_sync(look, within=90)

    with CollectorProcess(scratch, nats_url=nats_server.url, interface=wire.here, **SETTINGS) as collector:
        collector.await_event("capturing")
        collector.await_event("stream found")
        send([packet(1000 + number) for number in range(100)])
        eventually_sync(lambda: collector.metric("published_packets_total") == 100, within=90)
        nats_server.stop()
        send([packet(1000 + number) for number in range(5000)])
        level_is(1, while_sending=True)
        level_is(2, while_sending=True)
        nats_server.start()
        level_is(0, while_sending=False)
        eventually_sync(lambda: collector.metric("capture_packets_total") == len(sent), within=90)
        send([packet(7001)] * 50)
        eventually_sync(lambda: collector.metric("published_packets_total") == len(sent), within=90)
        merged = collector.metric("coarsened_packets_total")
        changes = [event["step"] for event in collector.events("granularity changed by load")]
        assert collector.stop() == 0
    found = await stored(nats_server.url)
    last = found.ledger[-1]

    assert changes == [1, 2, 1, 0]
    assert {record.level for record in found.ledger} >= {0, 2}
    assert found.column("src_port").count(7001) == 50
    assert sum(found.column("packets")) == found.packets == len(sent)
    assert sum(found.column("bytes")) == sum(map(len, sent))
    assert (last.decoded, last.published, last.evicted, last.level) == (len(sent), len(sent), 0, 0)
    assert last.coarsened == merged == sum(count for count in found.column("packets") if count > 1) > 0
