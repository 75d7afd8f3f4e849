"""Batches of summaries as one table, with the columns as they are at rest, in the order of the object.

Runs in an encoder's thread; Arrow and NumPy release the interpreter lock for nearly all of it. Columns are joined,
given one dictionary and put in order one by one, so that at no time two whole copies exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from services.backup import sparse
from streamgauge import codec, schema, text
from streamgauge.errors import PayloadError
from streamgauge.objects import Share
from streamgauge.schema import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.backup.batch import Batch
    from streamgauge.subjects import Envelope

Order = Literal["flow", "time"]

_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
#: What tells flows apart, each with an odd constant that spreads its bits.
_FLOW: Final = {
    "src_ip": 0x9E3779B97F4A7C15,
    "dst_ip": 0xC2B2AE3D27D4EB4F,
    "src_port": 0x165667B19E3779F9,
    "dst_port": 0x27D4EB2F165667C5,
    "ip_protocol": 0x85EBCA77C2B2AE63,
}


#: Words a column may have in one object, by name of the column, and those this version knows.
_MOST_WORDS: Final = 127  # their codes are one byte
_KNOWN_WORDS: Final = {
    column.name: schema.arrow_words(column.words) for column in schema.COLUMNS if column.kind is Kind.WORD
}


class Decoded(NamedTuple):
    """The batches of an object that could be read, and those that could not, with the reason."""

    batches: list[tuple[Envelope, pa.RecordBatch]]
    poison: list[tuple[Batch, str]]


def decode(batches: Iterable[Batch]) -> Decoded:
    """Decode the payloads."""
    decoded = Decoded([], [])
    words = {name: set(known.to_pylist()) for name, known in _KNOWN_WORDS.items()}
    for batch in batches:
        assert batch.envelope is not None
        try:
            rows = _decode(batch.envelope, batch.delivery.data)
            _learn(words, rows)
            decoded.batches.append((batch.envelope, rows))
        except PayloadError as error:
            decoded.poison.append((batch, str(error)))
    return decoded


def _decode(envelope: Envelope, payload: bytes) -> pa.RecordBatch:
    batch = codec.decode(payload, envelope.content_type)
    if len(batch) != envelope.rows:
        raise PayloadError(f"the payload has {len(batch)} rows, its header says {envelope.rows}")
    return batch


def _learn(words: dict[str, set[str]], rows: pa.RecordBatch) -> None:
    """Add the words of a batch: a newer collector's may have some that this version does not know.

    Raises:
        PayloadError: they are more than an object can hold.

    """
    for name, known in _KNOWN_WORDS.items():
        dictionary = rows.column(name).dictionary
        if dictionary.equals(known):
            continue
        joined = words[name] | set(dictionary.to_pylist())
        if len(joined) > _MOST_WORDS:
            raise PayloadError(f"column {name} has too many words for one object, {len(joined)}")
        words[name] = joined


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


def build(decoded: Decoded, order: Order) -> pa.Table:
    """Return all rows; takes the batches out of ``decoded``, so that columns that are done leave the memory.

    In the order ``flow`` the packets of a flow and direction stand together, in time order: addresses and ports become
    runs, sequence numbers small steps, which makes an object a third smaller and quicker to write. In the order
    ``time`` all rows are in time order.
    """
    sizes = [(envelope, len(batch)) for envelope, batch in decoded.batches]
    columns = _Columns([batch for _, batch in decoded.batches])
    decoded.batches.clear()
    positions = columns.put_in(order)
    arrays: list[pa.Array] = []
    fields: list[pa.Field] = []
    for column in schema.COLUMNS:
        values = columns.take(column.name)
        arrays.append(values)
        fields.append(pa.field(column.name, values.type, column.nullable))
    for name in schema.ORIGIN_COLUMNS:
        values = _origin([(getattr(envelope, name), count) for envelope, count in sizes])
        arrays.append(values if len(values.dictionary) == 1 else pc.take(values, positions, boundscheck=False))
        fields.append(pa.field(name, values.type, nullable=False))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


class _Columns:
    """The columns of all batches, joined when they are asked for."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        plain = [batch.replace_schema_metadata(None) for batch in batches]
        self._table = pa.Table.from_batches(plain, schema.arrow_schema())
        self._rows = len(self._table)
        self._joined: dict[str, pa.Array] = {}
        #: Which row stands at each place, and at which place each row.
        self._positions = pa.array([], pa.uint32())
        self._places: npt.NDArray[np.uint32] = np.zeros(0, np.uint32)
        #: What tells IPv4 from IPv6 in the columns of addresses.
        self._versions = self._table.column("ip_version").combine_chunks()

    def take(self, name: str) -> pa.Array:
        """Return a column in order and forget it."""
        chunked = self._table.column(name)
        if sparse.is_sparse(chunked):
            values = sparse.in_order(chunked, self._places)
        else:
            values = self._column(name)
            if not _is_uniform(values):
                values = pc.take(values, self._positions, boundscheck=False)
        self._joined.pop(name, None)
        self._table = self._table.remove_column(self._table.schema.get_field_index(name))
        return values

    def _column(self, name: str) -> pa.Array:
        if name not in self._joined:
            self._joined[name] = self._join(schema.BY_NAME[name])
        return self._joined[name]

    def _join(self, column: schema.Column) -> pa.Array:
        chunked = self._table.column(column.name)
        at_rest = _TEXT if column.kind in (Kind.IP, Kind.MAC) else column.arrow_type
        if chunked.null_count == self._rows:
            return pa.nulls(self._rows, at_rest)
        if column.kind is Kind.WORD:
            chunked = chunked.unify_dictionaries()
        values = chunked.combine_chunks()
        if column.kind is Kind.IP:
            return text.addresses(values, text.versions_of(column, self._versions))
        return text.hardware_addresses(values) if column.kind is Kind.MAC else values

    def put_in(self, order: Order) -> pa.Array:
        """Find the order of the rows; return the positions of the rows in it."""
        positions = self._in_order(order)
        self._positions = pa.array(positions)
        self._places = np.empty_like(positions)
        self._places[positions] = np.arange(len(positions), dtype=np.uint32)
        return self._positions

    def _in_order(self, order: Order) -> npt.NDArray[np.uint32]:
        by_time = self._by_time()
        if order == "time":
            return by_time.astype(np.uint32)
        # A flow's hash above, a row's place in time below: one sort of unique numbers gives both orders at once.
        bits = max(int(self._rows - 1).bit_length(), 1)
        key = self._flows() >> np.uint64(bits) << np.uint64(bits)
        mask = np.uint64((1 << bits) - 1)
        ranked = key[by_time] | np.arange(self._rows, dtype=np.uint64)
        ranked.sort()
        return by_time[(ranked & mask).astype(np.int64)].astype(np.uint32)

    def _by_time(self) -> npt.NDArray[np.int64]:
        times = self._column("time").view(pa.int64()).to_numpy()
        if bool(np.all(times[1:] >= times[:-1])):
            return np.arange(self._rows)
        # A stable sort keeps capture order among equal times, and is quick on runs that are sorted already.
        return np.argsort(times, kind="stable")

    def _flows(self) -> npt.NDArray[np.uint64]:
        flows = np.zeros(self._rows, np.uint64)
        for name, constant in _FLOW.items():
            values = self._column(name)
            values = values.indices if pa.types.is_dictionary(values.type) else values
            numbers: npt.NDArray[Any] = values.fill_null(0).to_numpy()
            flows += (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(constant)
        return flows


def _is_uniform(values: pa.Array) -> bool:
    """Return whether all rows have the same value or none, so that their order does not matter; may miss some."""
    if values.null_count:
        return bool(values.null_count == len(values))
    if not pa.types.is_integer(values.type):
        return False
    ends = pc.min_max(values)
    return bool(ends["min"] == ends["max"])


def _origin(runs: Sequence[tuple[str, int]]) -> pa.DictionaryArray:
    words = {word: code for code, word in enumerate(dict.fromkeys(word for word, _ in runs))}
    codes: npt.NDArray[Any] = np.repeat(
        np.array([words[word] for word, _ in runs], np.int32), [count for _, count in runs]
    )
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(words), pa.string()))
