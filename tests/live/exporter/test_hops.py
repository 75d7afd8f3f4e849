"""The exporter sees, in the stream itself, what the backup has not stored: also when the backup is down."""

from __future__ import annotations

import time

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from services.exporter import hops
from streamgauge import subjects
from streamgauge.doctor import stream, words
from streamgauge.doctor.nats_view import NatsView
from tests.live.exporter.test_exporter import small
from tests.support.traffic import publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def _look_often(monkeypatch):
    """Look at the stream ten times a second."""
    monkeypatch.setattr(hops, "INTERVAL", 0.1)


async def test_what_a_consumer_of_the_backup_leaves_shows_with_its_age(bus, nats_settings, run_exporter):
    """Pending and unacknowledged messages count, the oldest one's age grows, and acknowledging ends it."""
    shards = nats_settings.shards
    async with run_exporter() as running:
        for shard in range(shards):
            config = ConsumerConfig(
                durable_name=f"backup-shard-{shard:02d}",
                filter_subject=subjects.stored_shard(shard),
                ack_policy=AckPolicy.EXPLICIT,
            )
            await bus.jetstream.add_consumer(nats_settings.stream, config)
        await eventually(lambda: len(running.exporter.hops.consumers) == shards)
        assert await running.total("consumer_oldest_unacknowledged_seconds") == 0

        for sequence in (1, 2, 3):
            await publish(bus.jetstream, *small(sequence=sequence))

        async def waiting():
            assert await running.total("consumer_pending_messages") == 3
            ages = await running.by("consumer_oldest_unacknowledged_seconds", "consumer")
            assert sum(age > 0 for age in ages.values()) == 1
            return sum(ages.values()) > 0.3

        await eventually(waiting)
        (busy,) = [each.name for each in running.exporter.hops.consumers if each.pending]
        reader = await bus.jetstream.pull_subscribe_bind(busy, nats_settings.stream)
        for message in await reader.fetch(3, timeout=5):
            await message.ack()

        async def stored():
            assert await running.total("consumer_pending_messages") == 0
            assert await running.total("consumer_unacknowledged_messages") == 0
            return await running.total("consumer_oldest_unacknowledged_seconds") == 0

        await eventually(stored)


async def test_a_backup_that_is_gone_is_called_what_the_doctor_calls_it(bus, nats_settings, run_exporter, monkeypatch):
    """Live page and command on the same consumers, at the same time: state, words and remedy are the same."""
    monkeypatch.setattr(words, "UNASKED", 0.5)
    async with run_exporter() as running:
        for shard in range(nats_settings.shards):
            config = ConsumerConfig(
                durable_name=f"backup-shard-{shard:02d}",
                filter_subject=subjects.stored_shard(shard),
                ack_policy=AckPolicy.EXPLICIT,
            )
            await bus.jetstream.add_consumer(nats_settings.stream, config)
        await publish(bus.jetstream, *small(sequence=1))
        view = NatsView(nats_settings)
        await view.connect()

        def apart(evidence):
            return evidence.rpartition(", the oldest ")[0]

        async def agreed():
            said = await stream.look_at_backup(view, 180.0)
            (shown,) = [each for each in running.exporter.health.judge(time.time()) if each.hop == "backup"]
            assert said.evidence.startswith("consumer stuck: nobody asks backup-shard-")
            assert (said.state, said.remedy) == (shown.state, shown.remedy)
            # Only the age is of another moment.
            return apart(said.evidence) == apart(shown.evidence)

        await eventually(agreed)
        await view.close()


async def test_the_stream_shows_its_size_and_reach(bus, run_exporter):
    """Messages, bytes, limit and ages of the stream are on the page; without a consumer there is none."""
    async with run_exporter() as running:
        await publish(bus.jetstream, *small())

        async def seen():
            assert await running.total("stream_messages") == 1
            assert await running.total("stream_bytes") > 0
            assert await running.total("stream_max_bytes") == 256 << 20
            return 0 < await running.total("stream_oldest_seconds") < 60

        await eventually(seen)
        assert await running.by("consumer_pending_messages", "consumer") == {}
