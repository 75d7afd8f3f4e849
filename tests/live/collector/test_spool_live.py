"""The spool under a real collector: killed, out of disk, past its bound."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter

import pytest

from streamgauge.embedded import NatsServer, free_ports
from tests.live.collector.collecting import CollectorProcess, frame, send_until_evicted, stored, write_pcap
from tests.support import require
from tests.support.waiting import eventually_sync

pytestmark = pytest.mark.live

COUNT = 100_000


@pytest.fixture(name="trace")
def _trace(scratch):
    return write_pcap(scratch / "a.pcap", [frame(number) for number in range(COUNT)], gap_ns=100_000)


def assert_a_prefix_is_stored_once(found, boot):
    """Assert that of a boot the packets of the file's beginning are stored, each once, in numbered messages."""
    ports = Counter(
        port
        for envelope, batch in zip(found.envelopes, found.batches, strict=True)
        if envelope.boot == boot
        for port in batch.column("src_port").to_pylist()
    )
    count = sum(ports.values())
    expected = Counter(number % 60_000 + 1 for number in range(count))

    assert ports == expected
    sequences = sorted(found.sequences(boot))
    assert sequences == list(range(1, len(sequences) + 1))
    return count


async def test_killed_while_nats_is_away(nats_server, scratch, trace):
    """What a killed collector had in its spool is published by the next one; its account is closed, the crash counted.

    The whole beginning of the file, up to the last batch that was spooled, is stored exactly once.
    """
    settings = {"source": "file", "file": trace, "file_pace": "recorded", "batch_rows": 256, "spool_dir": scratch / "s"}
    with CollectorProcess(scratch, nats_url=nats_server.url, **settings) as first:
        eventually_sync(lambda: first.metric("published_packets_total") > 5000, within=90)
        nats_server.kill()
        eventually_sync(lambda: first.metric("pending_packets") > 20_000, within=90)
        first.kill()
    nats_server.start()
    second = CollectorProcess(scratch, nats_url=nats_server.url, **settings)
    with second:
        left = second.await_event("former boot found in the spool")
        assert second.wait() == 0
    found = await stored(nats_server.url)
    boots = list(dict.fromkeys(envelope.boot for envelope in found.envelopes))

    assert left["packets"] > 10_000
    assert len(boots) == 2
    count = assert_a_prefix_is_stored_once(found, boots[0])
    assert assert_a_prefix_is_stored_once(found, boots[1]) == COUNT
    closing = [record for record in found.ledger if record.boot == boots[0]][-1]
    assert closing.reason == "recovered"
    assert (closing.published, closing.spooled, closing.evicted) == (count, 0, 0)
    assert closing.decoded == count + closing.crashed
    assert (closing.unpublished, closing.undecoded) == (0, 0)
    assert [path.name for path in (scratch / "s").iterdir()] == ["lock"]


@pytest.mark.parametrize("round_", range(3))
async def test_killed_at_any_moment_while_acknowledgements_flow(nats_server, scratch, trace, round_):
    """Killed in the middle of normal work, a collector leaves nothing twice and nothing in between."""
    settings = {"source": "file", "file": trace, "file_pace": "recorded", "batch_rows": 64, "spool_dir": scratch / "s"}
    with CollectorProcess(scratch, nats_url=nats_server.url, **settings) as first:
        eventually_sync(lambda: first.metric("published_packets_total") > 7000 * (round_ + 1), within=90)
        first.kill()
    with CollectorProcess(scratch, nats_url=nats_server.url, **settings) as second:
        second.await_event("former boot found in the spool")
        assert second.wait() == 0
    found = await stored(nats_server.url)
    boots = list(dict.fromkeys(envelope.boot for envelope in found.envelopes))

    assert len({envelope.message_id for envelope in found.envelopes}) == len(found.envelopes)
    assert assert_a_prefix_is_stored_once(found, boots[0]) >= 7000
    assert assert_a_prefix_is_stored_once(found, boots[1]) == COUNT


async def test_stopped_while_nats_is_away(scratch):
    """A collector that must end while NATS is away leaves its batches in the spool, loses nothing, and ends well."""
    path = write_pcap(scratch / "a.pcap", [frame(number) for number in range(2000)])
    settings = {"source": "file", "file": path, "spool_dir": scratch / "s"}
    server = NatsServer(scratch, port=free_ports(1)[0])
    with CollectorProcess(scratch, nats_url=server.url, **settings, stop_timeout=0.5) as first:
        eventually_sync(lambda: first.metric("pending_packets") == 2000, within=90)
        assert first.stop() == 0
        assert first.events("batches stay in the spool until the next start")
    empty = write_pcap(scratch / "b.pcap", [])
    with server:
        status, _ = CollectorProcess(scratch, nats_url=server.url, **{**settings, "file": empty}).run()
        found = await stored(server.url)

    assert status == 0
    found.assert_exact(2000)
    closing = next(record for record in reversed(found.ledger) if record.reason == "recovered")
    assert (closing.kernel_received, closing.published, closing.crashed, closing.spooled) == (2000, 2000, 0, 0)


async def test_the_bound_of_the_spool_evicts_the_oldest_and_counts_them(scratch):
    """Past its bound the spool gives the oldest up: the folder stays small, every packet is published or evicted."""
    require.root()
    server = NatsServer(scratch, port=free_ports(1)[0])
    folder = scratch / "s"
    port = free_ports(1)[0]
    with CollectorProcess(
        scratch,
        nats_url=server.url,
        interface="lo",
        filter=f"udp and dst port {port}",
        batch_rows=1,
        batch_age=0.02,
        spool_dir=folder,
        spool_bytes=16 << 20,
        pending_bytes=1 << 20,
    ) as collector:
        collector.await_event("capturing")
        sent = send_until_evicted(collector, port)
        on_disk = sum(path.stat().st_size for path in folder.rglob("*.spool"))
        in_memory = collector.metric("pending_memory_bytes")
        with server:
            eventually_sync(lambda: collector.metric("pending_packets") == 0, within=60)
            evicted = collector.metric("lost_packets_total", reason="evicted")
            assert collector.stop() == 0
            found = await stored(server.url)
    last = found.ledger[-1]

    assert on_disk <= 16 << 20
    assert in_memory <= (1 << 20) + 5000
    assert evicted == last.evicted > 0
    assert last.decoded == last.published + last.evicted == sent
    assert found.packets == last.published


@pytest.fixture(name="small_disk")
def _small_disk(scratch):
    require.root()
    folder = scratch / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_is_survived(scratch, small_disk):
    """When the disk is full, batches wait in memory, the errors are counted, and nothing is lost or doubled."""
    path = write_pcap(scratch / "a.pcap", [frame(number) for number in range(60_000)])
    server = NatsServer(scratch, port=free_ports(1)[0])
    assert shutil.disk_usage(small_disk).total == 2 << 20
    with CollectorProcess(
        scratch,
        nats_url=server.url,
        source="file",
        file=path,
        batch_rows=512,
        compression="none",
        spool_dir=small_disk / "s",
    ) as collector:
        eventually_sync(lambda: collector.metric("pending_packets") == 60_000, within=90)
        errors = collector.metric("spool_errors_total")
        with server:
            assert collector.wait() == 0
            found = await stored(server.url)

    assert errors > 0
    assert collector.events("the spool cannot be written; batches wait in memory")
    found.assert_exact(60_000)
    assert found.ledger[-1].published == 60_000
