"""From stored events to bindings: one line a binding, with when it began and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streamgauge.identity.events import STORED_SCHEMA, Binding

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Columns of a binding, as ``fold`` returns them: those of an event without what is about the event.
COLUMNS: Final = (
    *("cluster", "ip", "object", "uid", "namespace", "name", "workload", "workload_kind", "node", "host_network"),
    *("valid_from", "valid_to"),
)

BINDINGS_SCHEMA: Final = pa.schema(
    [
        pa.field(name, pa.string() if pa.types.is_dictionary(field.type) else field.type, field.nullable)
        for name in COLUMNS
        for field in (STORED_SCHEMA.field(name),)
    ]
)


def fold(events: pa.Table) -> pa.Table:
    """Return one row a binding (``BINDINGS_SCHEMA``) of event rows (``STORED_SCHEMA``, in the order of the stream).

    The last row of a binding counts. One that still holds by its last row, and is not in a complete snapshot that came
    behind that row, ended when the snapshot was taken.
    """
    order = np.argsort(_integers(events.column("stored")), kind="stable")
    events = events.take(pa.array(order))
    rows = len(events)
    if rows == 0:
        return BINDINGS_SCHEMA.empty_table()
    binding = _codes(events, "cluster", "uid", "ip")
    last = np.zeros(int(binding.max()) + 1, np.int64)
    last[binding] = np.arange(rows)
    last.sort()
    chosen = events.take(pa.array(last))
    ends = _integers(chosen.column("valid_to"), -1)
    clusters = _codes(events, "cluster")
    for cluster, first_row, taken in _complete_snapshots(events, clusters):
        ended = (ends == -1) & (last < first_row) & (clusters[last] == cluster)
        ends[ended] = taken
    columns: list[pa.Array] = []
    for field in BINDINGS_SCHEMA:
        values = chosen.column(field.name).combine_chunks()
        if field.name == "valid_to":
            values = pa.array(ends, pa.int64(), mask=ends == -1)
        columns.append(values.cast(field.type))
    return pa.Table.from_arrays(columns, schema=BINDINGS_SCHEMA)


def to_table(bindings: Iterable[Binding], cluster: str) -> pa.Table:
    """Return bindings as ``fold`` does."""
    rows = [{"cluster": cluster, **{name: getattr(each, name) for name in COLUMNS[1:]}} for each in bindings]
    return pa.Table.from_pylist(rows, schema=BINDINGS_SCHEMA)


def to_list(table: pa.Table) -> list[Binding]:
    """Return the bindings of a table that ``fold`` returned."""
    columns: list[list[Any]] = []
    for name in COLUMNS[1:]:
        values = table.column(name)
        columns.append((values.cast(pa.int64()) if pa.types.is_timestamp(values.type) else values).to_pylist())
    return [Binding(*values) for values in zip(*columns, strict=True)]


def _complete_snapshots(events: pa.Table, clusters: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return cluster, first row and time of each complete snapshot, oldest first."""
    taken, sizes = _integers(events.column("snapshot"), -1), _integers(events.column("snapshot_size"), -1)
    rows = np.flatnonzero(taken != -1)
    names = np.stack((clusters[rows], taken[rows]), axis=1)
    found, first, counts = np.unique(names, axis=0, return_index=True, return_counts=True)
    complete = counts >= sizes[rows[first]]
    snapshots = zip(found[complete].tolist(), rows[first[complete]].tolist(), strict=True)
    return sorted(((cluster, row, time) for (cluster, time), row in snapshots), key=lambda snapshot: snapshot[1])


def _codes(events: pa.Table, *names: str) -> npt.NDArray[np.int64]:
    """Return a number a row that is the same where all these columns are."""
    codes = np.zeros(len(events), np.int64)
    for name in names:
        column = events.column(name).combine_chunks()
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        # Two dictionary entries may be equal where files were put together.
        texts = encoded.dictionary.dictionary_encode().indices.take(encoded.indices)
        both = np.stack((codes, texts.to_numpy(zero_copy_only=False).astype(np.int64)), axis=1)
        codes = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    return codes


def _integers(column: pa.ChunkedArray, null: int | None = None) -> npt.NDArray[np.int64]:
    values = column.cast(pa.int64())
    if null is not None:
        values = pc.fill_null(values, null)
    return np.array(values.to_numpy(), np.int64)
