"""Objects as the backup writes them, without a backup."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa

from services.backup import parquet
from streamgauge.objects import Manifest, ObjectName, Predecessor, Seen, Share, partition_hour
from streamgauge.ranges import RangeSet
from tests.support import summaries

if TYPE_CHECKING:
    from streamgauge.store import Store

INCARNATION = "20261125T000000000000Z"


async def write_lane(store: Store, count: int) -> list[str]:
    """Store a chain of objects of one batch and row each; return their keys."""
    made: list[tuple[str, bytes]] = []
    previous = None
    batch = summaries.batch(1)
    table = pa.Table.from_batches([batch]).select(["time", "packets", "bytes"])
    for sequence in range(1, count + 1):
        share = Share("node-a", "boot-1")
        share.add(sequence, rows=1, packets=1, size=60, first_time=summaries.START, last_time=summaries.START)
        manifest = Manifest(
            kind="summaries",
            stream="TRAFFIC",
            stream_created="2026-11-25T00:00:00+00:00",
            first_sequence=sequence,
            last_sequence=sequence,
            shard=3,
            shards=8,
            shares=[share],
            seen={("node-a", "boot-1"): Seen(RangeSet([[1, sequence]]), sequence)},
            previous=previous,
        )
        data = bytes(parquet.write(table, manifest.metadata(), level=1, row_group_rows=1024))
        hour = partition_hour(summaries.START)
        key = ObjectName("summaries", INCARNATION, sequence, sequence, hour, 3).key
        previous = Predecessor(key, len(data), hashlib.md5(data, usedforsecurity=False).hexdigest(), 1, 1)
        made.append((key, data))
    await asyncio.gather(*(store.put(key, data) for key, data in made))
    return [key for key, _ in made]
