"""The columns of a batch as NumPy arrays without nulls, as the kernels read them.

All are read-only, contiguous and aligned, also those that are copies: a kernel is compiled anew for each combination of
such properties, and views of a batch's memory are read-only.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from services.exporter import words
from services.exporter.column_kernels import fill_booleans, fill_codes, fill_numbers, find_set, translate_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


#: Rows of a usual batch, at most.
_ROOM: Final = 1 << 16


class Columns(NamedTuple):
    """What the kernels read of n rows. A null is the number that the column's comment names."""

    time: npt.NDArray[np.int64]  # ns since 1970
    packets: npt.NDArray[np.uint32]
    bytes: npt.NDArray[np.int64]
    status: npt.NDArray[np.uint8]  # position in words.STATUSES
    eth_type: npt.NDArray[np.uint16]  # 0
    ip_version: npt.NDArray[np.uint8]  # 0
    ip_protocol: npt.NDArray[np.uint8]  # 0; only read where there is an IP version
    source: npt.NDArray[np.uint64]  # [n, 2] as it lies in memory, big-endian
    destination: npt.NDArray[np.uint64]
    source_port: npt.NDArray[np.uint16]  # 0
    destination_port: npt.NDArray[np.uint16]  # 0
    app: npt.NDArray[np.uint8]  # position in words.APPS; 0
    tcp_flags: npt.NDArray[np.uint8]  # 0
    dns_response: npt.NDArray[np.uint8]  # 0 query, 1 response, 2 no DNS
    dns_type: npt.NDArray[np.uint16]  # words.NO_QTYPE
    dns_rcode: npt.NDArray[np.uint16]  # words.NO_RCODE
    dns_unanswered: npt.NDArray[np.uint8]  # 0; 1: no packet, the query it repeats got no response


def read(batch: pa.RecordBatch) -> Columns:
    """Return the columns of a batch; most are views of its memory."""
    columns: Iterable[Any] = Columns(
        time=_times(batch),
        packets=_numbers(batch, "packets", 0),
        bytes=_numbers(batch, "bytes", 0),
        status=_words(batch, "decode_status", words.status_positions),
        eth_type=_numbers(batch, "eth_type", 0),
        ip_version=_numbers(batch, "ip_version", 0),
        ip_protocol=_numbers(batch, "ip_protocol", 0),
        source=addresses(batch, "src_ip"),
        destination=addresses(batch, "dst_ip"),
        source_port=_numbers(batch, "src_port", 0),
        destination_port=_numbers(batch, "dst_port", 0),
        app=_words(batch, "app", words.app_positions),
        tcp_flags=_numbers(batch, "tcp_flags", 0),
        dns_response=_booleans(batch, "dns_response", 2),
        dns_type=_numbers(batch, "dns_type", words.NO_QTYPE),
        dns_rcode=_numbers(batch, "dns_rcode", words.NO_RCODE),
        dns_unanswered=_booleans(batch, "dns_unanswered", 0),
    )
    return Columns(*map(frozen, columns))


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array as the kernels expect it."""
    flags = array.flags
    if not (flags.c_contiguous and flags.aligned):
        array = array.copy()
        flags = array.flags
    flags.writeable = False
    return array


def _numbers(batch: pa.RecordBatch, name: str, null: int) -> npt.NDArray[Any]:
    return filled(batch.column(name), null)


def _times(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    column = batch.column("time")
    return np.frombuffer(column.buffers()[1], np.int64, len(column) + column.offset)[column.offset :]


def filled(column: pa.Array, null: int) -> npt.NDArray[Any]:
    """Return a column of numbers with a number in place of nulls."""
    values: npt.NDArray[Any] = np.frombuffer(
        column.buffers()[1], column.type.to_pandas_dtype(), len(column) + column.offset
    )
    if column.offset:
        values = values[column.offset :]
    nulls = column.null_count
    if nulls == 0:
        return values
    if nulls == len(column):
        return _constant(null, values.dtype, len(column))
    out = np.empty(len(column), values.dtype)
    fill_numbers(frozen(values), _bits(column, 0), column.offset, values.dtype.type(null), out)
    return out


def rows_with_value(column: pa.Array) -> npt.NDArray[np.int32]:
    """Return the positions of the rows that have a value, in order."""
    if column.null_count == 0:
        return np.arange(len(column), dtype=np.int32)
    return _set_rows(_bits(column, 0), column.offset, len(column))


def true_rows(column: pa.Array) -> npt.NDArray[np.int32]:
    """Return the positions of the rows of a boolean column that are true, in order."""
    if column.null_count == len(column):
        return np.zeros(0, np.int32)
    rows = _set_rows(_bits(column, 1), column.offset, len(column))
    return np.intersect1d(rows, rows_with_value(column), assume_unique=True) if column.null_count else rows


def _set_rows(bits: npt.NDArray[np.uint8], offset: int, length: int) -> npt.NDArray[np.int32]:
    out = np.empty(length, np.int32)
    return out[: int(find_set(bits, offset, out))]


def _bits(column: pa.Array, buffer: int) -> npt.NDArray[np.uint8]:
    """Return one of a column's bitmaps (0: which rows have a value, 1: a boolean's values)."""
    return frozen(np.frombuffer(column.buffers()[buffer], np.uint8))


@functools.lru_cache(64)
def _constants(value: int, dtype: np.dtype[Any], room: int) -> npt.NDArray[Any]:
    return frozen(np.full(room, value, dtype))


def _constant(value: int, dtype: np.dtype[Any], length: int) -> npt.NDArray[Any]:
    """Return a column of one value; those of batches of usual size share their memory."""
    room = max(_ROOM, length)
    return _constants(value, dtype, room)[:length] if room == _ROOM else np.full(length, value, dtype)


def _booleans(batch: pa.RecordBatch, name: str, null: int) -> npt.NDArray[np.uint8]:
    return booleans(batch.column(name), null)


def booleans(column: pa.Array, null: int) -> npt.NDArray[np.uint8]:
    """Return a column of booleans as 0 and 1, with a number in place of nulls."""
    nulls = column.null_count
    if nulls == len(column):
        return _constant(null, np.dtype(np.uint8), len(column))
    values = _bits(column, 1)
    if nulls == 0:
        unpacked = np.unpackbits(values, count=column.offset + len(column), bitorder="little")
        return unpacked[column.offset :]
    out = np.empty(len(column), np.uint8)
    fill_booleans(values, _bits(column, 0), column.offset, np.uint8(null), out)
    return out


def addresses(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.uint64]:
    """Return packed addresses as two halves a row; what stands under a null is not defined."""
    column = batch.column(name)
    halves = np.frombuffer(column.buffers()[1], np.uint64, 2 * (len(column) + column.offset))
    return halves.reshape(-1, 2)[column.offset :]


def _words(
    batch: pa.RecordBatch, name: str, positions: Callable[[tuple[str, ...]], npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    column = batch.column(name)
    nulls = column.null_count
    if nulls == len(column):
        return _constant(0, np.dtype(np.uint8), len(column))
    table = positions(tuple(column.dictionary.to_pylist()))
    codes = column.indices
    raw = np.frombuffer(codes.buffers()[1], np.uint8, len(codes) + codes.offset)[codes.offset :]
    out = np.empty(len(codes), np.uint8)
    if nulls:
        fill_codes(frozen(raw), _bits(codes, 0), codes.offset, table, out)
    else:
        translate_codes(frozen(raw), table, out)
    return out


def warm_up() -> None:
    """Run every kernel once, for each type of numbers: they are for columns of which only a part is null."""
    for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.int64()):
        rows_with_value(pa.array([1, None], kind))
        filled(pa.array([1, None], kind), 0)
    booleans(pa.array([True, None]), 0)
    for texts in (["unknown", None], ["unknown", "unknown"]):
        indices = pa.array([text and 0 for text in texts], pa.int8())
        words_ = pa.DictionaryArray.from_arrays(indices, pa.array(["unknown"]))
        _words(pa.record_batch({"app": words_}), "app", words.app_positions)
