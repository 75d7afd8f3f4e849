"""The program: how it starts, what it says when it cannot, how it ends."""

from __future__ import annotations

import signal

import pytest

from streamgauge.bus import Bus
from streamgauge.store import Store
from tests.support.backup import tables
from tests.support.summaries import publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"STREAMGAUGE_S3_ACCESS_KEY": "nobody"}, 1, "STREAMGAUGE_S3_ACCESS_KEY"),
        ({"STREAMGAUGE_S3_SECRET_KEY": "wrong-one"}, 1, "STREAMGAUGE_S3_SECRET_KEY"),
        ({"STREAMGAUGE_S3_ENDPOINT": "127.0.0.1:1"}, 1, "STREAMGAUGE_S3_ENDPOINT"),
        ({"STREAMGAUGE_S3_CREATE_BUCKET": "false"}, 1, "STREAMGAUGE_S3_CREATE_BUCKET"),
        ({"STREAMGAUGE_NATS_URL": "nats://127.0.0.1:1"}, 1, "STREAMGAUGE_NATS_URL"),
        ({"STREAMGAUGE_NATS_CREATE_STREAM": "false"}, 1, "STREAMGAUGE_NATS_CREATE_STREAM"),
        ({"STREAMGAUGE_BACKUP_SHARDS": "0,8"}, 2, "shard 8"),
        ({"STREAMGAUGE_BACKUP_ROTATE_SECONDS": "never"}, 2, "STREAMGAUGE_BACKUP_ROTATE_SECONDS=never"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(spawn_backup, settings, status, words):
    """A wrong key, an absent server, a missing bucket or stream: one line that names the setting, no traceback."""
    process = spawn_backup(**settings)
    _, errors = process.communicate(timeout=90)
    said = [line for line in errors.splitlines() if not line.startswith("{")]

    assert status == process.returncode, errors
    assert len(said) == 1, errors
    assert words in said[0]


def test_dump(spawn_backup):
    """``--dump`` needs no server, and masks secrets."""
    shown, _ = spawn_backup("--dump").communicate(timeout=90)

    assert "STREAMGAUGE_S3_SECRET_KEY=********" in shown.splitlines()


@pytest.mark.parametrize("times", [1, 2])
def test_check_tries_both_ends(spawn_backup, bucket, times):
    """``--check`` finds the stream and writes to the bucket, as often as one likes, and says so in one line."""
    for _ in range(times):
        checked = spawn_backup("--check", STREAMGAUGE_BACKUP_SHARDS="2,5")
        said, errors = checked.communicate(timeout=90)

        assert checked.returncode == 0, errors
    assert said.splitlines() == [
        f"configuration is good: NATS has stream TRAFFIC (2 of its 8 shards are ours), bucket {bucket} can be written"
    ]


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"STREAMGAUGE_NATS_URL": "nats://127.0.0.1:1"}, 1, "STREAMGAUGE_NATS_URL"),
        ({"STREAMGAUGE_S3_ENDPOINT": "127.0.0.1:1"}, 1, "STREAMGAUGE_S3_ENDPOINT"),
        ({"STREAMGAUGE_BACKUP_SHARDS": "0,8"}, 2, "shard 8"),
        ({"STREAMGAUGE_BACKUP_DEDUPE_HOURS": "1"}, 2, "STREAMGAUGE_BACKUP_DEDUPE_HOURS=1"),
        ({"STREAMGAUGE_BACKUP_VERSIONING": "true"}, 2, "keeps no versions"),
    ],
)
def test_check_says_what_is_wrong(spawn_backup, settings, status, words):
    """An end that does not answer, or settings that do not fit the stream: one line, no traceback."""
    checked = spawn_backup("--check", **settings)
    _, errors = checked.communicate(timeout=90)
    said = [line for line in errors.splitlines() if line.startswith("streamgauge: ")]

    assert (checked.returncode, len(said)) == (status, 1), errors
    assert words in said[0]
    assert "Traceback" not in errors


async def test_sigterm_stores_what_is_in_hand(spawn_backup, nats_settings, s3_settings):
    """At SIGTERM the open object is stored and acknowledged before the program ends with status 0."""
    bus, store = Bus(nats_settings, "test"), Store(s3_settings)
    await bus.start()
    store.open()
    await bus.ensure_stream()
    process = spawn_backup(STREAMGAUGE_BACKUP_ROTATE_SECONDS="3600")
    await publish(bus.jetstream, 1)

    async def in_hand():
        info = await bus.jetstream.consumer_info("TRAFFIC", "backup-shard-03")
        return info.num_ack_pending == 1

    async def started():
        return "backup-shard-03" in {info.name for info in await bus.jetstream.consumers_info("TRAFFIC")}

    await eventually(started, within=60)
    await eventually(in_hand, within=60)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=90)
    info = await bus.jetstream.consumer_info("TRAFFIC", "backup-shard-03")

    assert process.returncode == 0, errors
    assert info.num_ack_pending == 0
    assert [table.num_rows for table in (await tables(store)).values()] == [100]
    await store.stop()
    await bus.stop()
