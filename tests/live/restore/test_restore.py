"""What was stored comes back: rows in every format, packets, messages; and the drill that checks it."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import re
import struct

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from streamgauge import codec, drill, leases, schema, subjects, text
from streamgauge.bus import Bus
from streamgauge.cli.main import main
from streamgauge.encode import Origin, to_arrow
from streamgauge.errors import BusError, ConfigurationError, StoreError
from streamgauge.restore import make_plan, outputs, read
from streamgauge.restore.plan import Selection
from streamgauge.restore.replay import Replay
from streamgauge.restore.wire import batches
from streamgauge.rows import Rows
from streamgauge.subjects import Envelope
from tests.support.backup import Running
from tests.support.decoding import index_of
from tests.support.summaries import START, envelope, publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live


@pytest.fixture(name="running")
async def _running(nats_settings, s3_settings):
    one = await Running(nats_settings, s3_settings, rotate_rows=300, rotate_seconds=0.3).start()
    yield one
    await one.stop()


async def fill(running, batches=9, rows=100):
    """Store batches of two nodes; return the rows as text, in order of time."""
    made = []
    for sequence in range(1, batches + 1):
        node = f"node-{'ab'[sequence % 2]}"
        batch = await publish(running.bus.jetstream, sequence, rows=rows, node=node)
        made += text.readable(batch).to_pylist()
    await running.all_stored(batches * rows)
    return sorted(made, key=lambda row: row["time"])


async def restored(running, selection=None):
    plan = await make_plan(running.store, selection or Selection())
    return [table async for table in read(running.store, plan)]


async def test_rows_come_back_in_time_order(running):
    """All rows of all nodes and shards, as they were, in time order."""
    wanted = await fill(running)
    tables = await restored(running)
    found = [row for table in tables for row in outputs._with_integer_time(table).to_pylist()]

    assert found == wanted


async def test_only_the_window_and_the_node(running):
    """The window is half open; objects that only touch it give the rows inside."""
    wanted = await fill(running)
    since, until = START + 2_000_000, START + 5_000_050
    tables = await restored(running, Selection(since, until, "node-a"))
    found = [row for table in tables for row in outputs._with_integer_time(table).to_pylist()]

    assert found == [row for row in wanted if since <= row["time"] < until and row["node"] == "node-a"]


async def test_formats(running):
    """Parquet, NDJSON and CSV hold the same rows."""
    wanted = await fill(running, 3)
    tables = await restored(running)
    streams = {form: io.BytesIO() for form in ("parquet", "ndjson", "csv")}
    for form, stream in streams.items():
        output = outputs.open_output(form, stream)
        for table in tables:
            output.write(table)
        output.close()
    lines = [orjson.loads(line) for line in streams["ndjson"].getvalue().splitlines()]
    parquet = pq.read_table(pa.BufferReader(streams["parquet"].getvalue()))
    table = pyarrow.csv.read_csv(pa.BufferReader(streams["csv"].getvalue()))

    assert lines == [{name: value for name, value in row.items() if value is not None} for row in wanted]
    assert parquet["src_ip"].to_pylist() == table["src_ip"].to_pylist() == [row["src_ip"] for row in wanted]
    assert table["time"].to_pylist() == [row["time"] for row in wanted]
    assert parquet.schema.field("time").type == pa.timestamp("ns", "UTC")


async def test_what_someone_copied_comes_back_once(running):
    """An object that lies in the bucket twice gives its rows once; the audit says that it is there twice."""
    wanted = await fill(running)
    for stored in await running.store.list_all("summaries/"):
        copy = re.sub("hour=[0-9]+", "hour=00", stored.key)
        await running.store.put(copy, await running.store.get(stored.key))
    tables = await restored(running)

    assert sum(map(len, tables)) == len(wanted)


async def test_nothing_in_the_window(running):
    """An empty window gives files without rows, and a pcap says why there is none."""
    await fill(running, 1)
    tables = await restored(running, Selection(1, 2))
    for form in ("parquet", "ndjson", "csv"):
        outputs.open_output(form, io.BytesIO()).close()

    assert tables == []
    with pytest.raises(StoreError, match="STREAMGAUGE_COLLECTOR_FRAME_BYTES"):
        outputs.open_output("pcap", io.BytesIO()).close()


def frames():
    """Return a few Ethernet frames: UDP over IPv4 of growing length, some with a VLAN tag."""
    made = []
    for number in range(40):
        payload = bytes([number]) * (number * 20)
        udp = struct.pack("!HHHH", 1000 + number, 2000, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0, bytes(4), b"\x0a\0\0\1")
        tag = b"\x81\0\0\x07" if number % 5 == 0 else b""
        made.append(bytes(range(12)) + tag + b"\x08\0" + ip + udp)
    return made


@pytest.mark.parametrize("stripped", [False, True])
async def test_packets_come_back_byte_for_byte(running, stripped):
    """A pcap of frames that were kept equals the packets; the tag that the kernel takes out is in its place again."""
    from streamgauge.decode import Decoder

    packets = frames()
    rows, decoder = Rows(len(packets)), Decoder(frame_bytes=65535)
    for number, packet in enumerate(packets):
        tag, seen = -1, packet
        if stripped and packet[12:14] == b"\x81\0":
            tag, seen = 7, packet[:12] + packet[16:]
        data, index = index_of([seen], tag=tag)
        index.time[0] = START + number
        index.wire[0] = len(seen)
        decoder.decode(data, index, 0, 1, rows)
    batch = to_arrow(rows, Origin("node-a", "eth0"))
    headers = envelope(batch, 1).headers()
    await running.bus.jetstream.publish("traffic.v1.node-a.udp", codec.encode(batch), headers=headers)
    await running.all_stored(len(packets))
    stream = io.BytesIO()
    output = outputs.open_output("pcap", stream)
    for table in await restored(running):
        output.write(table)
    output.close()
    found = list(records(stream.getvalue()))

    assert [packet for _, packet in found] == packets
    assert [time for time, _ in found] == [START + number for number in range(len(packets))]


def records(data):
    """Yield time (ns) and bytes of each packet of a pcap file."""
    magic, _, _, _, _, _, link_type = struct.unpack_from("<IHHiIII", data)
    assert (magic, link_type) == (0xA1B23C4D, 1)
    at = 24
    while at < len(data):
        seconds, rest, length, wire = struct.unpack_from("<IIII", data, at)
        assert wire == length
        yield seconds * 10**9 + rest, data[at + 16 : at + 16 + length]
        at += 16 + length


async def test_back_on_the_wire(running):
    """Rows at rest become the batches they came from: packed addresses, class and origin."""
    made = [await publish(running.bus.jetstream, sequence, rows=50) for sequence in (1, 2)]
    await running.all_stored(100)
    (table,) = await restored(running)
    again = list(batches(table))

    assert [(batch.node, batch.interface, batch.traffic_class.token) for batch in again] == [
        ("node-a", "eth0", "other")
    ]
    assert again[0].rows.schema.equals(schema.arrow_schema())
    for column in schema.NAMES[:-3]:
        assert again[0].rows.column(column).to_pylist() == [
            value for one in made for value in one.column(column).to_pylist()
        ]


async def collect(bus, count):
    """Return what arrives under replay.v1, once it is ``count`` rows."""
    messages = []

    async def take(message):
        messages.append(message)

    await bus.client.subscribe("replay.v1.>", cb=take)
    await bus.client.flush()

    def rows():
        return sum(int(message.headers["Streamgauge-Rows"]) for message in messages)

    return messages, lambda: eventually(lambda: rows() >= count)


async def test_replay(running):
    """A replay publishes the rows with headers like live summaries, under subjects of its own."""
    wanted = await fill(running)
    messages, arrived = await collect(running.bus, 900)
    plan = await make_plan(running.store, Selection())
    done = await Replay(running.bus, running.store, plan, rate=None, resume=None, told=lambda _rows: None).run()
    await arrived()
    found = []
    for message in messages:
        read_back = Envelope.from_headers(message.headers)
        batch = codec.decode(message.data, subjects.ARROW)
        assert (len(batch), read_back.boot[:7]) == (read_back.rows, "replay-")
        found += text.readable(batch).to_pylist()

    assert (done.rows, done.packets) == (900, 900)
    assert sorted(found, key=lambda row: row["time"]) == wanted


async def test_replay_goes_on_where_it_stopped(running, tmp_path):
    """A replay that broke off goes on behind the last note, and not with another plan."""
    await fill(running)
    note = tmp_path / "replay.json"
    plan = await make_plan(running.store, Selection())
    first = Replay(running.bus, running.store, plan, rate=None, resume=note, told=lambda _rows: None)
    total = (await first.run()).batches
    noted = json.loads(note.read_text())
    note.write_text(json.dumps(noted | {"batches": total - 1}))
    second = Replay(running.bus, running.store, plan, rate=None, resume=note, told=lambda _rows: None)
    done = await second.run()
    other = await make_plan(running.store, Selection(START))

    assert (done.skipped, done.batches) == (total - 1, 1)
    with pytest.raises(ConfigurationError, match="another replay"):
        await Replay(running.bus, running.store, other, rate=None, resume=note, told=lambda _rows: None).run()


async def test_replay_that_was_interrupted_says_so(running, nats_server, tmp_path):
    """What was on its way when the server died may be lost: no success, and the note stays where it was certain."""
    await fill(running)
    note = tmp_path / "replay.json"
    plan = await make_plan(running.store, Selection())
    interrupted = False

    def interrupt(_rows):
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            nats_server.kill()
            nats_server.start()

    with pytest.raises(BusError, match=f"the same command goes on from {note}"):
        await Replay(running.bus, running.store, plan, rate=None, resume=note, told=interrupt).run()
    assert not note.exists()


@pytest.mark.parametrize(("rate", "seconds"), [(1.0, 0.8), (4.0, 0.2)])
async def test_replay_keeps_the_pace(running, rate, seconds):
    """At a rate the batches come as far apart as they were captured, divided by it."""
    # Two objects, 800 ms of capture time apart.
    for number, sequence in enumerate((1, 801), 1):
        await publish(running.bus.jetstream, sequence, rows=10)
        await running.all_stored(10 * number)
    messages, arrived = await collect(running.bus, 20)
    plan = await make_plan(running.store, Selection())
    loop = asyncio.get_running_loop()
    began = loop.time()
    await Replay(running.bus, running.store, plan, rate=rate, resume=None, told=lambda _rows: None).run()
    took = loop.time() - began
    await arrived()

    assert len(plan.parts) == len(messages) == 2
    assert took >= seconds - 0.01


async def test_drill(running, tmp_path):
    """A good drill says so; its note becomes the metric of the backup."""
    await fill(running)
    outcome = await drill.run(running.store, tmp_path, length=0.003, seed=5)
    await drill.publish(running.bus, "TRAFFIC", outcome)
    notes = await running.bus.jetstream.key_value("backup-TRAFFIC")

    assert outcome.good, outcome.differences
    assert outcome.rows > 0
    assert await drill.last_verified(notes) > 0


@pytest.mark.parametrize("note", [b"", b"yesterday", b"[]", b"{}", b'{"verified":null}', b'{"verified":"x"}'])
async def test_a_note_that_nobody_can_read(nats_settings, note):
    """It is no drill; and above all it does not stop the backup, which looks at it."""
    bus = Bus(nats_settings, "test")
    await bus.start()
    await bus.ensure_stream()
    notes = await leases.open_notes(bus.jetstream, "TRAFFIC", replicas=1)
    await notes.put(drill.NOTE, note)

    assert await drill.last_verified(notes) == 0.0
    await bus.stop()


async def test_drill_passes_over_days_that_hold_nothing(running, tmp_path):
    """Some servers keep the folders of what expired, and other programs leave theirs."""
    await fill(running, 3)
    for day in range(1, 9):
        await running.store.put(f"summaries/v1/date=2026-01-0{day}/marker", b"", content_type="text/plain")
    await running.store.put("summaries/v1/_temporary/part", b"", content_type="text/plain")
    outcome = await drill.run(running.store, tmp_path, length=3600, seed=1)

    assert outcome.good, outcome.differences
    assert outcome.rows > 0


async def test_drill_finds_what_is_wrong(running, tmp_path):
    """When an object lost rows behind the back of its footer, the drill says for which node."""
    await fill(running, 3)
    (stored, *_) = await running.store.list_all("summaries/")
    data = await running.store.get(stored.key)
    table = pq.read_table(pa.BufferReader(data))
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table.slice(7))
        writer.add_key_value_metadata(dict(pq.read_metadata(pa.BufferReader(data)).metadata))
    running.store.client.put_object(running.store.bucket, stored.key, io.BytesIO(sink.getvalue()), len(sink.getvalue()))
    # Not every window reaches into that object.
    outcomes = [await drill.run(running.store, tmp_path, length=3600, seed=seed) for seed in range(8)]
    wrong = [outcome for outcome in outcomes if not outcome.good]

    assert wrong
    assert all(any("rows" in difference for difference in outcome.differences) for outcome in wrong)


def name_bucket(monkeypatch, s3_settings):
    monkeypatch.setenv("STREAMGAUGE_S3_ENDPOINT", s3_settings.endpoint)
    monkeypatch.setenv("STREAMGAUGE_S3_SECURE", "false")
    monkeypatch.setenv("STREAMGAUGE_S3_ACCESS_KEY", s3_settings.access_key)
    monkeypatch.setenv("STREAMGAUGE_S3_SECRET_KEY", s3_settings.secret_key.get_secret_value())
    monkeypatch.setenv("STREAMGAUGE_S3_BUCKET", s3_settings.bucket)


async def test_a_damaged_object_ends_it_in_one_line(running, s3_settings, tmp_path, monkeypatch, capsys):
    """No half file that looks whole, what was there before stays; no traceback, one line that names the object."""
    for sequence in (1, 801):
        await publish(running.bus.jetstream, sequence, rows=300)
        await running.all_stored(300 * (1 + sequence // 800))
    stored = (await running.store.list_all("summaries/"))[-1]
    data = bytearray(await running.store.get(stored.key))
    data[4:1000] = bytes(996)  # pages, not the footer
    running.store.client.put_object(running.store.bucket, stored.key, io.BytesIO(bytes(data)), len(data))
    name_bucket(monkeypatch, s3_settings)
    before = tmp_path / "rows.csv"
    before.write_text("of yesterday")
    for form in ("parquet", "ndjson", "csv"):
        path = tmp_path / f"rows.{form}"
        status = await asyncio.to_thread(main, ["restore", "--format", form, "--output", str(path)])
        gc.collect()
        said = capsys.readouterr().err

        assert status == 1
        assert said.startswith(f"streamgauge: {stored.key} cannot be read"), said
        assert len(said.splitlines()) == 1, said
    assert list(tmp_path.iterdir()) == [before]
    assert before.read_text() == "of yesterday"


def test_commands(nats_server, s3_server, s3_settings, monkeypatch, capsys):
    """Wrong usage is one line and status 2, an absent bucket status 1."""
    monkeypatch.setenv("STREAMGAUGE_NATS_URL", nats_server.url)
    name_bucket(monkeypatch, s3_settings)

    assert main(["restore", "--format", "xml"]) == 2
    assert main(["restore", "--rate", "fast"]) == 2
    assert main(["restore", "--to", "kafka"]) == 2
    assert main(["restore", "--resume", "note.json"]) == 2
    assert main(["restore", "--to", "nats", "--output", "rows.csv"]) == 2
    assert main(["restore", "--link-type", "raw"]) == 2
    assert main(["restore", "--reach-days", "inf"]) == 2
    assert main(["drill", "--minutes", "inf"]) == 2
    assert main(["restore"]) == 1
    assert main(["drill", "--offline"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 10


def test_at_rest_columns_are_the_schema():
    """Every column of the record and the origin comes back."""
    from streamgauge.restore.read import at_rest_schema

    assert tuple(at_rest_schema().names) == schema.NAMES
