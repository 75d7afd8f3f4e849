"""Where a lane goes on when nothing of what it got becomes a row: behind it, with an account of it."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from streamgauge import drill, footers
from streamgauge.audit import take
from streamgauge.ledger import LedgerRecord
from streamgauge.restore import make_plan
from streamgauge.restore.plan import Selection
from tests.support.summaries import batch, envelope
from tests.support.waiting import eventually

pytestmark = pytest.mark.live


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


async def test_a_record_that_someone_deleted(world, run):
    """The writer stops and says so; started anew it goes on behind what is in the bucket."""
    one = await run()
    await world.publish(1)
    await eventually(world.exactly, within=30)
    values = await world.bus.jetstream.key_value("backup-TRAFFIC")
    await values.delete("shard-03")
    await world.publish(2)
    await eventually(lambda: one.failure.error, within=30)
    await one.stop()
    await run()
    await world.publish(3)

    await eventually(world.exactly, within=30)
    await eventually(world.settled, within=30)
    assert "was deleted; starting anew helps" in str(one.failure.error)
