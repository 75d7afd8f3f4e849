"""Batches of summaries as one Parquet object: decoded, joined, put in time order, dictionaries once per object.

Runs in an encoder's thread; Arrow and NumPy release the interpreter lock for nearly all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streamgauge import codec, schema, text
from streamgauge.errors import PayloadError
from streamgauge.objects import Share
from streamgauge.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.backup.batch import Batch
    from streamgauge.subjects import Envelope

#: Columns whose values hardly repeat: a dictionary would only be built to be thrown away.
_PLAIN: Final = ("time", "tcp_seq", "tcp_ack", "frame")
_ENCODINGS: Final = {"time": "DELTA_BINARY_PACKED", "tcp_seq": "BYTE_STREAM_SPLIT", "tcp_ack": "BYTE_STREAM_SPLIT"}
_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
#: Values handed to a column's encoder at once: fewer, larger steps (default 1,024).
_WRITE_BATCH: Final = 64 << 10
_DICTIONARY_PAGE: Final = 4 << 20  # bytes


class Decoded(NamedTuple):
    """The batches of an object that could be read, and those that could not, with the reason."""

    batches: list[tuple[Envelope, pa.RecordBatch]]
    poison: list[tuple[Batch, str]]


def decode(batches: Iterable[Batch]) -> Decoded:
    """Decode the payloads."""
    decoded = Decoded([], [])
    for batch in batches:
        assert batch.envelope is not None
        try:
            decoded.batches.append((batch.envelope, _decode(batch.envelope, batch.delivery.data)))
        except PayloadError as error:
            decoded.poison.append((batch, str(error)))
    return decoded


def _decode(envelope: Envelope, payload: bytes) -> pa.RecordBatch:
    batch = codec.decode(payload, envelope.content_type)
    if len(batch) != envelope.rows:
        raise PayloadError(f"the payload has {len(batch)} rows, its header says {envelope.rows}")
    return batch


def shares(decoded: Decoded) -> list[Share]:
    """Return what each node and boot has in the batches."""
    found: dict[tuple[str, str], Share] = {}
    for envelope, batch in decoded.batches:
        who = (envelope.node, envelope.boot)
        times = pc.min_max(batch.column("time").view(pa.int64())).as_py()
        found.setdefault(who, Share(*who)).add(
            envelope.sequence,
            rows=len(batch),
            packets=pc.sum(batch.column("packets")).as_py() or 0,
            size=pc.sum(batch.column("bytes")).as_py() or 0,
            first_time=times["min"] or 0,
            last_time=times["max"] or 0,
        )
    return list(found.values())


def table(decoded: Decoded) -> pa.Table:
    """Return all rows in time order, with the columns as they are at rest."""
    plain = schema.arrow_schema()
    joined = pa.Table.from_batches([batch.replace_schema_metadata(None) for _, batch in decoded.batches], plain)
    order = _order(joined.column("time"))
    versions = joined.column("ip_version").combine_chunks()
    arrays: list[pa.Array] = []
    fields: list[pa.Field] = []
    for column in schema.COLUMNS:
        values = _at_rest(column, joined.column(column.name), versions)
        arrays.append(values if order is None or values.null_count == len(values) else values.take(order))
        fields.append(pa.field(column.name, values.type, column.nullable))
    for name in schema.ORIGIN_COLUMNS:
        values = _origin([(getattr(envelope, name), len(batch)) for envelope, batch in decoded.batches])
        arrays.append(values if order is None else values.take(order))
        fields.append(pa.field(name, values.type, nullable=False))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _order(time: pa.ChunkedArray) -> pa.Array | None:
    values = time.combine_chunks().view(pa.int64()).to_numpy()
    if len(values) < 2 or bool(np.all(values[1:] >= values[:-1])):
        return None
    # A stable sort keeps capture order among equal times, and is quick on runs that are sorted already.
    return pa.array(np.argsort(values, kind="stable"))


def _at_rest(column: schema.Column, chunked: pa.ChunkedArray, versions: pa.Array) -> pa.Array:
    if column.kind in (Kind.IP, Kind.MAC):
        if chunked.null_count == len(chunked):
            return pa.nulls(len(chunked), _TEXT)
        values = chunked.combine_chunks()
        return text.addresses(values, versions) if column.kind is Kind.IP else text.hardware_addresses(values)
    if column.kind is Kind.WORD:
        chunked = chunked.unify_dictionaries()
    return chunked.combine_chunks()


def _origin(runs: Sequence[tuple[str, int]]) -> pa.DictionaryArray:
    words = {word: code for code, word in enumerate(dict.fromkeys(word for word, _ in runs))}
    codes: npt.NDArray[Any] = np.repeat(
        np.array([words[word] for word, _ in runs], np.int32), [count for _, count in runs]
    )
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(words), pa.string()))


def write(rows: pa.Table, metadata: Mapping[str, str], *, level: int, row_group_rows: int) -> pa.Buffer:
    """Return the object: a Parquet file with the footer's key-value metadata."""
    sink = pa.BufferOutputStream()
    names = rows.schema.names
    with pq.ParquetWriter(
        sink,
        rows.schema,
        compression="zstd",
        compression_level=level,
        use_dictionary=[name for name in names if name not in _PLAIN],
        column_encoding={name: encoding for name, encoding in _ENCODINGS.items() if name in names},
        write_batch_size=_WRITE_BATCH,
        dictionary_pagesize_limit=_DICTIONARY_PAGE,
    ) as writer:
        writer.write_table(rows, row_group_size=row_group_rows)
        writer.add_key_value_metadata(dict(metadata))
    return sink.getvalue()
