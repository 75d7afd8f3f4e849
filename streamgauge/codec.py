"""Batches as bytes and back: Arrow IPC (the default) and NDJSON (for consumers with nothing but a JSON parser)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import orjson
import pyarrow as pa

from streamgauge import schema, text
from streamgauge.errors import PayloadError
from streamgauge.schema import Kind
from streamgauge.subjects import ARROW, NDJSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Compression of the body of an Arrow message; every Arrow implementation reads all three.
COMPRESSIONS: Final = ("none", "lz4", "zstd")


def encode(batch: pa.RecordBatch, content_type: str = ARROW, *, compression: str = "lz4") -> bytes:
    """Return one batch as the payload of a message."""
    if content_type == NDJSON:
        return encode_ndjson(batch)
    options = pa.ipc.IpcWriteOptions(compression=None if compression == "none" else compression)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def decode(payload: bytes, content_type: str = ARROW) -> pa.RecordBatch:
    """Return the batch of one message, with the columns of this version in their order.

    Columns this version does not know (a newer collector's) are left out; columns the sender does not know are null.

    Raises:
        PayloadError: the payload is not what the content type says, or a column has another type.

    """
    if content_type == NDJSON:
        return decode_ndjson(payload)
    if content_type != ARROW:
        raise PayloadError(f"content type {content_type!r} is neither {ARROW} nor {NDJSON}")
    try:
        with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
            batches = list(reader)
            batch = batches[0] if len(batches) == 1 else pa.Table.from_batches(batches, reader.schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise PayloadError(f"the payload is no Arrow stream: {error}") from error
    if not isinstance(batch, pa.RecordBatch):
        raise PayloadError(f"the payload holds {len(batches)} record batches; a message carries one")
    return _conform(batch)


def _conform(batch: pa.RecordBatch) -> pa.RecordBatch:
    wanted = schema.arrow_schema().with_metadata(batch.schema.metadata)
    if batch.schema.equals(wanted):
        return batch
    arrays = []
    for field in wanted:
        position = batch.schema.get_field_index(field.name)
        if position < 0:
            if not field.nullable:
                raise PayloadError(f"column {field.name} is missing")
            arrays.append(pa.nulls(len(batch), field.type))
            continue
        column = batch.column(position)
        if column.type != field.type:
            raise PayloadError(f"column {field.name} is {column.type}, not {field.type}")
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def encode_ndjson(batch: pa.RecordBatch) -> bytes:
    """Return a batch as one JSON object a row: addresses as text, time in ns, bytes in base64, nulls left out."""
    return b"".join(ndjson_lines(batch))


def ndjson_lines(batch: pa.RecordBatch) -> Iterable[bytes]:
    """Yield the lines of a batch, each with its line feed."""
    readable = text.readable(batch)
    binary = [column.name for column in schema.COLUMNS if column.kind is Kind.BYTES]
    for row in readable.to_pylist():
        for name in binary:
            if row.get(name) is not None:
                row[name] = base64.b64encode(row[name]).decode()
        yield orjson.dumps({name: value for name, value in row.items() if value is not None}) + b"\n"


def decode_ndjson(payload: bytes) -> pa.RecordBatch:
    """Return the batch of NDJSON lines.

    Raises:
        PayloadError: a line is no JSON object or a value does not fit its column.

    """
    rows = []
    for number, line in enumerate(payload.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise PayloadError(f"line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise PayloadError(f"line {number} is no JSON object")
        rows.append(row)
    origin = {f"streamgauge.{name}": str(rows[0][name]) for name in schema.ORIGIN_COLUMNS if rows and name in rows[0]}
    arrays = []
    for column in schema.COLUMNS:
        try:
            arrays.append(_column_of(column, rows))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError, TypeError) as error:
            raise PayloadError(f"column {column.name}: {error}") from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow_schema(metadata=origin))


def _column_of(column: schema.Column, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
    values: list[Any] = [row.get(column.name) for row in rows]
    if not column.nullable and None in values:
        raise PayloadError(f"column {column.name} is missing in line {values.index(None) + 1}")
    if column.kind is Kind.IP:
        values = [None if value is None else text.address_bytes(value) for value in values]
    elif column.kind is Kind.MAC:
        values = [None if value is None else bytes.fromhex(value.replace(":", "")) for value in values]
    elif column.kind is Kind.BYTES:
        values = [None if value is None else base64.b64decode(value, validate=True) for value in values]
    elif column.kind is Kind.WORD:
        codes = [None if value is None else column.words.index(value) for value in values]
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(column.words, pa.string()))
    return pa.array(values, column.arrow_type)
