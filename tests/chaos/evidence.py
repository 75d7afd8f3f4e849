"""What a run leaves behind: the whole stream and every object, read back without the services; and what these say."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamgauge import codec, objects
from streamgauge.audit import take
from streamgauge.bus import Bus
from streamgauge.demo.scrape import Page, PageError, fetch
from streamgauge.ledger import LedgerRecord
from streamgauge.objects import Manifest
from streamgauge.store import Store
from streamgauge.subjects import Envelope
from tests.chaos import feed

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from tests.chaos.feed import Counts
    from tests.chaos.stand import Stand

    Boot = tuple[str, str]

_FETCH: Final = 256
#: Seconds the exporter may take to have read the last ledger records, and between two looks.
_EXPORTER_TIMEOUT, _POLL = 60.0, 0.5


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
    #: Frames that were lost before the live node could see them.
    undelivered: int = 0
    #: What ``streamgauge audit --deep`` finds, and what the exporter's page says against the ledger.
    audit: list[str] = field(default_factory=list)
    exporter: list[str] = field(default_factory=list)


async def collect(stand: Stand) -> Evidence:
    """Read everything back."""
    evidence = Evidence(undelivered=0 if stand.wire is None else stand.wire.undelivered)
    stream = stand.nats_settings.stream
    bus, store = Bus(stand.nats_settings, "chaos"), Store(stand.s3_settings)
    await bus.start()
    store.open()
    try:
        await _read_stream(bus, stream, evidence)
        await _read_bucket(store, evidence.stored)
        report = await take(store, bus, stream=stream, read_all=True)
        evidence.audit = [finding.what for finding in report.findings]
        if stand.exporter is not None:
            evidence.exporter = await _ask_exporter(stand.exporter_url, {node for node, _ in evidence.published})
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


async def _ask_exporter(url: str, nodes: set[str]) -> list[str]:
    """Return what the exporter's page says that contradicts a run that came out even."""
    wrong = ["the exporter does not answer"]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_EXPORTER_TIMEOUT):
            while wrong:
                with contextlib.suppress(PageError):
                    wrong = contradictions(Page(await asyncio.to_thread(fetch, url)), nodes)
                await asyncio.sleep(_POLL if wrong else 0)
    return wrong


def contradictions(page: Page, nodes: set[str]) -> list[str]:
    """Return nodes whose ledger the page does not have, or not as one that is closed and comes out even."""
    wrong = []
    for node in sorted(nodes):
        if page.total("ledger_decoded_packets_total", node=node) == 0:
            wrong.append(f"the exporter has no ledger of {node}")
        counts = {name: page.total(name, node=node) for name in ("ledger_imbalance_packets", "ledger_spooled_packets")}
        wrong += [f"the exporter shows {name} {count} of {node}" for name, count in counts.items() if count]
    return wrong


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
