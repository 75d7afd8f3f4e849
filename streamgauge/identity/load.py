"""Reads identities back from the bucket, for the packets of a window of time.

bindings = await load(store, since, until)                # one row a binding, as `bindings.fold` returns them
table = IdentityTable(to_list(bindings))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streamgauge import objects
from streamgauge.errors import PayloadError
from streamgauge.identity import bindings
from streamgauge.identity.events import STORED_SCHEMA
from streamgauge.objects import ObjectName

if TYPE_CHECKING:
    from streamgauge.store import Store

_HOUR: Final = 3600 * 10**9
#: Hours before the window that are read at first: a snapshot comes every hour.
_BEFORE: Final = 2
#: Hours behind it: events are published a little later than what they tell.
_BEHIND: Final = 1


async def load(store: Store, since: int, until: int) -> pa.Table:
    """Return who had which address in a window of time (ns UTC, both ends included).

    Objects are read from the last complete snapshots before ``since`` on; further back only where there is none.

    Raises:
        StoreError: the bucket cannot be read.
        PayloadError: an object is damaged, or of another version.

    """
    names = [ObjectName.parse(stored.key) for stored in await store.list_all(objects.prefix("identity"))]
    known = sorted(
        (name for name in names if name is not None), key=lambda name: (name.hour, name.incarnation, name.first)
    )
    last = objects.partition_hour(until + _BEHIND * _HOUR)
    known = [name for name in known if name.hour <= last]
    parts: list[pa.Table] = []
    hours = _BEFORE
    while True:
        first = objects.partition_hour(max(0, since - hours * _HOUR))
        wanted = [name for name in known if name.hour >= first]
        known = known[: len(known) - len(wanted)]
        parts = [*[await _read(store, name.key) for name in wanted], *parts]
        events = pa.concat_tables(parts) if parts else _PLAIN.empty_table()
        if not known or _is_complete(events, since):
            break
        hours *= 2
    return within(bindings.fold(events), since, until)


def within(table: pa.Table, since: int, until: int) -> pa.Table:
    """Return the bindings that held at some time in a window (ns UTC)."""
    begun = pc.less_equal(table.column("valid_from").cast(pa.int64()), until)
    held = pc.fill_null(pc.greater_equal(table.column("valid_to").cast(pa.int64()), since), True)
    return table.filter(pc.and_(begun, held))


#: As stored, without dictionaries: objects have different ones.
_PLAIN: Final = pa.schema(
    [
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in (STORED_SCHEMA.field(name) for name in STORED_SCHEMA.names)
    ]
)


async def _read(store: Store, key: str) -> pa.Table:
    try:
        table = pq.read_table(pa.BufferReader(await store.get(key)))
        return table.select(_PLAIN.names).cast(_PLAIN)
    except (pa.ArrowException, KeyError) as error:
        raise PayloadError(f"{key}: {error}") from error


def _is_complete(events: pa.Table, since: int) -> bool:
    """Return whether each cluster has a complete snapshot from before ``since``."""
    clusters = set(events.column("cluster").unique().to_pylist())
    rows = events.filter(pc.less_equal(events.column("snapshot").cast(pa.int64()), since))
    sizes = rows.group_by(["cluster", "snapshot"]).aggregate([("snapshot_size", "max"), ("ip", "count")])
    whole = np.asarray(sizes.column("ip_count")) >= np.asarray(sizes.column("snapshot_size_max"))
    return bool(clusters) and clusters <= set(sizes.filter(pa.array(whole)).column("cluster").to_pylist())
