"""Never a duplicate, never a gap: crashes of real processes, redelivery, several writers, lost streams."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal

import pytest
from nats.errors import Error as NatsError

from tests.support.backup import LANE, tables
from tests.support.summaries import publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live


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
