"""The storage goes and comes: nothing is lost, nothing is acknowledged before it is stored, memory stays bounded."""

from __future__ import annotations

import os

import pytest

from streamgauge import footers
from streamgauge.embedded import S3Server
from streamgauge.errors import StoreAwayError
from streamgauge.settings import NatsSettings, S3Settings
from tests.support.backup import Running
from tests.support.minio_server import MinioServer
from tests.support.summaries import publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live

MIB = 1 << 20


@pytest.fixture(name="own_s3")
def _own_s3(scratch):
    """Return an S3 server that a test may stop and start."""
    kind = MinioServer if os.environ.get("TEST_S3_SERVER") == "minio" else S3Server
    with kind(scratch) as server:
        yield server


@pytest.fixture(name="running")
async def _running(nats_server, own_s3, monkeypatch):
    monkeypatch.setattr("services.backup.service._LOOK_INTERVAL", 0.1)
    nats = NatsSettings(url=nats_server.url, max_bytes=256 * MIB)
    s3 = S3Settings.model_validate(
        {
            "endpoint": own_s3.endpoint,
            "secure": False,
            "access_key": own_s3.access_key,
            "secret_key": own_s3.secret_key,
            "timeout": 2.0,
        }
    )
    one = await Running(nats, s3, pending_bytes=MIB).start()
    yield one
    if own_s3.process.poll() is not None:
        own_s3.start()
    await one.stop()


async def pending(running):
    info = await running.bus.jetstream.consumer_info("TRAFFIC", "backup-shard-03")
    return info.num_pending, info.num_ack_pending, info.ack_floor.stream_seq


async def test_away_and_back(running, own_s3):
    """While it is away nothing is acknowledged, the page says why, and what is held is bounded; then all is stored."""
    await publish(running.bus.jetstream, 1, rows=1000)
    await running.all_stored(1000)
    own_s3.kill()
    for sequence in range(2, 302):
        await publish(running.bus.jetstream, sequence, rows=1000)
    await eventually(lambda: running.metrics.retries.get() >= 2)
    waiting, unacknowledged, floor = await pending(running)
    running.metrics.page.render()

    assert running.metrics.held.get() <= MIB + 2 * MIB + MIB
    assert running.metrics.oldest.get() > 0
    assert (floor, waiting > 0, unacknowledged > 0) == (1, True, True)
    assert "does not answer" in running.backup.ready()

    async def told():
        running.metrics.page.render()
        return running.metrics.pending.get("shard-03") == (await pending(running))[0] > 0

    # The lane does not read meanwhile, and knows all the same how much waits.
    await eventually(told)

    own_s3.start()
    await running.all_stored(301_000, within=60)
    assert running.failure.error is None

    async def acknowledged():
        return (await pending(running))[:2] == (0, 0)

    await eventually(acknowledged)
    assert running.backup.ready() is None


@pytest.mark.parametrize("part", ["stat", "read"])
async def test_away_again_while_it_is_asked_what_it_has(running, monkeypatch, part):
    """Stored, the answer lost, and gone once more when the object is looked for: tried again, not given up."""
    asked = running.store if part == "stat" else footers
    put, ask, faults = running.store.put, getattr(asked, part), []

    async def lose_the_answer(key, *arguments, **options):
        stored = await put(key, *arguments, **options)
        if not faults:
            faults.append("put")
            raise StoreAwayError("the answer was lost")
        return stored

    async def be_away(*arguments):
        if faults == ["put"]:
            faults.append(part)
            raise StoreAwayError("away")
        return await ask(*arguments)

    monkeypatch.setattr(running.store, "put", lose_the_answer)
    monkeypatch.setattr(asked, part, be_away)
    await publish(running.bus.jetstream, 1)
    await running.all_stored(100)
    await publish(running.bus.jetstream, 2)
    await running.all_stored(200)

    assert faults == ["put", part]
    assert running.metrics.retries.get() == 2
    assert running.failure.error is None


async def test_a_message_larger_than_a_request(running):
    """A batch that is larger than the bytes of one pull request comes nevertheless."""
    await publish(running.bus.jetstream, 1, rows=120_000)
    await publish(running.bus.jetstream, 2, rows=10)

    await running.all_stored(120_010)
    assert running.metrics.reopened.get() == 0
