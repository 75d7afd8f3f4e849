"""The audit names exactly what was done to the data."""

from __future__ import annotations

import io
import time
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import urllib3

from streamgauge import objects
from streamgauge.audit import Window, take
from streamgauge.cli.main import main
from streamgauge.ledger import LedgerRecord
from streamgauge.restore import make_plan
from streamgauge.restore.plan import Selection
from streamgauge.store import Store
from tests.support.backup import Running
from tests.support.objects import write_lane
from tests.support.summaries import publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live

ROWS = 10


class Case:
    """A backup that has stored some objects of ten batches each, and the ledger that goes with them."""

    def __init__(self, running):
        self.running = running
        self.store = running.store
        self.batches = 0

    async def stored(self, count=3):
        for _ in range(count):
            for _ in range(10):
                self.batches += 1
                await publish(self.running.bus.jetstream, self.batches, rows=ROWS)
            await self.running.all_stored(self.batches * ROWS)

    async def ledger(self, **values):
        packets = self.batches * ROWS
        counts = {"kernel_received": packets, "decoded": packets, "published": packets, "sequence": self.batches}
        record = LedgerRecord(
            "node-a", "boot-1", "eth0", time.time_ns(), values.pop("reason", "stop"), **counts | values
        )
        await self.running.bus.jetstream.publish("ledger.v1.node-a", record.encode())

    async def keys(self):
        found = await self.store.list_all("summaries/")
        return sorted((stored.key for stored in found), key=lambda key: objects.ObjectName.parse(key).first)

    async def audit(self, **options):
        return await take(self.store, self.running.bus, stream="TRAFFIC", **options)


@pytest.fixture(name="case")
async def _case(nats_settings, s3_settings):
    running = await Running(nats_settings, s3_settings, rotate_rows=10 * ROWS, rotate_seconds=0.5).start()
    yield Case(running)
    await running.stop()


async def test_all_is_there(case):
    """What was published is stored: no finding, the account adds up."""
    await case.stored()
    await case.ledger()
    report = await case.audit(read_all=True)

    assert report.findings == []
    (account,) = report.accounts
    assert (account.published, account.stored, account.difference, account.closed) == (300, 300, 0, True)


async def test_what_waits_in_jetstream_is_not_missing(case):
    """Batches that are published and not stored yet count as waiting."""
    await case.stored(1)
    await case.running.backup.stop()
    for sequence in (11, 12):
        await publish(case.running.bus.jetstream, sequence, rows=ROWS)
    case.batches = 12
    await case.ledger()
    report = await case.audit()

    assert report.findings == []
    assert (report.accounts[0].stored, report.accounts[0].waiting) == (100, 20)


async def test_an_object_deleted(case):
    """An object in the middle that is deleted is named, with node, boot and batches."""
    await case.stored()
    await case.ledger()
    _, victim, _ = await case.keys()
    await case.store.remove(victim)
    (finding,) = (await case.audit()).findings

    assert (finding.stage, finding.key, finding.node, finding.boot) == ("bucket", victim, "node-a", "boot-1")
    assert (finding.sequences, finding.packets) == (((11, 20),), 100)


async def test_the_newest_object_deleted(case):
    """The newest object has no successor: the backup's notes and acknowledgements tell that it is gone."""
    await case.stored()
    await case.ledger()
    victim = (await case.keys())[-1]
    await case.store.remove(victim)
    findings = (await case.audit()).findings

    assert [finding.key for finding in findings if finding.key] == [victim]
    assert {finding.sequences for finding in findings if finding.sequences} == {((21, 30),)}


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_row_removed_by_hand(case, position):
    """Someone drops a row of an object and writes it back with our footer: the object and the count are named."""
    await case.stored()
    await case.ledger()
    victim = (await case.keys())[position]
    data = await case.store.get(victim)
    table = pq.read_table(pa.BufferReader(data))
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table.slice(1))
        writer.add_key_value_metadata(dict(pq.read_metadata(pa.BufferReader(data)).metadata))
    case.store.client.put_object(case.store.bucket, victim, io.BytesIO(sink.getvalue()), len(sink.getvalue()))
    findings = (await case.audit()).findings

    assert {finding.key for finding in findings} == {victim}
    assert any("1 rows were removed" in finding.what for finding in findings)


async def test_an_object_rewritten_without_our_footer(case):
    """An object without a manifest is named, and the batches nobody can vouch for."""
    await case.stored()
    await case.ledger()
    victim = (await case.keys())[1]
    sink = io.BytesIO()
    pq.write_table(pq.read_table(pa.BufferReader(await case.store.get(victim))).slice(1), sink)
    case.store.client.put_object(case.store.bucket, victim, io.BytesIO(sink.getvalue()), len(sink.getvalue()))
    findings = (await case.audit()).findings

    assert victim in {finding.key for finding in findings}
    assert {finding.sequences for finding in findings if finding.sequences} == {((11, 20),)}


async def test_a_bit_that_flipped(case):
    """``--deep`` finds a changed byte that leaves size, footer and listing alone."""
    await case.stored(2)
    await case.ledger()
    victim = (await case.keys())[0]
    data = bytearray(await case.store.get(victim))
    data[len(data) // 3] ^= 1
    found = case.store.client.stat_object(case.store.bucket, victim)
    headers = {"x-amz-meta-md5": found.metadata["x-amz-meta-md5"]}
    case.store.client._put_object(case.store.bucket, victim, bytes(data), headers)
    report = await case.audit(read_all=True)

    assert any("its content has MD5" in finding.what and finding.key == victim for finding in report.findings)


async def test_lost_in_jetstream(case):
    """Batches that were acknowledged to the collector and purged before they were stored: stage jetstream."""
    await case.stored(1)
    await case.running.backup.stop()
    for sequence in (11, 12):
        await publish(case.running.bus.jetstream, sequence, rows=ROWS)
    case.batches = 12
    await case.running.bus.jetstream.purge_stream("TRAFFIC")
    await case.ledger()
    (finding,) = (await case.audit()).findings

    assert (finding.stage, finding.node, finding.boot) == ("jetstream", "node-a", "boot-1")
    assert (finding.sequences, finding.packets) == (((11, 12),), 20)


@pytest.mark.parametrize(("reason", "loss"), [("stop", "evicted"), ("recovered", "crashed")])
async def test_a_loss_with_a_name(case, reason, loss):
    """Batches that the ledger calls evicted, or gone with a killed collector, are no finding."""
    await case.stored(1)
    case.batches = 12
    await case.ledger(reason=reason, decoded=120, published=100, **{loss: 20})
    report = await case.audit()

    assert report.findings == []
    assert getattr(report.accounts[0], loss) == 20


async def test_packets_without_a_name(case):
    """Packets that were received and are in no column of the ledger: stage capture or collector."""
    await case.stored(1)
    await case.ledger(kernel_received=105, decoded=103)
    findings = (await case.audit()).findings

    assert {(finding.stage, finding.packets) for finding in findings} == {("capture", 2), ("collector", 3)}


async def test_a_window(case):
    """Only what belongs to the window is judged; outside it an object may be missing."""
    await case.stored()
    await case.ledger()
    await case.store.remove((await case.keys())[1])
    day = 86_400 * 10**9
    report = await case.audit(window=Window(time.time_ns() - day, time.time_ns() + day))

    assert report.objects == 0
    assert report.findings == []


async def test_what_others_left_beside_the_objects(case):
    """Folders, files and messages of others are none of ours: passed over by audit, restore and drill."""
    await case.stored(1)
    await case.ledger()
    for key in ("summaries/v1/_temporary/0/part", "ledger/v1/_temporary/part", "quarantine/v1/readme.txt"):
        await case.store.put(key, b"not ours", content_type="text/plain")
    await case.running.bus.jetstream.publish("traffic.v1.node-a.unheard-of", b"not ours")
    await case.running.bus.jetstream.publish("traffic.v1.node-a.unheard-of", b"", headers={"Status": "404"})
    report = await case.audit()
    plan = await make_plan(case.store, Selection(1))

    assert (report.findings, report.objects, report.rows) == ([], 1, 100)
    assert plan.rows == 100


async def test_a_damaged_ledger_object(case):
    """A ledger object that cannot be read is named, and the rest is judged all the same."""
    await case.stored(1)
    await case.ledger()
    await eventually(lambda: case.store.list_all("ledger/"))
    (stored,) = await case.store.list_all("ledger/")
    await case.store.put(stored.key, b"PAR1 damaged PAR1", content_type="text/plain")
    report = await case.audit()

    assert [(finding.stage, finding.key) for finding in report.findings] == [("bucket", stored.key)]
    assert (report.objects, report.accounts[0].stored) == (1, 100)


async def test_a_thousand_objects_by_their_footers(s3_settings, monkeypatch):
    """One small read an object, however many there are, and the one that is missing is found.

    How long that takes is measured by `python -m tests.chaos.figures`.
    """
    store = Store(s3_settings, threads=32)
    await store.start()
    keys = await write_lane(store, 1000)
    await store.remove(keys[500])
    asked = Counter()
    request = urllib3.PoolManager.urlopen

    def count(pool, method, url, *arguments, **options):
        kind = "read" if "Range" in (options.get("headers") or {}) else f"{method} {'list' if '?' in url else 'one'}"
        asked[kind] += 1
        return request(pool, method, url, *arguments, **options)

    monkeypatch.setattr(urllib3.PoolManager, "urlopen", count)
    report = await take(store, None, stream="TRAFFIC")
    (finding,) = report.findings
    await store.stop()

    assert (report.objects, finding.key, finding.sequences) == (999, keys[500], ((501, 501),))
    assert asked["read"] == 999
    # The listings, the newest object, the missing one: no more than if there were ten.
    assert asked.total() - asked["read"] <= 10, asked


def test_commands(nats_server, s3_settings, monkeypatch, capsys):
    """A missing bucket, an absent server and a wrong time are one line each with the right status."""
    monkeypatch.setenv("STREAMGAUGE_NATS_URL", nats_server.url)
    monkeypatch.setenv("STREAMGAUGE_S3_ENDPOINT", s3_settings.endpoint)
    monkeypatch.setenv("STREAMGAUGE_S3_SECURE", "false")
    monkeypatch.setenv("STREAMGAUGE_S3_ACCESS_KEY", s3_settings.access_key)
    monkeypatch.setenv("STREAMGAUGE_S3_SECRET_KEY", s3_settings.secret_key.get_secret_value())
    monkeypatch.setenv("STREAMGAUGE_S3_BUCKET", s3_settings.bucket)

    assert main(["audit", "--since", "yesterday"]) == 2
    assert main(["audit", "--since", "1h", "--until", "2h"]) == 2
    assert main(["audit"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "--since 'yesterday' is no time" in said[0]
    assert "does not exist" in said[2]
