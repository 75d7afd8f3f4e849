"""Columns of what is stored, and answers as Arrow."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from streamgauge.identity import events
from streamgauge.ledger import LedgerRecord
from streamgauge.restore.read import at_rest_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.objects import ObjectKind

_LEDGER_TYPES: Final = {
    "time": pa.timestamp("ns", "UTC"),
    **dict.fromkeys(("node", "boot", "interface", "reason"), pa.string()),
}
_SQL_TYPES: Final = {
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.int64(): "BIGINT",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.timestamp("ns", "UTC"): "TIMESTAMPTZ_NS",
}
#: What DuckDB makes of its 128-bit sums.
_SUM: Final = pa.decimal128(38, 0)


def schema_of(kind: ObjectKind) -> pa.Schema:
    """Return the columns of a kind of object, dictionaries spelled out."""
    if kind == "summaries":
        found = at_rest_schema()
    elif kind == "identity":
        found = events.STORED_SCHEMA
    else:
        found = pa.schema([(each.name, _LEDGER_TYPES.get(each.name, pa.int64())) for each in fields(LedgerRecord)])
    return pa.schema([pa.field(each.name, _plain(each.type)) for each in found])


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def sql_type(schema: pa.Schema, name: str) -> str:
    """Return DuckDB's type of a column."""
    return _SQL_TYPES[schema.field(name).type]


def reader(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatchReader:
    """Return an answer with plain columns: no dictionaries, sums as 64 bits where they fit."""
    wanted = pa.schema([pa.field(each.name, _plain(_sums(each.type))) for each in schema])
    return pa.RecordBatchReader.from_batches(wanted, (_cast(batch, wanted) for batch in batches))


def _sums(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if kind == _SUM else kind


def _cast(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    columns: list[Any] = []
    for column, to in zip(batch.columns, wanted, strict=True):
        columns.append(column if column.type == to.type else pc.cast(column, to.type))
    return pa.RecordBatch.from_arrays(columns, schema=wanted)
