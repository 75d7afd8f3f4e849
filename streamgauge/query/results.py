"""Answers as a table for the eye, csv, ndjson or parquet."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final

import orjson
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMATS: Final = ("table", "csv", "ndjson", "parquet")

#: Widest column of a table; what is longer is cut.
_WIDEST: Final = 60


def write(form: str, answer: pa.RecordBatchReader, stream: BinaryIO) -> None:
    """Write a whole answer in one of ``FORMATS``."""
    {"table": _table, "csv": _csv, "ndjson": _ndjson, "parquet": _parquet}[form](answer, stream)


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


def _table(answer: pa.RecordBatchReader, stream: BinaryIO) -> None:
    """Columns side by side, numbers to the right; widths by the first rows, widened as later ones ask for it."""
    names = answer.schema.names
    right = [_is_number(each.type) for each in answer.schema]
    widths = [len(name) for name in names]
    begun = False
    for batch in answer:
        columns = [[_cell(value) for value in column.to_pylist()] for column in _texts(batch).columns]
        widths = [max(width, *map(len, column), 0) for width, column in zip(widths, columns, strict=True)]
        if not begun:
            begun = True
            stream.write(_line(names, widths, right))
        stream.writelines(_line(cells, widths, right) for cells in zip(*columns, strict=True))
    if not begun:
        stream.write(_line(names, widths, right))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> bytes:
    padded: Iterator[str] = (
        f"{cell:>{width}}" if to_right else f"{cell:{width}}"
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return ("  ".join(padded).rstrip() + "\n").encode()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    text = str(value)
    text = text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
    # Text from the traffic must not steer the terminal.
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
