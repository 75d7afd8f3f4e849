"""Reads the objects of a plan as rows in time order, over all shards and nodes.

Objects overlap in time, so rows are given out once no later object can begin before them. What is in memory is what
overlaps: at a time about one object a shard, and whatever came late.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streamgauge import schema
from streamgauge.errors import StoreError, one_line
from streamgauge.schema import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamgauge.restore.plan import Part, Plan, Selection
    from streamgauge.store import Store

#: Rows a table that is given out has at the most.
CHUNK_ROWS: Final = 262_144
#: Objects fetched ahead.
_AHEAD: Final = 2

_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
_WORDS: Final = pa.dictionary(pa.int8(), pa.string())


def at_rest_schema() -> pa.Schema:
    """Return the columns as objects have them: addresses as text, the origin as columns."""
    fields = [pa.field(column.name, _at_rest(column.kind, column.arrow_type)) for column in schema.COLUMNS]
    return pa.schema(fields + [pa.field(name, _TEXT) for name in schema.ORIGIN_COLUMNS])


def _at_rest(kind: Kind, wire: pa.DataType) -> pa.DataType:
    if kind in (Kind.IP, Kind.MAC):
        return _TEXT
    return _WORDS if kind is Kind.WORD else wire


async def read(store: Store, plan: Plan) -> AsyncIterator[pa.Table]:
    """Yield the rows of a plan in time order, in tables of at most ``CHUNK_ROWS`` rows.

    Raises:
        StoreError: an object cannot be read.

    """
    waiting: list[pa.Table] = []
    fetching: list[asyncio.Task[pa.Table]] = []
    parts = plan.parts
    try:
        for number, _ in enumerate(parts):
            while len(fetching) < _AHEAD + 1 and number + len(fetching) < len(parts):
                fetching.append(asyncio.ensure_future(_fetch(store, parts[number + len(fetching)], plan.selection)))
            waiting.append(await fetching.pop(0))
            until = parts[number + 1].first if number + 1 < len(parts) else None
            ready, waiting = await asyncio.to_thread(_split, waiting, until)
            for start in range(0, len(ready), CHUNK_ROWS):
                yield ready.slice(start, CHUNK_ROWS)
    finally:
        for task in fetching:
            task.cancel()


async def _fetch(store: Store, part: Part, selection: Selection) -> pa.Table:
    data = await store.get(part.stored.key)
    try:
        return await asyncio.to_thread(load, data, selection)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"{part.stored.key} cannot be read: {one_line(error)}; `streamgauge audit --deep` checks all"
        ) from error


def load(data: bytes, selection: Selection) -> pa.Table:
    """Return the chosen rows of one object, with the columns of this version."""
    table = pq.read_table(pa.BufferReader(data))
    times = table["time"].cast(pa.int64())
    chosen = pc.and_(pc.greater_equal(times, selection.since), pc.less(times, selection.until))
    if selection.node is not None:
        chosen = pc.and_(chosen, pc.equal(table["node"].cast(pa.string()), selection.node))
    table = table.filter(chosen)
    wanted = at_rest_schema()
    # An object of an older version of ours may lack columns.
    columns = [
        table[field.name].cast(field.type) if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def _split(waiting: list[pa.Table], until: int | None) -> tuple[pa.Table, list[pa.Table]]:
    """Return the rows before ``until`` in order, and the rest."""
    joined = pa.concat_tables(waiting).unify_dictionaries()
    if until is not None:
        early = pc.less(joined["time"].cast(pa.int64()), until)
        rest = joined.filter(pc.invert(early))
        joined = joined.filter(early)
        waiting = [rest] if len(rest) else []
    else:
        waiting = []
    # Stable, so that the packets of a flow with equal times keep their order.
    order = pc.sort_indices(joined, sort_keys=[("time", "ascending")])
    return joined.take(order).combine_chunks(), waiting
