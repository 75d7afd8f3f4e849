"""Never a duplicate, never a gap: crashes of real processes, redelivery, several writers, lost streams."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest
from nats.errors import Error as NatsError

from streamgauge import drill, footers
from streamgauge.audit import take
from streamgauge.bus import Bus
from streamgauge.ledger import LedgerRecord
from streamgauge.restore import make_plan
from streamgauge.restore.plan import Selection
from streamgauge.store import Store
from tests.support.backup import tables
from tests.support.summaries import START, batch, envelope, publish
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.live

LANE = "backup-shard-03"  # where node-a belongs


class World:
    """What a test sees from outside: the stream and the bucket."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self.bus = bus
        self.store = store
        self.expected: set[int] = set()

    async def publish(self, *sequences: int, **options: object) -> None:
        for sequence in sequences:
            await self._until_acknowledged(sequence, **options)
            self.expected |= {START + sequence * 1_000_000 + row * 1000 for row in range(10)}

    async def _until_acknowledged(self, sequence: int, **options: object) -> None:
        """Publish as a collector does: again under the same identifier until there is an acknowledgement."""
        for _ in range(20):
            with contextlib.suppress(NatsError, asyncio.TimeoutError):
                await publish(self.bus.jetstream, sequence, rows=10, **options)  # type: ignore[arg-type]
                return
        raise AssertionError("NATS does not come back")

    async def times(self) -> list[int]:
        found: list[int] = []
        for table in (await tables(self.store)).values():
            found += table["time"].cast("int64").to_pylist()
        return sorted(found)

    async def exactly(self) -> bool:
        """Return whether all that was published is stored, once."""
        times = await self.times()
        assert len(times) == len(set(times)), "stored twice"
        assert self.expected >= set(times), "stored from nowhere"
        return sorted(self.expected) == times

    async def settled(self) -> bool:
        info = await self.bus.jetstream.consumer_info("TRAFFIC", LANE)
        return info.num_pending == 0 and info.num_ack_pending == 0


@pytest.fixture(name="world")
async def _world(nats_settings, s3_settings) -> AsyncIterator[World]:
    bus, store = Bus(nats_settings, "test"), Store(s3_settings)
    await bus.start()
    await store.start()
    await bus.ensure_stream()
    yield World(bus, store)
    await store.stop()
    await bus.stop()


async def started(world):
    """Wait until a backup has opened the lane of node-a."""

    async def is_open():
        infos = await world.bus.jetstream.consumers_info("TRAFFIC")
        return any(info.name == LANE and info.num_waiting for info in infos)

    await eventually(is_open, within=30)


async def finish(process):
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("point", ["before-intent", "before-upload", "after-upload"])
async def test_killed_at_any_point(world, spawn_backup, point):
    """Killed before or after the upload and started again: nothing lost, nothing stored twice, all acknowledged."""
    await world.publish(1, 2, 3)
    dying = spawn_backup(point=point)
    await asyncio.to_thread(dying.communicate, timeout=20)
    assert dying.returncode == -signal.SIGKILL
    await world.publish(4, 5)
    process = spawn_backup()

    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    await finish(process)


async def test_an_upload_of_the_dead_that_arrives_late(world, spawn_backup, tmp_path):
    """The object that was under way is made again under the same name: a late one replaces it with the same rows."""
    await world.publish(1, 2, 3)
    dying = spawn_backup(point="before-upload", DYING_LEAVES=str(tmp_path / "late"))
    await asyncio.to_thread(dying.communicate, timeout=20)
    await world.publish(4, 5)
    process = spawn_backup(STREAMGAUGE_BACKUP_ROTATE_ROWS="10")
    await eventually(world.exactly, within=30)
    await finish(process)

    first = min(await tables(world.store))
    await world.store.put(first, (tmp_path / "late").read_bytes())

    assert await world.exactly()


async def unreadable(world, *sequences):
    """Publish batches whose payload was damaged, and one message that is none of ours."""
    for sequence in sequences:
        headers = envelope(batch(10), sequence).headers()
        await world.bus.jetstream.publish("traffic.v1.node-a.tcp", b"junk", headers=headers)
    await world.bus.jetstream.publish("traffic.v1.node-a.tcp", b"junk")


async def manifests(world):
    found = [await footers.read(world.store, stored) for stored in await world.store.list_all("summaries/")]
    return sorted((footer.manifest for footer in found), key=lambda manifest: manifest.first_sequence)


async def test_a_shard_of_nothing_but_what_nobody_can_read(world, run, spawn_backup):
    """Its position moves, across kills, too: each message is named in one footer, once, and none is read again."""
    await unreadable(world, 1, 2)
    for point in ("before-upload", "after-upload"):
        dying = spawn_backup(point=point)
        await asyncio.to_thread(dying.communicate, timeout=20)
        assert dying.returncode == -signal.SIGKILL
    await unreadable(world, 3)
    one = await run()
    await eventually(world.settled, within=30)
    await one.stop()
    two = await run()
    await world.publish(4)
    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    made = await manifests(world)

    assert [manifest.rows for manifest in made] == [0, 0, 10]
    assert [sorted(named[2] or 0 for named in manifest.quarantined) for manifest in made] == [[0, 1, 2], [0, 3], []]
    assert [(manifest.first_sequence, manifest.last_sequence) for manifest in made] == [(1, 3), (4, 5), (6, 6)]
    assert two.metrics.quarantined.get() == 0
    assert len(await world.store.list_all("quarantine/")) == 5

    counts = {"kernel_received": 40, "decoded": 40, "published": 40, "sequence": 4}
    record = LedgerRecord("node-a", "boot-1", "eth0", time.time_ns(), "stop", **counts)
    await world.bus.jetstream.publish("ledger.v1.node-a", record.encode())
    report = await take(world.store, world.bus, stream="TRAFFIC", read_all=True)
    assert report.findings == []
    assert (report.accounts[0].stored, report.accounts[0].quarantined, report.accounts[0].difference) == (10, 30, 0)


async def test_a_shard_of_nothing_but_what_is_stored(world, run, tmp_path):
    """Batches published again into an idle shard move its position; restore and drill pass their objects over."""
    one = await run()
    await world.publish(1, 2)
    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    for sequence in (1, 2):
        await world.publish(sequence, message_id=f"again-{sequence}")
    await eventually(lambda: one.metrics.duplicates.get() == 2)
    await eventually(world.settled, within=30)
    await one.stop()
    last = max(manifest.last_sequence for manifest in await manifests(world))
    drilled = [await drill.run(world.store, tmp_path, length=60, seed=seed) for seed in range(3)]

    assert last == (await world.bus.jetstream.stream_info("TRAFFIC")).state.last_seq
    assert (await make_plan(world.store, Selection())).rows == 20
    assert all(outcome.good and outcome.rows for outcome in drilled)


async def test_batches_published_twice_are_stored_once(world, run):
    """A batch that stands twice in the stream is stored once, also when a restart lies between."""
    one = await run()
    await world.publish(1, 2, 3)
    await world.publish(2, message_id="again")
    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    await one.stop()
    two = await run()
    await world.publish(1, 3, message_id="and again")
    await world.publish(4)

    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    assert (one.metrics.duplicates.get(), two.metrics.duplicates.get()) == (1, 1)


async def test_batches_out_of_order(world, run):
    """Batches of a window in flight arrive in any order; each is stored, and none is taken for a duplicate."""
    one = await run()
    await world.publish(3, 1, 2, 8, 4)

    await eventually(world.exactly, within=30)
    await world.publish(5, 7, 6)
    await eventually(world.exactly, within=30)
    assert one.metrics.duplicates.get() == 0


async def test_consumer_deleted(world, run):
    """A consumer that someone deletes is made anew behind what is stored."""
    one = await run()
    await world.publish(1, 2)
    await eventually(world.exactly, within=30)
    await world.bus.jetstream.delete_consumer("TRAFFIC", LANE)
    await world.publish(3)

    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    assert one.metrics.reopened.get() >= 1


async def test_consumer_made_anew_by_someone_else(world, run):
    """A consumer that someone makes again from the beginning delivers everything again, and nothing is stored twice."""
    one = await run()
    await world.publish(1, 2)
    await eventually(world.exactly, within=30)
    jetstream = world.bus.jetstream

    async def made_anew():
        """Be faster than the backup, which makes its own again at once."""
        anew = {"durable_name": LANE, "filter_subject": "traffic.v1.*.*.3", "ack_policy": "explicit"}
        with contextlib.suppress(NatsError):
            await asyncio.gather(jetstream.delete_consumer("TRAFFIC", LANE), jetstream.add_consumer("TRAFFIC", **anew))
            return True

    await eventually(made_anew)
    await world.publish(3)

    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    assert one.failure.error is None


async def test_a_second_writer_stops(world, run, spawn_backup):
    """A second writer of the same shards says who writes them and ends; the first goes on."""
    one = await run()
    process = spawn_backup()
    _, errors = await asyncio.to_thread(process.communicate, timeout=20)
    said = [line for line in errors.splitlines() if not line.startswith("{")]
    await world.publish(1)

    await eventually(world.exactly, within=30)
    assert process.returncode == 1
    assert len(said) == 1
    assert "shard-00 is written by" in said[0]
    assert one.failure.error is None


async def test_a_stand_in_takes_over(world, spawn_backup):
    """A writer that waits takes the shards over as soon as the first one is killed."""
    first = spawn_backup()
    await started(world)
    second = spawn_backup(STREAMGAUGE_BACKUP_WHEN_TAKEN="wait")
    await world.publish(1, 2)
    await eventually(world.exactly, within=30)
    await world.publish(3)
    first.kill()
    await world.publish(4)

    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    await finish(second)


async def test_a_writer_that_hung_is_fenced(world, spawn_backup):
    """A writer that hangs is replaced; when it wakes up it stops, and nothing is stored twice."""
    hung = spawn_backup()
    await started(world)
    await world.publish(1)
    await eventually(world.exactly, within=30)
    hung.send_signal(signal.SIGSTOP)
    await world.publish(2)
    process = spawn_backup()
    await eventually(world.exactly, within=60)
    await world.publish(3)
    hung.send_signal(signal.SIGCONT)
    _, errors = await asyncio.to_thread(hung.communicate, timeout=40)

    await world.publish(4)
    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    assert hung.returncode == 1
    assert "taken over by another writer" in errors.splitlines()[-1]
    await finish(process)


async def test_shards_split_over_two_replicas(world, run):
    """Two replicas write half of the shards each; every node is stored once."""
    both = [await run(replica=replica, replicas=2) for replica in (0, 1)]
    for number in range(8):
        for sequence in (1, 2):
            await publish(world.bus.jetstream, sequence, rows=10, node=f"node-{number}")

    async def all_there():
        return sum(table.num_rows for table in (await tables(world.store)).values()) == 160

    await eventually(all_there)
    assert all(one.metrics.objects.get("summaries") > 0 for one in both)
    assert sum(one.metrics.rows.get(f"node-{number}") for one in both for number in range(8)) == 160


async def test_a_stream_made_anew(world, run):
    """A stream that is deleted and created again counts from 1: its objects have other names, and nothing is hidden."""
    one = await run()
    await world.publish(1, 2, 3)
    await eventually(world.exactly, within=30)
    await one.stop()
    await world.bus.jetstream.delete_stream("TRAFFIC")
    await world.bus.ensure_stream()
    # The collector publishes again what it does not know to be stored, and goes on.
    await world.publish(2, 3, 4)
    two = await run()

    await eventually(world.exactly, within=30)
    assert two.metrics.duplicates.get() == 2
    assert len({key.rpartition("/")[2].partition("-")[0] for key in await tables(world.store)}) == 2


async def test_a_stream_made_anew_while_it_is_read(world, run, spawn_backup):
    """The backup stops with a clear line instead of reading the new stream behind the old one's end."""
    one = await run()
    await world.publish(1, 2, 3)
    await eventually(world.exactly, within=30)
    await world.bus.jetstream.delete_stream("TRAFFIC")
    await world.bus.ensure_stream()
    await world.publish(4)
    await eventually(lambda: one.failure.error, within=30)
    await one.stop()
    await run()

    await eventually(world.exactly, within=30)
    assert "created again" in str(one.failure.error)


async def test_the_bucket_is_the_truth(world, run):
    """A new, empty bucket gets everything the stream still has, whatever the lease remembers."""
    one = await run()
    await world.publish(1, 2)
    await eventually(world.exactly, within=30)
    await one.stop()
    for stored in await world.store.list_all(""):
        await world.store.remove(stored.key)
    await run()

    await eventually(world.exactly, within=30)


async def test_a_lease_that_went_back_in_time(world, run):
    """A record of the lease that lost its last updates does not make anything come again: the bucket is asked too."""
    one = await run()
    await world.publish(1)
    await eventually(world.exactly, within=30)
    values = await world.bus.jetstream.key_value("backup-TRAFFIC")
    old = (await values.get("shard-03")).value
    await world.publish(2)
    await eventually(world.exactly, within=30)
    await one.stop()
    await values.put("shard-03", old)
    await run()
    await world.publish(3)

    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)


async def test_killed_again_and_again(world, spawn_backup):
    """Killed at random moments while batches come in: at the end each row is there once."""
    chance = random.Random(20261125)
    sequence = 0
    for _ in range(4):
        process = spawn_backup(STREAMGAUGE_BACKUP_ROTATE_SECONDS="0.1", STREAMGAUGE_BACKUP_ROTATE_ROWS="30")
        await started(world)
        for _ in range(chance.randint(5, 30)):
            sequence += 1
            await world.publish(sequence)
            if chance.random() < 0.2:
                await world.publish(chance.randint(1, sequence), message_id=f"again-{sequence}")
        await asyncio.sleep(chance.random() * 0.15)
        process.kill()
        await asyncio.to_thread(process.communicate)
    process = spawn_backup()

    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    await finish(process)


async def test_nats_killed_and_started_again(world, run, nats_server):
    """The server is killed in the middle of it: the backup goes on when it is back."""
    one = await run()
    await world.publish(1, 2)
    nats_server.kill()
    nats_server.start()
    await world.publish(3)

    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    assert one.failure.error is None
