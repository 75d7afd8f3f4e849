"""From row buffers to Arrow: the batch a collector publishes and `decode` prints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from streamgauge import schema
from streamgauge.encode_plan import Gathering, plan_of
from streamgauge.schema import Column, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from streamgauge.rows import Rows


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a batch was captured: constant for all its rows."""

    node: str
    interface: str
    #: Where on the way of a packet the interface sees it (``interface``, ``host``, …); consumers use it to count once.
    observation_point: str = "interface"

    def metadata(self) -> dict[str, str]:
        """Return the schema metadata that carries the origin on the wire."""
        return {f"streamgauge.{name}": getattr(self, name) for name in schema.ORIGIN_COLUMNS}


def by_class(rows: Rows) -> Iterator[tuple[schema.TrafficClass, npt.NDArray[np.int64]]]:
    """Yield each traffic class that occurs with the positions of its rows, in capture order."""
    classes = rows.column("traffic_class")
    counts = np.bincount(classes, minlength=len(schema.TrafficClass))
    for code in np.flatnonzero(counts):
        yield schema.TrafficClass(int(code)), np.flatnonzero(classes == code)


def to_arrow(
    rows: Rows, origin: Origin, chosen: npt.NDArray[np.int64] | None = None, *, sparse: bool = False
) -> pa.RecordBatch:
    """Return rows (all, or the chosen positions) as one record batch of ``schema.arrow_schema()``.

    The batch owns its memory: ``rows`` may be cleared and filled again. A ``sparse`` batch lacks the columns that no
    row has a value for, as ``codec.encode`` wants it.
    """
    if chosen is None:
        chosen = np.arange(len(rows), dtype=np.int64)
    arrays = _Builder(rows, chosen).arrays()
    if sparse:
        names = tuple(column.name for column in schema.COLUMNS if column.name in arrays)
        return pa.RecordBatch.from_arrays([arrays[name] for name in names], schema=_schema(origin, names))
    every = [arrays[name] if name in arrays else _nulls(name, len(chosen)) for name in schema.BY_NAME]
    return pa.RecordBatch.from_arrays(every, schema=_schema(origin))


def warm_up() -> None:
    """Compile the kernels, or load them from the cache on disk; services do this before they report ready."""
    from streamgauge.encode_kernels import gather_text, mark_valid, text_size
    from streamgauge.rows import Rows

    rows = Rows(1)
    rows.buffers.state[0] = 1
    one = np.zeros(1, np.int64)
    rows.buffers.u8[schema.SLOTS["present"], 0] = schema.Present.ETHERNET | schema.Present.IP
    to_arrow(rows, Origin("warm-up", "none"), one)
    present, pool = np.zeros(1, np.uint64), np.zeros(1, np.uint8)
    mark_valid(present, 1, np.zeros(1, np.bool_))
    text_size(rows.buffers.u4[0], one, present, 1)
    gather_text(pool, rows.buffers.u4, 0, one, present, 1, np.zeros(2, np.int32), pool)


@lru_cache(maxsize=256)
def _schema(origin: Origin, names: tuple[str, ...] | None = None) -> pa.Schema:
    whole = schema.arrow_schema(metadata=origin.metadata())
    if names is None:
        return whole
    return pa.schema([whole.field(name) for name in names], metadata=whole.metadata)


#: Shortest stretch of nulls kept ready; longer ones are made when asked for.
_READY_NULLS: Final = 1 << 16


@cache
def _ready_nulls(name: str) -> pa.Array:
    return pa.nulls(_READY_NULLS, schema.BY_NAME[name].arrow_type)


def _nulls(name: str, count: int) -> pa.Array:
    """Return a column without values: a slice of one that is kept, since half the columns of a batch hold none."""
    if count > _READY_NULLS:
        return pa.nulls(count, schema.BY_NAME[name].arrow_type)
    return _ready_nulls(name).slice(0, count)


_DICTIONARIES: Final = {column.name: schema.arrow_words(column.words) for column in schema.COLUMNS if column.words}

#: Elements that a gathered line is rounded up to, so that the next begins where Arrow likes it.
_ALIGNMENT: Final = 64


class _Builder:
    """Builds the columns of one batch, a kernel call for all columns of a width."""

    def __init__(self, rows: Rows, chosen: npt.NDArray[np.int64]) -> None:
        from streamgauge.encode_kernels import gather_present

        self._rows = rows
        self._chosen = chosen
        self._count = len(chosen)
        self._stride = -(-self._count // _ALIGNMENT) * _ALIGNMENT
        self._present = np.empty(self._count, np.uint64)
        some, every = gather_present(rows.buffers.u8[schema.SLOTS["present"]], chosen, self._present)
        self._plan = plan_of(some, every)
        self._validity = {0: (None, 0)} | {bit: self._valid(bit) for bit in self._plan.partial}

    def arrays(self) -> dict[str, pa.Array]:
        """Return the columns that hold a value."""
        made: dict[str, pa.Array] = {}
        for how, gathering in self._plan.gatherings.items():
            if how == "texts":
                for column, slot, bit in zip(gathering.columns, gathering.slots, gathering.bits, strict=True):
                    made[column.name] = self._text(column, int(slot), int(bit))
                continue
            lines = self._gather(how, gathering)
            for column, bit, line in zip(gathering.columns, gathering.bits.tolist(), lines, strict=True):
                made[column.name] = self._array(column, line, *self._validity[bit])
        return made

    def _valid(self, bit: int) -> tuple[pa.Buffer, int]:
        """Return the validity bitmap of the columns under a presence bit, and how many nulls they have."""
        from streamgauge.encode_kernels import mark_valid

        valid = np.empty(self._count, np.bool_)
        count = mark_valid(self._present, bit, valid)
        return pa.py_buffer(np.packbits(valid, bitorder="little")), self._count - count

    def _gather(self, how: str, gathering: Gathering) -> npt.NDArray[Any]:
        """Return one line a column, of the bytes that the column is made of."""
        from streamgauge.encode_kernels import (
            ADDRESS_BYTES,
            MAC_BYTES,
            gather_addresses,
            gather_macs,
            gather_numbers,
        )

        buffers, columns = self._rows.buffers, len(gathering.columns)
        arguments = gathering.slots, gathering.bits, self._present, self._chosen
        if how == "addresses":
            out: npt.NDArray[Any] = np.empty((columns, self._stride * ADDRESS_BYTES // 4), np.uint32)
            gather_addresses(buffers.u8, *arguments, out)
            return out[:, : self._count * ADDRESS_BYTES // 4]
        if how == "macs":
            out = np.empty((columns, self._stride * MAC_BYTES), np.uint8)
            gather_macs(buffers.u8, *arguments, out)
            return out[:, : self._count * MAC_BYTES]
        lines = getattr(buffers, how)
        out = np.empty((columns, self._stride), lines.dtype)
        gather_numbers(lines, *arguments, out)
        return out[:, : self._count]

    def _array(self, column: Column, line: npt.NDArray[Any], validity: pa.Buffer | None, nulls: int) -> pa.Array:
        if column.kind is Kind.BOOL:
            line = np.packbits(line, bitorder="little")
        buffers = [validity, pa.py_buffer(line)]
        if column.kind is Kind.WORD:
            codes = pa.Array.from_buffers(pa.int8(), self._count, buffers, nulls)
            return pa.DictionaryArray.from_arrays(codes, _DICTIONARIES[column.name])
        return pa.Array.from_buffers(column.arrow_type, self._count, buffers, nulls)

    def _text(self, column: Column, slot: int, bit: int) -> pa.Array:
        from streamgauge.encode_kernels import gather_text, text_size

        buffers, (validity, nulls) = self._rows.buffers, self._validity[bit]
        offsets = np.empty(self._count + 1, np.int32)
        out = np.empty(text_size(buffers.u4[slot + 1], self._chosen, self._present, bit), np.uint8)
        ascii_only = gather_text(buffers.pool, buffers.u4, slot, self._chosen, self._present, bit, offsets, out)
        parts = [validity, pa.py_buffer(offsets), pa.py_buffer(out)]
        if column.kind is Kind.BYTES or ascii_only:
            return pa.Array.from_buffers(column.arrow_type, self._count, parts, nulls)
        raw = pa.Array.from_buffers(pa.binary(), self._count, parts, nulls)
        # Bytes that are not UTF-8 become U+FFFD; rare, so the slow way is good enough.
        texts = [None if value is None else value.decode("utf-8", "replace") for value in raw.to_pylist()]
        return pa.array(texts, pa.string())
