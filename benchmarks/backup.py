"""Rows per second of the backup beside a plain loop, interleaved in one run: python -m benchmarks.backup [--rounds N]

Both read the same messages (a generated trace as a collector publishes it) from a real JetStream, into a real S3
server and into a store that takes everything at once, so that one sees who is the wall. The plain loop is what one
would write first: fetch, decode, pyarrow's ``write_table``, ``put_object``, acknowledge. It comes twice: writing the
columns as they are on the wire, and writing those the backup writes (addresses as text, origin, in time order).

Printed: medians of million rows per second, how many times as quick the backup is, CPU time per row (all threads of
this process), bytes per row at rest, and the largest resident memory of a run, with what those before it left behind.
Exit status 1: the backup is not twice as quick as the loop that stores the same columns, into either store, or takes
more than 20 bytes a row.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import io
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.trace import write_trace
from services.backup.metrics import BackupMetrics
from services.backup.service import Backup
from services.collector.batcher import Batcher
from streamgauge import codec, logs, text
from streamgauge.bus import Bus
from streamgauge.decode import Decoder
from streamgauge.decode.capture_file import open_capture
from streamgauge.embedded import NatsServer, S3Server
from streamgauge.lifecycle import Failure
from streamgauge.rows import Rows
from streamgauge.settings import BackupSettings, CollectorSettings, LogSettings, NatsSettings, S3Settings
from streamgauge.store import Store, StoredObject

#: Nodes that fall into different shards of eight.
NODES = ("node-a", "node-b", "node-c", "node-d")
OBJECT_ROWS = 1_000_000
LEAST_RATIO, MOST_BYTES = 2.0, 20.0
PENDING = 1 << 30  # bytes; four busy shards fill a large object each while another is stored


class NullStore(Store):
    """Takes every object at once: what is left is the work before it."""

    size = 0

    async def put(self, key: str, data: bytes | memoryview, **_: Any) -> StoredObject:
        """Count the bytes."""
        NullStore.size += len(data)
        return StoredObject(key, len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())


def messages(packets: int) -> list[tuple[str, bytes, dict[str, str], int]]:
    """Return the trace as messages (subject, payload, headers, rows), once for each node."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.pcap"
        write_trace(path, packets, 1)
        for node in NODES:
            found += _of_node(path, node)
    return found


def _of_node(path: Path, node: str) -> list[tuple[str, bytes, dict[str, str], int]]:
    settings = CollectorSettings(node=node)
    batcher = Batcher(settings, "boot-1", interface="eth0", largest_payload=lambda: 8 << 20)
    rows, decoder, made = Rows(batcher.window_rows), Decoder(), []
    with open_capture(path) as capture:
        for data, index, count in capture.blocks():
            at = 0
            while at < count:
                at += decoder.decode(data, index, at, count, rows)
                if at < count:
                    made += list(batcher.messages(rows))
                    rows.clear()
    made += list(batcher.messages(rows))
    return [(one.subject, one.payload, one.envelope.headers(), one.envelope.rows) for one in made]


class Bench:
    """One stream, several contestants."""

    def __init__(self, nats: NatsSettings, s3: S3Settings, rows: int) -> None:
        self.nats, self.s3, self.rows = nats, s3, rows
        # Each node fills whole objects: nobody waits for the rotation.
        self.object_rows = min(OBJECT_ROWS, rows // len(NODES))
        self.round = 0

    def store(self, *, null: bool) -> Store:
        """Return a store with a fresh bucket."""
        self.round += 1
        settings = self.s3.model_copy(update={"bucket": f"bench-{self.round:04}"})
        return (NullStore if null else Store)(settings, threads=4)

    async def backup(self, *, null: bool) -> tuple[float, int]:
        """Store the stream as the backup does; return seconds and bytes."""
        bus, store, metrics = Bus(self.nats, "backup"), self.store(null=null), BackupMetrics()
        await bus.start()
        await store.start()
        with contextlib.suppress(Exception):
            await bus.jetstream.delete_key_value("backup-TRAFFIC")
        settings = BackupSettings(rotate_rows=self.object_rows, rotate_seconds=60.0, pending_bytes=PENDING)
        backup = Backup(bus, store, settings, self.nats, metrics, Failure())
        NullStore.size = 0
        started = time.perf_counter()
        await backup.start()
        while sum(metrics.rows.get(node) for node in NODES) < self.rows:  # noqa: ASYNC110 counters have no event
            await asyncio.sleep(0.002)
        seconds = time.perf_counter() - started
        size = NullStore.size if null else sum(one.size for one in await store.list_all("summaries/"))
        await backup.stop()
        await store.stop()
        await bus.stop()
        return seconds, size

    async def plain(self, *, null: bool, alike: bool) -> tuple[float, int]:
        """Store the stream with the plain loop; return seconds and bytes."""
        bus, store = Bus(self.nats, "plain"), self.store(null=null)
        await bus.start()
        await store.start()
        started = time.perf_counter()
        subscription = await bus.jetstream.pull_subscribe("traffic.v1.*.*.*", stream="TRAFFIC")
        batches: list[pa.RecordBatch] = []
        taken: list[Any] = []
        rows = stored = size = number = 0
        while stored < self.rows:
            for message in await subscription.fetch(64, timeout=5):
                taken.append(message)
                batches.append(codec.decode(message.data))
                rows += len(batches[-1])
            if rows >= self.object_rows or stored + rows >= self.rows:
                content = _plain_object(batches, alike=alike)
                size, number = size + len(content), number + 1
                if not null:
                    store.client.put_object(store.bucket, f"plain/{number}.parquet", io.BytesIO(content), len(content))
                for message in taken:
                    await message.ack()
                stored, rows, batches, taken = stored + rows, 0, [], []
        seconds = time.perf_counter() - started
        await store.stop()
        await bus.stop()
        return seconds, size


def _plain_object(batches: list[pa.RecordBatch], *, alike: bool) -> bytes:
    if alike:
        readable = [text.readable(batch, time_as_integer=False) for batch in batches]
        table = pa.Table.from_batches(readable).unify_dictionaries().sort_by("time")
    else:
        table = pa.Table.from_batches([batch.replace_schema_metadata(None) for batch in batches])
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=262_144)
    return sink.getvalue()


async def measure(bench: Bench, rounds: int) -> bool:
    """Run all contestants in turn and print the medians; return whether the backup is what it has to be."""
    contestants = {
        "backup": bench.backup,
        "plain, same columns": lambda **where: bench.plain(alike=True, **where),
        "plain, wire columns": lambda **where: bench.plain(alike=False, **where),
    }
    results: dict[tuple[str, bool], list[tuple[float, float, int]]] = {}
    memory: dict[tuple[str, bool], int] = {}
    for number in range(rounds + 1):
        for null in (False, True):
            for name, run in contestants.items():
                before = time.process_time()
                forget_peak()
                seconds, size = await run(null=null)
                memory[name, null] = max(memory.get((name, null), 0), peak())
                # The first round only warms up: memory that is touched for the first time costs a fifth more.
                if number > 0:
                    results.setdefault((name, null), []).append((seconds, time.process_time() - before, size))
    print(f"{'':22}{'store':8}{'M rows/s':>10}{'backup is':>11}{'CPU ns/row':>12}{'B/row':>8}{'MiB':>8}")
    good = True
    for null in (False, True):
        own = statistics.median(seconds for seconds, _, _ in results["backup", null])
        for name in contestants:
            measured = results[name, null]
            seconds = statistics.median(one[0] for one in measured)
            cpu = statistics.median(one[1] for one in measured)
            print(
                f"{name:22}{'null' if null else 's3':8}{bench.rows / seconds / 1e6:10.2f}{seconds / own:10.2f}x"
                f"{cpu / bench.rows * 1e9:12.0f}{measured[0][2] / bench.rows:8.2f}{memory[name, null] >> 20:8}"
            )
            good &= not (name == "plain, same columns" and seconds / own < LEAST_RATIO)
            good &= not (name == "backup" and measured[0][2] / bench.rows > MOST_BYTES)
    print(f"at least {LEAST_RATIO:g}x the same columns, at most {MOST_BYTES:g} B/row: {'yes' if good else 'NO'}")
    return good


def forget_peak() -> None:
    """Begin to look for the largest resident memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the largest resident memory (bytes) since."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


async def run(packets: int, rounds: int) -> bool:
    """Fill a stream and measure; return whether all is well."""
    made = messages(packets)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with NatsServer(folder) as nats_server, S3Server(folder) as s3_server:
            nats = NatsSettings(url=nats_server.url, max_bytes=4 << 30)
            s3 = S3Settings(
                endpoint=s3_server.endpoint,
                secure=False,
                access_key=s3_server.access_key,
                secret_key=s3_server.secret_key,  # type: ignore[arg-type]
            )
            bus = Bus(nats, "fill")
            await bus.start()
            await bus.ensure_stream()
            for subject, payload, headers, _ in made:
                await bus.jetstream.publish(subject, payload, headers=headers)
            await bus.stop()
            rows = sum(one[3] for one in made)
            size = sum(len(one[1]) for one in made)
            print(f"{rows} rows in {len(made)} messages, {size / rows:.1f} B/row on the wire, {os.cpu_count()} cores")
            made.clear()
            return await measure(Bench(nats, s3, rows), rounds)


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--packets", type=int, default=1_000_000, help="packets of the trace; each of four nodes sends it"
    )
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    # The backup sets this for itself (services/backup/__init__.py), but here Arrow is loaded already. All gain by it.
    if "MIMALLOC_PURGE_DELAY" not in os.environ:
        os.environ["MIMALLOC_PURGE_DELAY"] = "10000"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.backup", *sys.argv[1:]])
    logs.set_up(LogSettings(level="warning", format="console"), service="benchmark")
    return 0 if asyncio.run(run(arguments.packets, arguments.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
