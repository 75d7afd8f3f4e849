"""From the stream to objects, on a real nats-server and a real S3 server."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.backup import table
from streamgauge import codec, footers, subjects, text
from streamgauge.identity import bindings
from streamgauge.identity.events import STORED_SCHEMA, Binding, Event
from streamgauge.ledger import LedgerRecord
from streamgauge.objects import ObjectName
from tests.support.backup import rows, tables
from tests.support.summaries import START, batch, envelope, publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live


async def test_rows_come_back_as_they_were_published(run):
    """Each row published is in the bucket once, in time order, with addresses as text and the origin as columns."""
    one = await run()
    published = [await publish(one.bus.jetstream, sequence) for sequence in (2, 1, 3)]

    await one.all_stored(300)
    stored = await rows(one.store)

    expected = [
        row
        for batch in sorted(published, key=lambda made: made[0][0].as_py())
        for row in text.readable(batch, time_as_integer=False).to_pylist()
    ]
    assert expected == stored


@pytest.mark.parametrize("content_type", [subjects.ARROW, subjects.NDJSON])
async def test_both_encodings_are_stored_alike(run, content_type):
    """NDJSON and Arrow batches become the same columns."""
    one = await run()
    published = await publish(one.bus.jetstream, 1, content_type=content_type)

    await one.all_stored(100)
    (table,) = (await tables(one.store)).values()

    expected = text.readable(published, time_as_integer=False).column("src_ip").to_pylist()
    assert expected == table.sort_by("time")["src_ip"].to_pylist()
    assert pa.timestamp("ns", "UTC") == table.schema.field("time").type


async def test_name_partition_and_footer(run):
    """The name says hour, shard, stream and sequences; the footer which batches of which node and boot are inside."""
    one = await run(rotate_seconds=0.5)
    for sequence in (1, 2, 4):
        await publish(one.bus.jetstream, sequence)
    await one.all_stored(300)

    (stored,) = await one.store.list_all("summaries/")
    name = ObjectName.parse(stored.key)
    footer = await footers.read(one.store, stored)

    assert name is not None
    assert stored.key == name.key
    assert datetime(2025, 11, 25, 14, tzinfo=UTC) == name.hour
    assert (name.first, name.last) == (1, 3)
    (share,) = footer.manifest.shares
    assert (share.node, share.boot, share.sequences.to_list()) == ("node-a", "boot-1", [[1, 2], [4, 4]])
    assert (share.rows, share.packets, share.first_time) == (300, 300, START + 1_000_000)
    assert footer.rows == 300
    assert footer.manifest.seen["node-a", "boot-1"].sequences.to_list() == [[1, 2], [4, 4]]


async def test_each_object_names_the_one_before(run):
    """The footers of a shard form a chain: key, size and MD5 of the predecessor."""
    one = await run()
    await publish(one.bus.jetstream, 1)
    await one.all_stored(100)
    await publish(one.bus.jetstream, 2)
    await one.all_stored(200)

    first, second = await one.store.list_all("summaries/")
    previous = (await footers.read(one.store, second)).manifest.previous

    assert previous is not None
    assert (first.key, first.size, first.etag) == (previous.key, previous.size, previous.md5)


async def test_metrics_agree_with_what_is_stored(run):
    """Rows, packets and bytes by node; nothing is held, and everything is acknowledged."""
    one = await run()
    published = await publish(one.bus.jetstream, 1)
    await one.all_stored(100)

    async def acknowledged():
        infos = await one.bus.jetstream.consumers_info("TRAFFIC")
        return all(info.num_ack_pending == 0 and info.num_pending == 0 for info in infos)

    await eventually(acknowledged)
    await eventually(lambda: one.metrics.objects.get("summaries") == 1)
    page = one.metrics.page.render().decode()

    assert 100 == one.metrics.rows.get("node-a") == one.metrics.packets.get("node-a")
    assert sum(published.column("bytes").to_pylist()) == one.metrics.bytes.get("node-a")
    assert "streamgauge_backup_oldest_unstored_seconds 0.0" in page
    assert 'streamgauge_backup_pending_messages{lane="shard-03"} 0.0' in page


async def test_ledger_and_identity_are_kept_too(run):
    """Ledger records and identity events become objects of their own."""
    one = await run()
    record = LedgerRecord("node-a", "boot-1", "eth0", time.time_ns(), "tick", kernel_received=7, decoded=7, published=7)
    await one.bus.jetstream.publish("ledger.v1.node-a", record.encode())
    pod = Binding("10.0.0.1", "pod", "u1", "shop", "web-1", "web", "Deployment", "node-a", False, 5_000)
    node = Binding("10.1.0.1", "node", "u2", "", "node-a", "node-a", "Node", "node-a", False, 1, 7_000)
    await one.bus.jetstream.publish("identity.v1.home", Event("home", 6_000, (pod, node), 6_000, 2).encode())
    await one.bus.jetstream.publish("identity.v1.home", b'{"ip":"10.0.0.1"}')
    await one.bus.jetstream.publish("identity.v1.away", Event("home", 6_000, (pod,)).encode())

    ledger = await eventually(lambda: tables(one.store, "ledger"))
    identity = await eventually(lambda: tables(one.store, "identity"))

    (row,) = next(iter(ledger.values())).drop(["time"]).to_pylist()
    assert (row["node"], row["reason"], row["published"], row["kernel_received"]) == ("node-a", "tick", 7, 7)
    (events,) = identity.values()
    assert events.schema.names == STORED_SCHEMA.names
    assert {"home"} == set(events["cluster"].to_pylist())
    assert [pod, node] == bindings.to_list(bindings.fold(events))
    # What is no event, and what is another cluster's, is kept aside.
    assert len(await eventually(lambda: one.store.list_all("quarantine/"))) == 2


async def test_what_cannot_be_read_goes_into_quarantine(run):
    """A message with no headers, a damaged payload and a ledger record that is none: kept, counted, acknowledged."""
    one = await run()
    made = await publish(one.bus.jetstream, 1)
    await one.bus.jetstream.publish("traffic.v1.node-a.tcp", b"junk")
    await one.bus.jetstream.publish("traffic.v1.node-a.tcp", b"junk", headers=envelope(made, 2).headers())
    await one.bus.jetstream.publish("ledger.v1.node-a", b"{}")
    await publish(one.bus.jetstream, 3)
    await one.all_stored(200)

    kept = await eventually(lambda: _quarantine(one, 3))
    (newest, *_) = sorted(await one.store.list_all("summaries/"), key=lambda stored: stored.key, reverse=True)
    footer = await footers.read(one.store, newest)

    assert any("no Arrow stream" in reason for reason in kept)
    assert one.metrics.quarantined.get() == 3
    assert footer.manifest.seen["node-a", "boot-1"].sequences.to_list() == [[1, 3]]


async def test_no_message_stops_a_shard(run):
    """Headers and contents that are well formed and mean mischief: in quarantine, and what comes behind is stored."""
    one = await run()
    made = batch(10)
    headers = envelope(made, 1).headers()
    position = made.schema.get_field_index("time")
    nulls = made.set_column(position, made.schema.field("time"), pa.nulls(10, made.schema.field("time").type))
    send = one.bus.jetstream.publish
    await send("traffic.v1.node-a.tcp", b"", headers={"Status": "404"})
    await send("traffic.v1.node-a.tcp", b"x", headers={"Status": "100", "Description": "Idle Heartbeat"})
    for number, change in enumerate(({"Sequence": "9" * 30}, {"Sequence": "--1"}, {"Packets": "9" * 30}), 1):
        changed = {f"Streamgauge-{name}": value for name, value in change.items()}
        await send("traffic.v1.node-a.tcp", b"x", headers=headers | changed | {"Nats-Msg-Id": f"bad-{number}"})
    await send("traffic.v1.node-a.tcp", codec.encode(nulls), headers=envelope(made, 2).headers())
    line = codec.encode_ndjson(batch(1)).replace(b"{", b'{"src_mac":5,')
    await send("traffic.v1.node-a.tcp", line, headers=envelope(batch(1), 3, content_type=subjects.NDJSON).headers())
    record = orjson.loads(LedgerRecord("node-a", "boot-1", "eth0", 1, "tick").encode())
    await send("ledger.v1.node-a", orjson.dumps(record | {"published": True}))
    await publish(one.bus.jetstream, 4)
    await one.all_stored(100)

    assert len(await eventually(lambda: _quarantine(one, 8))) == 8
    assert one.failure.error is None


async def test_what_no_client_would_write_stops_no_shard(run, nats_server):
    """Subjects and headers that are no text, or cut off, as anybody may send them who can open a socket."""
    one = await run()
    subjects_sent = (b"traffic.v1.\xff\xfe.tcp", b"traffic.v1.node\x0ba.tcp", b"traffic.v1.node\x0ca.tcp")
    heads = (b"NATS/1.0", b"\xff\xfe", b"NATS/1.0 \xff\xff\xff\r\n\r\n", b"NATS/1.0 404 \xff\r\n\r\n")
    lines = [b"PUB %b 1\r\nx" % subject for subject in subjects_sent]
    lines += [b"HPUB %b %d %d\r\n%bx" % (subjects_sent[1], len(head), len(head) + 1, head) for head in heads]
    with socket.create_connection(("127.0.0.1", nats_server.port)) as raw:
        raw.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
        raw.sendall(b"".join(line + b"\r\n" for line in lines) + b"PING\r\n")
        await publish(one.bus.jetstream, 1)
        await one.all_stored(100)

    assert len(await eventually(lambda: _quarantine(one, len(lines)))) == len(lines)
    assert one.failure.error is None
    assert one.bus.disconnects == 0


async def test_a_batch_that_breaks_the_encoder(run, monkeypatch):
    """What passes every check and fits into no object is found among the others, and goes into quarantine alone."""
    encode = table.build

    def break_at_seven(decoded, order):
        if any(envelope.sequence == 7 for envelope, _ in decoded.batches):
            raise RuntimeError("does not fit")
        return encode(decoded, order)

    monkeypatch.setattr("services.backup.table.build", break_at_seven)
    one = await run(rotate_seconds=1.0)
    for sequence in (6, 7, 8):
        await publish(one.bus.jetstream, sequence)
    await one.all_stored(200)
    (reason,) = await eventually(lambda: _quarantine(one, 1))
    (stored,) = await one.store.list_all("summaries/")
    manifest = (await footers.read(one.store, stored)).manifest

    assert reason == "it cannot be stored: RuntimeError: does not fit"
    assert [named[:4] for named in manifest.quarantined] == [["node-a", "boot-1", 7, 100]]
    assert one.failure.error is None


async def _quarantine(one, count):
    found = await one.store.list_all("quarantine/")
    return len(found) == count and [orjson.loads(await one.store.get(stored.key))["reason"] for stored in found]


async def test_others_read_it_without_us(run, tmp_path):
    """The columns are plain Parquet: no extension types, dictionaries only as an encoding."""
    one = await run()
    await publish(one.bus.jetstream, 1)
    await one.all_stored(100)
    (stored,) = await one.store.list_all("summaries/")
    metadata = pq.read_metadata(pa.BufferReader(await one.store.get(stored.key)))
    column = {
        metadata.schema.column(index).name: metadata.schema.column(index) for index in range(metadata.num_columns)
    }

    assert column["src_ip"].logical_type.type.title() == "String"
    assert column["time"].physical_type == "INT64"
