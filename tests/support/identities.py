"""A bucket that tells who had which address."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from streamgauge.identity import load
from streamgauge.identity.bindings import to_list
from streamgauge.identity.events import STORED_SCHEMA
from streamgauge.objects import ObjectName, partition_hour


class Archive:
    """Puts events into the bucket, an object each."""

    def __init__(self, store):
        self.store = store
        self._sequence = 0

    async def put(self, event):
        self._sequence += 1
        table = pa.Table.from_pylist(event.rows(event.time), schema=STORED_SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        hour = partition_hour(event.time)
        name = ObjectName("identity", "20261125T000000000000Z", self._sequence, self._sequence, hour)
        await self.store.put(name.key, memoryview(sink.getvalue()), content_type="application/x-parquet")

    async def names(self, since, until):
        found = to_list(await load.load(self.store, since, until))
        return {each.name: (each.valid_from, each.valid_to) for each in found}
