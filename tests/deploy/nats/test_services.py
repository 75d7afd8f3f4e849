"""What the services really do, done by their own code under the shipped permissions: nothing they need is missing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from services.backup.consumer import Consumer
from services.backup.lease import HeldError, Lease
from services.exporter.puller import Puller
from streamgauge import drill, objects, subjects
from streamgauge.audit import collect
from streamgauge.audit.model import Evidence, Window
from streamgauge.bus import Bus
from streamgauge.errors import BusError
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.deploy.nats.conftest import Stand


@asynccontextmanager
async def connected(stand: Stand, user: str, name: str | None = None) -> AsyncIterator[Bus]:
    bus = Bus(stand.settings(user), name or user)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


@pytest.fixture(name="published")
async def _published(stand: Stand) -> int:
    """Return the sequence of a ledger record that the collector has published."""
    async with connected(stand, "collector") as bus:
        await bus.ensure_stream()
        acknowledgement = await bus.jetstream.publish("ledger.v1.node-1", b"{}")
        return int(acknowledgement.seq)


async def test_the_collector_finds_its_stream_and_publishes(stand: Stand) -> None:
    async with connected(stand, "collector") as bus:
        await bus.ensure_stream()
        assert (await bus.jetstream.publish("traffic.v1.node-1.tcp", b"x")).stream == "TRAFFIC"


async def test_the_backup_takes_a_lane_reads_and_acknowledges(stand: Stand, published: int) -> None:
    async with connected(stand, "backup") as bus:
        info = await bus.ensure_stream()
        lease = Lease(bus, stream="TRAFFIC", lane="ledger", incarnation=str(info.created), replicas=1)
        await lease.take()
        consumer = Consumer(
            bus,
            stream="TRAFFIC",
            incarnation=objects.incarnation(info.created),
            name="backup-ledger",
            subject=f"{subjects.LEDGER}.*",
            ack_wait=5.0,
            timeout=5.0,
        )
        await consumer.open(published - 1)
        deliveries = await eventually(lambda: consumer.pull(1.0))
        await consumer.acknowledge([delivery.reply for delivery in deliveries])
        await consumer.refresh()
        settled = await bus.jetstream.consumer_info("TRAFFIC", "backup-ledger")
        async with connected(stand, "backup") as second:
            with pytest.raises(HeldError):
                await Lease(second, stream="TRAFFIC", lane="ledger", incarnation=str(info.created), replicas=1).take()
        await consumer.close()
        await lease.release()

    assert deliveries[0].sequence == published
    assert settled.num_ack_pending == 0


async def test_the_exporter_reads(stand: Stand, published: int) -> None:
    async with connected(stand, "exporter") as bus:
        await bus.ensure_stream()
        puller = Puller(bus, "TRAFFIC", [f"{subjects.LEDGER}.*"])
        await puller.open_behind(published - 1)
        messages = await puller.fetch(1, 5.0)
        await puller.open_last()
        last = await puller.fetch(1, 5.0)
        await puller.close()

    assert messages[0].metadata.sequence.stream == published
    assert last[0].subject.startswith("ledger.v1.")


async def test_a_consumer_reads_single_messages_and_what_comes(stand: Stand, published: int) -> None:
    async with connected(stand, "consumer", "tail-of-a-user") as bus:
        # A client of somebody else's, with the inboxes that clients have by themselves.
        bus.client._inbox_prefix = bytearray(b"_INBOX")
        subscription = await bus.client.subscribe("ledger.v1.*")
        await bus.client.flush()
        message = await bus.jetstream.get_msg("TRAFFIC", published, direct=True)
        async with connected(stand, "collector") as collector:
            await collector.jetstream.publish("ledger.v1.node-1", b"live")
        live = await subscription.next_msg(timeout=5)

    assert message.data == b"{}"
    assert live.data == b"live"


async def test_the_operator_audits_and_leaves_the_note_of_a_drill(stand: Stand, published: int) -> None:
    async with connected(stand, "backup") as bus:
        info = await bus.ensure_stream()
        lease = Lease(bus, stream="TRAFFIC", lane="shard-00", incarnation=str(info.created), replicas=1)
        await lease.take()
        async with connected(stand, "operator", "audit") as operator:
            evidence = Evidence(Window())
            await collect.from_backup(operator, "TRAFFIC", evidence)
            await collect.from_stream(operator, "TRAFFIC", evidence, lambda _: None)
        async with connected(stand, "operator", "restore") as operator:
            outcome = drill.Outcome(0, 1, objects=1, rows=1, packets=1, seconds=0.1, differences=[])
            await drill.publish(operator, "TRAFFIC", outcome)
        verified = await drill.last_verified(await bus.jetstream.key_value("backup-TRAFFIC"))
        await lease.release()

    assert published > 0
    assert "shard-00" in evidence.notes
    assert verified > 0


@pytest.mark.parametrize("user", ["collector", "backup", "exporter"])
async def test_a_service_makes_no_stream(stand: Stand, user: str) -> None:
    settings = stand.settings(user, create_stream=True).model_copy(update={"stream": "ANOTHER", "connect_timeout": 1.0})
    bus = Bus(settings, user)
    await bus.start()
    try:
        with pytest.raises(BusError, match="ANOTHER"):
            await bus.ensure_stream()
    finally:
        await bus.stop()
