"""The exporter on a real nats-server: each batch counts once, whatever happens to the stream or the server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import threading
import time

import httpx
import pytest

from streamgauge import codec, ledger, subjects
from streamgauge.embedded import free_ports
from streamgauge.schema import TrafficClass
from tests.support import packets as build
from tests.support import require
from tests.support.traffic import batch_of, batches_of_capture, count_rows, envelope_of, publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live

NOW_NS = time.time_ns()


def small(count=10, **how):
    """Return (class, envelope, batch) of so many equal packets, captured just now."""
    batch = batch_of([build.ethernet(0x0800, build.ipv4(17, build.udp(b"x", target=9999)))] * count)
    envelope = dataclasses.replace(envelope_of(batch, **how), first_time=NOW_NS, last_time=NOW_NS)
    return TrafficClass.UDP, envelope, batch


async def counts(running, packets):
    async def probe():
        assert await running.total("packets_total") == packets
        return True

    await eventually(probe)


async def test_sums_on_the_page_are_those_of_the_captures(bus, run_exporter):
    """For several captures, published by two nodes: packets and bytes on /metrics equal a row-by-row count."""
    paths = [path for path in sorted(require.CORPUS.glob("*.pcap")) if path.stat().st_size < 100_000][:40]
    if not paths:
        require.missing("the corpus")
    packets = sizes = 0
    async with run_exporter() as running:
        for number, path in enumerate(paths):
            batches = batches_of_capture(path, node=f"node-{number % 2}", boot=path.name, rows_per_batch=256)
            for batch in batches:
                await publish(bus.jetstream, *batch)
            counted, measured = count_rows(batches, [])
            packets += sum(counted.values())
            sizes += sum(measured.values())
        await counts(running, packets)
        assert await running.total("bytes_total") == sizes
        assert await running.total("decode_status_packets_total") == packets
        assert await running.total("packet_size_bytes_count") == packets
        assert await running.total("packet_size_bytes_sum") == sizes


async def test_a_batch_stored_twice_counts_once(bus, run_exporter):
    """Duplicates beyond JetStream's own window are recognised by node, boot and sequence."""
    traffic_class, envelope, batch = small(sequence=1)
    headers = {**envelope.headers(), "Nats-Msg-Id": "another"}
    async with run_exporter() as running:
        await publish(bus.jetstream, traffic_class, envelope, batch)
        await bus.jetstream.publish(subjects.traffic("node-a", traffic_class), codec.encode(batch), headers=headers)
        await publish(bus.jetstream, *small(sequence=2))
        await counts(running, 20)
        assert await running.total("exporter_batches_total", result="duplicate") == 1


async def test_it_counts_from_now_unless_told_to_replay(bus, run_exporter):
    """Without ``replay`` what the stream held before the start is not counted."""
    await publish(bus.jetstream, *small(sequence=1))
    async with run_exporter(replay=False) as running:
        await publish(bus.jetstream, *small(3, sequence=2))
        await counts(running, 3)
    async with run_exporter(replay=True) as running:
        await counts(running, 13)


async def test_what_is_no_batch_is_refused_and_counted(bus, run_exporter):
    """A message that is no batch changes no total and stops nothing."""
    async with run_exporter() as running:
        await bus.jetstream.publish("traffic.v1.node-a.udp", b"nonsense")
        await bus.jetstream.publish("traffic.v1.node-a.udp", b"nonsense", headers=small()[1].headers())
        await publish(bus.jetstream, *small(sequence=2))
        await counts(running, 10)
        assert await running.total("exporter_batches_total", result="refused") == 2


@pytest.mark.parametrize("status", ["404", "500", "100"])
async def test_what_looks_like_a_word_of_the_server_holds_nothing_up(bus, run_exporter, status):
    """A message with a header `Status`, which nats-py drops, is refused as any other, and what follows counts."""
    async with run_exporter() as running:
        await bus.jetstream.publish("traffic.v1.node-a.udp", b"", headers={"Status": status})
        await publish(bus.jetstream, *small(sequence=1))
        await counts(running, 10)
        assert await running.total("exporter_batches_total", result="refused") == 1


async def test_it_goes_on_behind_its_place_when_the_server_comes_back(bus, nats_server, run_exporter):
    """A restarted server costs no batch and doubles none."""
    async with run_exporter() as running:
        await publish(bus.jetstream, *small(sequence=1))
        await counts(running, 10)
        nats_server.stop()
        await eventually(lambda: running.exporter.consumer.trouble)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{running.url}/readyz")).status_code == 503
        nats_server.start()
        await eventually(lambda: bus.connected)
        await publish(bus.jetstream, *small(sequence=2))

        async def probe():
            return await running.total("packets_total") == 20

        await eventually(probe, within=30)


async def test_it_finds_a_stream_that_was_made_anew(bus, nats_settings, run_exporter):
    """When the stream is deleted and created again, its new messages are counted though their numbers are low."""
    async with run_exporter() as running:
        for sequence in (1, 2, 3):
            await publish(bus.jetstream, *small(sequence=sequence))
        await counts(running, 30)
        await bus.jetstream.delete_stream(nats_settings.stream)
        await bus.ensure_stream()
        await publish(bus.jetstream, *small(sequence=4))

        async def probe():
            return await running.total("packets_total") == 40

        await eventually(probe, within=30)


async def test_when_it_lags_it_skips_to_now_and_says_how_much(bus, run_exporter):
    """Past the bound it reads headers only: totals of the node stay exact, what was skipped is counted."""
    async with run_exporter(replay=False, max_lag=0.2) as running:
        consumer = running.exporter.consumer
        fold = consumer._aggregator.fold

        def slow(envelope, batch):
            # An exporter that is held up: the backlog has grown past the bound when the first batch is done.
            if envelope.sequence == 1:
                held.wait(5)
            return fold(envelope, batch)

        held = threading.Event()
        consumer._aggregator.fold = slow
        for sequence in range(1, 61):
            await publish(bus.jetstream, *small(sequence=sequence))
        oldest = time.monotonic()
        await eventually(lambda: time.monotonic() - oldest > 0.3)
        held.set()
        await counts(running, 600)
        skipped = await running.total("exporter_batches_total", result="skipped")
        assert skipped > 0
        assert await running.total("packets_total", protocol="__skipped__") == 10 * skipped
        assert await running.total("exporter_skipped_packets_total") == 10 * skipped
        assert await running.total("exporter_batches_total", result="counted") == 60 - skipped
        await publish(bus.jetstream, *small(sequence=61))
        await counts(running, 610)


async def test_replicas_split_the_nodes_between_them(bus, run_exporter):
    """Two replicas count each node once, ledger and summaries alike."""
    async with run_exporter(replicas=2, replica=0) as first, run_exporter(replicas=2, replica=1) as second:
        nodes = [f"node-{number}" for number in range(12)]
        for node in nodes:
            await publish(bus.jetstream, *small(node=node))
            record = ledger.LedgerRecord(
                node, "b", "eth0", NOW_NS, "tick", kernel_received=10, decoded=10, published=10
            )
            await bus.jetstream.publish(subjects.ledger(node), record.encode())

        async def probe():
            split = []
            for running in (first, second):
                traffic = await running.by("packets_total", "node")
                account = await running.by("ledger_received_packets_total", "node")
                assert set(traffic) == set(account)
                split.append(set(traffic))
            assert split[0] | split[1] == set(nodes)
            return not split[0] & split[1] and all(split)

        await eventually(probe)


async def test_the_ledger_is_on_the_page_at_once_and_adds_up_over_boots(bus, run_exporter):
    """The last record of each node is read at the start; a new boot goes on where the last one ended."""

    async def record(boot, at, **values):
        made = ledger.LedgerRecord("node-a", boot, "eth0", NOW_NS + at, "tick", **values)
        await bus.jetstream.publish(subjects.ledger("node-a"), made.encode())

    await record("one", 1, kernel_received=100, kernel_dropped=7, decoded=93, published=90, spooled=3)
    async with run_exporter(replay=False) as running:

        async def first():
            assert await running.total("ledger_received_packets_total") == 100
            assert await running.total("ledger_lost_packets_total", stage="kernel", reason="ring_full") == 7
            return await running.total("ledger_spooled_packets") == 3

        await eventually(first)
        await record("two", 2, kernel_received=10, decoded=9, published=5, evicted=2, spooled=1)

        async def second():
            assert await running.total("ledger_received_packets_total") == 110
            assert await running.total("ledger_lost_packets_total", stage="kernel") == 7
            assert await running.total("ledger_lost_packets_total", stage="collector") == 2
            return await running.total("ledger_imbalance_packets") == 1

        await eventually(second)


async def test_the_program_starts_serves_and_ends_in_order(nats_server, bus):
    """``python -m services.exporter`` becomes ready, counts, and ends with status 0 on SIGTERM."""
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "STREAMGAUGE_NATS_URL": nats_server.url,
        "STREAMGAUGE_NATS_MAX_BYTES": str(256 << 20),
        "STREAMGAUGE_EXPORTER_PORT": str(port),
        "STREAMGAUGE_EXPORTER_REPLAY": "true",
    }
    await publish(bus.jetstream, *small())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.exporter", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with httpx.AsyncClient() as client:

            async def counted():
                try:
                    page = await client.get(f"http://127.0.0.1:{port}/metrics")
                except httpx.TransportError:
                    return False
                return 'protocol="udp"' in page.text

            await eventually(counted, within=60)
            assert (await client.get(f"http://127.0.0.1:{port}/readyz")).text == "ok\n"
    finally:
        process.terminate()
        _, errors = await process.communicate()
    assert process.returncode == 0
    assert all(json.loads(line)["level"] == "info" for line in errors.splitlines())
