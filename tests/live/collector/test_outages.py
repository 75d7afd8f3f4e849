"""NATS coming and going while a collector works."""

from __future__ import annotations

import signal

import nats
import pytest

from streamgauge.embedded import NatsServer, free_ports
from tests.live.collector.collecting import CollectorProcess, frame, send_until_evicted, stored, write_pcap
from tests.support import require
from tests.support.waiting import eventually, eventually_sync

pytestmark = pytest.mark.live

COUNT = 120_000


@pytest.fixture(name="trace")
def _trace(scratch):
    return write_pcap(scratch / "a.pcap", [frame(number) for number in range(COUNT)], gap_ns=60_000)


async def messages_in(url):
    client = await nats.connect(url)
    try:
        return (await client.jetstream().stream_info("TRAFFIC")).state.messages
    finally:
        await client.close()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_restart_of_nats_loses_and_doubles_nothing(nats_server, scratch, trace, end):
    """NATS goes away in the middle of a replay and comes back: every packet is stored once."""
    with CollectorProcess(
        scratch, nats_url=nats_server.url, source="file", file=trace, file_pace="recorded", batch_rows=512
    ) as collector:
        collector.await_event("stream found")
        eventually_sync(lambda: collector.metric("published_packets_total") > 10_000, within=90)
        getattr(nats_server, end)()
        eventually_sync(lambda: collector.metric("pending_batches") > 20, within=90)
        ready = collector.get("/readyz")
        nats_server.start()

        assert collector.wait() == 0
    found = await stored(nats_server.url)

    assert ready[0] == 503
    assert "NATS is away" in ready[1]
    found.assert_exact(COUNT)
    assert sorted(found.sequences()) == list(range(1, len(found.envelopes) + 1))
    assert found.ledger[-1].published == COUNT
    assert found.ledger[-1].evicted == 0


async def test_a_nats_that_hangs_loses_and_doubles_nothing(nats_server, scratch, trace):
    """A server that stands still keeps its connections and answers nothing; what it had not stored is sent again."""
    with CollectorProcess(
        scratch, nats_url=nats_server.url, source="file", file=trace, file_pace="recorded", batch_rows=512
    ) as collector:
        eventually_sync(lambda: collector.metric("published_packets_total") > 10_000, within=90)
        nats_server.process.send_signal(signal.SIGSTOP)
        eventually_sync(lambda: collector.metric("publish_retries_total", reason="timeout") > 0, within=90)
        nats_server.process.send_signal(signal.SIGCONT)

        assert collector.wait() == 0
    found = await stored(nats_server.url)

    found.assert_exact(COUNT)
    assert found.ledger[-1].published == COUNT


async def test_a_collector_waits_for_nats(scratch):
    """Started before NATS, a collector captures, says in one line that it waits, and publishes when NATS comes."""
    path = write_pcap(scratch / "a.pcap", [frame(number) for number in range(1000)])
    server = NatsServer(scratch, port=free_ports(1)[0])
    with CollectorProcess(scratch, nats_url=server.url, source="file", file=path) as collector:
        line = collector.await_event("waiting for nats")
        with server:
            assert collector.wait() == 0
            found = await stored(server.url)

    assert "cannot reach NATS at" in line["error"]
    found.assert_exact(1000)


async def test_a_stream_deleted_meanwhile_is_made_anew(nats_server, scratch, trace):
    """Without a stream nothing is lost: it is created again, and what was not acknowledged is published into it."""
    with CollectorProcess(
        scratch, nats_url=nats_server.url, source="file", file=trace, file_pace="recorded", batch_rows=512
    ) as collector:
        eventually_sync(lambda: collector.metric("published_packets_total") > 10_000, within=90)
        client = await nats.connect(nats_server.url)
        await client.jetstream().delete_stream("TRAFFIC")
        await client.close()
        await eventually(lambda: collector.metric("publish_retries_total", reason="no_stream") > 0, within=90)

        assert collector.wait() == 0
    found = await stored(nats_server.url)

    assert found.ledger[-1].published == COUNT
    sequences = sorted(found.sequences())
    assert sequences == list(range(sequences[0], sequences[-1] + 1))


async def test_a_pending_bound_evicts_the_oldest_and_counts_them(scratch):
    """A live source past its bound loses the oldest batches, counted in ledger and metrics; the rest is stored."""
    require.root()
    server = NatsServer(scratch, port=free_ports(1)[0])
    port = free_ports(1)[0]
    with CollectorProcess(
        scratch,
        nats_url=server.url,
        interface="lo",
        filter=f"udp and dst port {port}",
        batch_rows=1,
        batch_age=0.02,
        pending_bytes=1 << 20,
    ) as collector:
        collector.await_event("capturing")
        sent = send_until_evicted(collector, port)
        with server:
            eventually_sync(lambda: collector.metric("pending_packets") == 0, within=90)
            evicted = collector.metric("lost_packets_total", reason="evicted")
            assert collector.stop() == 0
            found = await stored(server.url)

    last = found.ledger[-1]
    assert evicted == last.evicted > 0
    assert found.packets == last.published
    assert last.decoded == last.published + last.evicted == sent
    assert last.sequence == sent
