"""A capture file through a collector process into a real NATS."""

from __future__ import annotations

import pytest

from tests.live.collector.collecting import CollectorProcess, frame, stored, write_pcap

pytestmark = pytest.mark.live


async def test_every_packet_of_a_file_is_published_once(nats_server, scratch):
    """The stream holds each packet of the file once, in messages numbered without gaps; the ledger balances."""
    path = write_pcap(scratch / "a.pcap", [frame(number) for number in range(50_000)])
    status, words = CollectorProcess(scratch, nats_url=nats_server.url, source="file", file=path).run()
    found = await stored(nats_server.url)

    assert (status, words) == (0, [])
    found.assert_exact(50_000)
    assert sorted(found.sequences()) == list(range(1, len(found.envelopes) + 1))
    assert {envelope.interface for envelope in found.envelopes} == {"a.pcap"}
    last = found.ledger[-1]
    assert last.reason == "stop"
    assert last.kernel_received == last.decoded == last.published == last.published_rows == 50_000
    assert (last.spooled, last.evicted, last.undecoded, last.unpublished) == (0, 0, 0, 0)
    assert last.sequence == len(found.envelopes)
    assert {record.boot for record in found.ledger} == {found.envelopes[0].boot}


async def test_a_damaged_file_is_published_up_to_the_damage(nats_server, scratch):
    """What comes before the damage is published; then one line says where it is, and the exit status is 1."""
    path = write_pcap(scratch / "cut.pcap", [frame(number) for number in range(1000)], cut=5)
    status, words = CollectorProcess(scratch, nats_url=nats_server.url, source="file", file=path).run()
    found = await stored(nats_server.url)

    assert status == 1
    assert len(words) == 1
    assert "cut.pcap: breaks off inside a packet" in words[0]
    found.assert_exact(999)
    assert found.ledger[-1].published == 999


async def test_rounds_and_ndjson(nats_server, scratch):
    """A file replayed three times, as NDJSON, gives three times its packets."""
    path = write_pcap(scratch / "a.pcap", [frame(number) for number in range(100)])
    collector = CollectorProcess(
        scratch, nats_url=nats_server.url, source="file", file=path, file_loop=3, encoding="ndjson"
    )
    status, _ = collector.run()
    found = await stored(nats_server.url)

    assert status == 0
    assert found.packets == 300
    assert {envelope.content_type for envelope in found.envelopes} == {"application/x-ndjson"}


async def test_stop_in_the_middle_publishes_what_was_read(nats_server, scratch):
    """SIGTERM ends a replay that would go on for ever; everything read until then is published and accounted for."""
    path = write_pcap(scratch / "a.pcap", [frame(number) for number in range(500)])
    with CollectorProcess(
        scratch, nats_url=nats_server.url, source="file", file=path, file_loop=0, file_pace="recorded"
    ) as collector:
        collector.await_event("stream found")
        status = collector.stop()
    found = await stored(nats_server.url)
    last = found.ledger[-1]

    assert status == 0
    assert last.reason == "stop"
    assert last.decoded == last.published == found.packets
    assert last.spooled == last.evicted == 0
