"""Answers as a table for the eye, csv, ndjson or parquet."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import BinaryIO, Final

import orjson
import pyarrow as pa

from streamgauge.query import terminal

FORMATS: Final = ("table", "csv", "ndjson", "parquet")


def write(form: str, answer: pa.RecordBatchReader, stream: BinaryIO, width: int | None = None) -> None:
    """Write a whole answer in one of ``FORMATS``; a table fits a terminal of ``width``, if one is given."""
    if form == "table":
        terminal.write(answer, stream, width)
    else:
        {"csv": _csv, "ndjson": _ndjson, "parquet": _parquet}[form](answer, stream)


def _parquet(answer: pa.RecordBatchReader, stream: BinaryIO) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(stream, answer.schema, compression="zstd") as writer:
        for batch in answer:
            writer.write_batch(batch)


def _csv(answer: pa.RecordBatchReader, stream: BinaryIO) -> None:
    from pyarrow import csv

    options = csv.WriteOptions(quoting_style="needed")
    rows = csv.WriteOptions(quoting_style="needed", include_header=False)
    # The line of names, also when there are no rows.
    csv.write_csv(pa.RecordBatch.from_pylist([], _texts_schema(answer.schema)), stream, options)
    for batch in answer:
        csv.write_csv(_texts(batch), stream, rows)


def _ndjson(answer: pa.RecordBatchReader, stream: BinaryIO) -> None:
    for batch in answer:
        stream.writelines(
            orjson.dumps(row, default=_plain, option=orjson.OPT_APPEND_NEWLINE) for row in _texts(batch).to_pylist()
        )


def _plain(value: object) -> object:
    """Return what JSON has for a value that orjson does not know."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind))


def _texts_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(each.name, pa.string() if _needs_text(each.type) else each.type) for each in schema])


def _needs_text(kind: pa.DataType) -> bool:
    return _is_time(kind) or pa.types.is_binary(kind) or pa.types.is_nested(kind)


def _texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with times in ISO 8601 (UTC) and bytes in base64."""
    schema = _texts_schema(batch.schema)
    columns = [_text(column) if _needs_text(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return pa.array(map(_moment, column.cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()), pa.string())
    if pa.types.is_binary(column.type):
        return pa.array([None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()])
    return pa.array(
        [None if value is None else orjson.dumps(value, default=_plain).decode() for value in column.to_pylist()],
        pa.string(),
    )


def _moment(time_ns: int | None) -> str | None:
    """Return ns since 1970 in ISO 8601, with as many digits as it takes: none, six or nine."""
    if time_ns is None:
        return None
    whole = f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}"
    rest = time_ns % 10**9
    if rest == 0:
        return f"{whole}Z"
    return f"{whole}.{rest // 1000:06}Z" if rest % 1000 == 0 else f"{whole}.{rest:09}Z"
