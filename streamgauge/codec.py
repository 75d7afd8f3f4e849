"""Batches as bytes and back: Arrow IPC (the default) and NDJSON (for consumers with nothing but a JSON parser)."""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from streamgauge import schema, text
from streamgauge.errors import PayloadError
from streamgauge.schema import Kind
from streamgauge.subjects import ARROW, NDJSON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Compression of the body of an Arrow message; every Arrow implementation reads all three.
COMPRESSIONS: Final = ("none", "lz4", "zstd")


#: The buffers of a batch are small: decompressing them in threads costs more than it saves (118 → 43 ns a row).
_READ_OPTIONS: Final = pa.ipc.IpcReadOptions(use_threads=False)
#: The same for compressing them (274 → 172 ns of CPU a row).
_WRITE_OPTIONS: Final = {
    name: pa.ipc.IpcWriteOptions(compression=None if name == "none" else name, use_threads=False)
    for name in COMPRESSIONS
}
#: How many schemas are remembered as checked (a sender has one a class of traffic): 87 → 20 µs a batch.
_KNOWN_SCHEMAS: Final = 256
_known_positions: dict[bytes, list[int]] = {}
#: One array of nulls a type, of which columns that were left out are slices.
_NULLS: Final = 1 << 16


def encode(batch: pa.RecordBatch, content_type: str = ARROW, *, compression: str = "lz4") -> bytes:
    """Return one batch as the payload of a message; columns without any value are left out, ``decode`` puts them back.

    A batch holds one class of traffic, so about half its columns hold nothing.
    """
    if content_type == NDJSON:
        return encode_ndjson(batch)
    empty = {position for position, column in enumerate(batch.columns) if column.null_count == len(batch)}
    if empty:
        schema_ = batch.schema
        batch = batch.select([at for at in range(len(schema_)) if at not in empty or not schema_.field(at).nullable])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_WRITE_OPTIONS[compression]) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def decode(payload: bytes, content_type: str = ARROW) -> pa.RecordBatch:
    """Return the batch of one message, with the columns of this version in their order.

    Columns this version does not know (a newer collector's) are left out; columns the sender left out are null.

    Raises:
        PayloadError: the payload is not what the content type says, or a column has another type.

    """
    if content_type == NDJSON:
        return decode_ndjson(payload)
    if content_type != ARROW:
        raise PayloadError(f"content type {content_type!r} is neither {ARROW} nor {NDJSON}")
    try:
        with pa.ipc.open_stream(pa.py_buffer(payload), options=_READ_OPTIONS) as reader:
            batches = list(reader)
        if len(batches) != 1:
            raise PayloadError(f"the payload holds {len(batches)} record batches; a message carries one")
        # Reading trusts the offsets and codes in a message; using damaged ones would read beyond the buffers.
        batches[0].validate(full=True)
        return _conform(batches[0], _schema_message(payload))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PayloadError(f"the payload is no Arrow stream: {error}") from error


def _conform(batch: pa.RecordBatch, schema_message: bytes) -> pa.RecordBatch:
    positions = _known_positions.get(schema_message) if schema_message else None
    if positions is None:
        positions = _positions(batch.schema)
        if len(_known_positions) >= _KNOWN_SCHEMAS:
            _known_positions.clear()
        _known_positions[schema_message] = positions
    wanted, columns = _wanted(), batch.columns
    arrays = [
        columns[position] if position >= 0 else _nulls(field.type, len(batch))
        for field, position in zip(wanted, positions, strict=True)
    ]
    for field, array in zip(wanted, arrays, strict=True):
        if array.null_count and not field.nullable:
            raise PayloadError(f"column {field.name} has {array.null_count} nulls, and may have none")
    return pa.RecordBatch.from_arrays(arrays, schema=wanted.with_metadata(batch.schema.metadata))


def _positions(given: pa.Schema) -> list[int]:
    """Return where each column of this version stands in a batch, -1 for one that was left out."""
    positions = []
    for field in _wanted():
        position = given.get_field_index(field.name)
        if position < 0 and not field.nullable:
            raise PayloadError(f"column {field.name} is missing")
        if position >= 0 and given.field(position).type != field.type:
            raise PayloadError(f"column {field.name} is {given.field(position).type}, not {field.type}")
        positions.append(position)
    return positions


def _schema_message(payload: bytes) -> bytes:
    """Return the first message of an Arrow stream (a sender's schema is the same bytes each time); empty if unsure."""
    return payload[: 8 + int.from_bytes(payload[4:8], "little")] if payload[:4] == b"\xff\xff\xff\xff" else b""


@cache
def _wanted() -> pa.Schema:
    return schema.arrow_schema()


def _nulls(of: pa.DataType, count: int) -> pa.Array:
    return _many_nulls(of)[:count] if count <= _NULLS else pa.nulls(count, of)


@cache
def _many_nulls(of: pa.DataType) -> pa.Array:
    return pa.nulls(_NULLS, of)


def encode_ndjson(batch: pa.RecordBatch, columns: Sequence[str] | None = None) -> bytes:
    """Return a batch as one JSON object a row: addresses as text, time in ns, bytes in base64, nulls left out.

    Rows never become Python objects: a column becomes an array of ``"name":value,`` and the arrays are joined
    (1.6 instead of 12 µs a row).
    """
    if not len(batch):
        return b""
    return ndjson_of(text.readable(batch), columns)


def ndjson_of(readable: pa.RecordBatch, columns: Sequence[str] | None = None) -> bytes:
    """Return rows that are readable already (``text.readable``, or at rest with time in ns) as NDJSON."""
    names = schema.NAMES if columns is None else columns
    members = [_json_members(name, readable.column(name)) for name in names]
    filled = [member for member in members if member is not None]
    joined = (
        pc.binary_join_element_wise(*filled, "", null_handling="replace") if filled else pa.array([""] * len(readable))
    )
    lines = pc.binary_join_element_wise("{", pc.utf8_rtrim(joined, ","), "}\n", "")
    # The texts of an array lie one behind the other in its last buffer.
    _, offsets, data = lines.buffers()
    return data[: memoryview(offsets).cast("i")[len(readable)]].to_pybytes()  # type: ignore[no-any-return]


def _json_members(name: str, column: pa.Array) -> pa.Array | None:
    """Return ``"name":value,`` for each row, null where the column is null; None if it is null everywhere."""
    if column.null_count == len(column):
        return None
    prefix = f'"{name}":'
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return pc.binary_join_element_wise(prefix, column.cast(pa.string()), ",", "")
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    if pa.types.is_binary(encoded.dictionary.type):
        values = [base64.b64encode(value).decode() for value in values]
    members = pa.array([f"{prefix}{orjson.dumps(value).decode()}," for value in values], pa.string())
    return members.take(encoded.indices)


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
        except (pa.ArrowException, OverflowError, ValueError, TypeError, AttributeError) as error:
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
