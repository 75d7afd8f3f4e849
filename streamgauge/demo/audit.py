"""The end of a demo: what was captured, published, stored and counted, each from its own source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streamgauge import objects, subjects
from streamgauge.errors import BusError
from streamgauge.ledger import LedgerRecord

if TYPE_CHECKING:
    from streamgauge.bus import Bus
    from streamgauge.demo.scrape import Page
    from streamgauge.store import Store


@dataclass(frozen=True, slots=True)
class Stage:
    """What one part of the system says it had; None where it does not count that."""

    name: str
    source: str
    packets: int
    rows: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """All stages, in the order of the packets' way."""

    stages: tuple[Stage, ...]
    dropped: int
    evicted: int
    objects: int

    @property
    def balanced(self) -> bool:
        """Whether all stages agree, and had anything at all."""
        counts = {
            name: {getattr(stage, name) for stage in self.stages} - {None} for name in ("packets", "rows", "bytes")
        }
        return all(len(values) == 1 for values in counts.values()) and counts["packets"] != {0}


async def last_record(bus: Bus, stream: str, node: str) -> LedgerRecord:
    """Return the last word of the node's ledger, from the stream.

    Raises:
        BusError: there is none.

    """
    from nats.js.errors import NotFoundError

    try:
        message = await bus.jetstream.get_last_msg(stream, subjects.ledger(node))
    except NotFoundError as error:
        raise BusError(f"the collector wrote no ledger record for node {node}") from error
    return LedgerRecord.decode(message.data or b"")


async def count_bucket(store: Store) -> tuple[Stage, int]:
    """Read every stored object back and count it anew; return the counts and the number of objects."""
    packets = rows = size = number = 0
    for item in await store.list_all(objects.prefix("summaries")):
        table = pq.read_table(pa.BufferReader(await store.get(item.key)), columns=["packets", "bytes"])
        number += 1
        rows += table.num_rows
        packets += pc.sum(table.column("packets")).as_py() or 0
        size += pc.sum(table.column("bytes")).as_py() or 0
    return Stage("stored", f"{number} object{'s' * (number != 1)} read back", packets, rows, size), number


async def take(bus: Bus, store: Store, *, stream: str, node: str, exporter: Page | None, backup: Page | None) -> Audit:
    """Take the audit; the collector has ended, the rest has caught up."""
    ledger = await last_record(bus, stream, node)
    stored, number = await count_bucket(store)
    stages = [
        Stage("captured", "ledger", ledger.decoded),
        Stage("published", "ledger", ledger.published, ledger.published_rows, ledger.published_bytes),
        stored,
    ]
    if backup is not None:
        totals = [backup.total(f"stored_{what}_total") for what in ("packets", "rows", "bytes")]
        stages.append(Stage("stored", "metrics of the backup", *totals))
    if exporter is not None:
        totals = [exporter.total("packets_total"), exporter.total("bytes_total")]
        stages.append(Stage("counted", "metrics of the exporter", totals[0], None, totals[1]))
    return Audit(tuple(stages), ledger.kernel_dropped, ledger.evicted, number)
