"""What a run leaves behind, read back without the services: the whole stream, and every object in the bucket."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamgauge import codec, objects
from streamgauge.bus import Bus
from streamgauge.ledger import LedgerRecord
from streamgauge.objects import Manifest
from streamgauge.store import Store
from streamgauge.subjects import Envelope
from tests.chaos import feed

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from streamgauge.settings import NatsSettings, S3Settings
    from tests.chaos.feed import Counts

    Boot = tuple[str, str]

_FETCH: Final = 256


@dataclass(slots=True)
class Published:
    """What stands in the stream of one node and boot."""

    #: Packets of the file in each batch, by sequence.
    batches: dict[int, Counts] = field(default_factory=dict)
    #: The last word of the ledger, in the stream's order: clocks may have been stepped.
    ledger: LedgerRecord | None = None

    @property
    def numbers(self) -> Counts:
        """The packets of the file in the order of the batches."""
        empty = np.zeros(0, dtype=np.int64)
        return np.concatenate([empty, *(self.batches[sequence] for sequence in sorted(self.batches))])


@dataclass(slots=True)
class Stored:
    """What the bucket holds."""

    #: By boot: how many objects claim a sequence, and packets by the footers.
    sequences: dict[Boot, Counter[int]] = field(default_factory=dict)
    packets: dict[Boot, int] = field(default_factory=dict)
    #: By node: how often each packet of the file is in a row, read from the rows themselves.
    rows: dict[str, Counts] = field(default_factory=dict)
    ledger_records: int = 0
    objects: int = 0
    quarantined: int = 0
    #: What contradicts itself within one object.
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Evidence:
    """Stream and bucket."""

    published: dict[Boot, Published] = field(default_factory=dict)
    stored: Stored = field(default_factory=Stored)
    #: Batches that stand more than once in the stream, messages of the ledger.
    repeated: int = 0
    ledger_messages: int = 0
    #: Messages the stream no longer has: then it proves nothing.
    discarded: int = 0


async def collect(nats: NatsSettings, s3: S3Settings) -> Evidence:
    """Read everything back."""
    evidence = Evidence()
    bus, store = Bus(nats, "chaos"), Store(s3)
    await bus.start()
    store.open()
    try:
        await _read_stream(bus, nats.stream, evidence)
        await _read_bucket(store, evidence.stored)
    finally:
        await store.stop()
        await bus.stop()
    return evidence


async def _read_stream(bus: Bus, stream: str, evidence: Evidence) -> None:
    state = (await bus.jetstream.stream_info(stream)).state
    evidence.discarded = max(0, state.first_seq - 1)
    subscription = await bus.jetstream.pull_subscribe("", stream=stream, durable="evidence")
    left = state.messages
    while left:
        for message in await subscription.fetch(min(left, _FETCH), timeout=30):
            left -= 1
            _note(message, evidence)
            await message.ack()


def _note(message: Msg, evidence: Evidence) -> None:
    if message.subject.startswith("ledger."):
        record = LedgerRecord.decode(message.data)
        evidence.published.setdefault((record.node, record.boot), Published()).ledger = record
        evidence.ledger_messages += 1
        return
    envelope = Envelope.from_headers(message.headers)
    boot = evidence.published.setdefault((envelope.node, envelope.boot), Published())
    if envelope.sequence in boot.batches:
        evidence.repeated += 1
    batch = codec.decode(message.data, envelope.content_type)
    boot.batches[envelope.sequence] = np.asarray(batch.column("tcp_seq")).astype(np.int64)


async def _read_bucket(store: Store, stored: Stored) -> None:
    for item in await store.list_all(objects.prefix("summaries")):
        stored.objects += 1
        with pa.BufferReader(await store.get(item.key)) as reader:
            read_object(item.key, pq.ParquetFile(reader), stored)
    for item in await store.list_all(objects.prefix("ledger")):
        with pa.BufferReader(await store.get(item.key)) as reader:
            stored.ledger_records += pq.read_metadata(reader).num_rows
    stored.quarantined = len(await store.list_all("quarantine/"))


def read_object(key: str, content: pq.ParquetFile, stored: Stored) -> None:
    """Add one object of summaries: what its footer claims, and what its rows hold."""
    manifest = Manifest.from_metadata(content.metadata.metadata)
    table = content.read(columns=["tcp_seq", "packets", "node"])
    if table.num_rows != manifest.rows:
        stored.faults.append(f"{key}: {table.num_rows} rows, the footer says {manifest.rows}")
    packets = np.asarray(table.column("packets")).astype(np.int64)
    numbers = np.asarray(table.column("tcp_seq")).astype(np.int64)
    nodes = np.asarray(table.column("node").cast(pa.string()))
    for node in sorted(set(nodes)):
        mine = nodes == node
        claimed = sum(share.packets for share in manifest.shares if share.node == node)
        if claimed != packets[mine].sum():
            stored.faults.append(f"{key}: {packets[mine].sum()} packets of {node}, the footer says {claimed}")
        counted = feed.counts(numbers[mine], packets[mine])
        stored.rows[node] = stored.rows.get(node, 0) + counted
    for share in manifest.shares:
        who = (share.node, share.boot)
        known = stored.sequences.setdefault(who, Counter())
        for first, last in share.sequences:
            known.update(range(first, last + 1))
        stored.packets[who] = stored.packets.get(who, 0) + share.packets
