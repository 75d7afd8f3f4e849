"""Columns as arrays, against what pyarrow says of each value: any share of nulls, any part of a batch."""

from __future__ import annotations

import numba
import numpy as np
import pyarrow as pa
import pytest

from services.exporter import column_kernels, columns, words

LENGTHS = (0, 1, 7, 8, 9, 64, 203)
OFFSETS = (0, 1, 8, 13)
SHARES = (0.0, 0.05, 0.5, 0.95, 1.0)


def parts(kind: pa.DataType, top: int):
    """Yield arrays of every length, offset and share of nulls, and their values."""
    generator = np.random.default_rng(5)
    for share in SHARES:
        for offset in OFFSETS:
            for length in LENGTHS:
                count = offset + length + 3
                values = generator.integers(0, top, count).tolist()
                nulls = generator.random(count) < share
                whole = pa.array(
                    [None if null else value for value, null in zip(values, nulls, strict=True)], pa.int64()
                )
                part = whole.cast(kind).slice(offset, length)
                yield part, part.to_pylist()


@pytest.mark.parametrize("kind", [pa.uint8(), pa.uint16(), pa.int64()])
def test_numbers(kind: pa.DataType) -> None:
    """A null is the number asked for, a value itself; rows with a value are found in order."""
    for part, values in parts(kind, 200):
        assert columns.filled(part, 7).tolist() == [7 if value is None else value for value in values]
        assert columns.rows_with_value(part).tolist() == [row for row, value in enumerate(values) if value is not None]


def test_booleans() -> None:
    """Values and nulls each have their bits."""
    for part, values in parts(pa.bool_(), 2):
        assert columns.booleans(part, 2).tolist() == [2 if value is None else int(value) for value in values]
        assert columns.true_rows(part).tolist() == [row for row, value in enumerate(values) if value]


def test_what_stands_under_a_null_is_not_read() -> None:
    """A sender may leave anything there."""
    under = pa.Array.from_buffers(
        pa.uint16(), 16, [pa.py_buffer(b"\x0f\xf0"), pa.py_buffer(np.arange(100, 116, dtype=np.uint16))]
    )
    assert columns.filled(under, 0).tolist() == [*range(100, 104), *[0] * 8, *range(112, 116)]


def test_columns_of_one_value_can_not_be_written_to() -> None:
    """They share their memory."""
    shared = columns.filled(pa.nulls(10, pa.uint16()), 3)
    assert not shared.flags.writeable
    assert shared.tolist() == [3] * 10
    assert len(columns.filled(pa.nulls(1 << 17, pa.uint16()), 3)) == 1 << 17


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_words(share: float) -> None:
    """Words of a sender's dictionary become our positions; a null is 0, also in a part of a batch."""
    generator = np.random.default_rng(6)
    names = ["tls", "dns", "no such word"]
    texts = [None if generator.random() < share else names[number] for number in generator.integers(0, 3, 100)]
    batch = pa.record_batch({"app": pa.array(texts).dictionary_encode()})

    def positions(known):
        return np.array([1 + names.index(word) for word in known], np.uint8)

    batch = batch.set_column(0, "app", batch.column("app").cast(pa.dictionary(pa.int8(), pa.string())))
    for offset in OFFSETS:
        part = batch.slice(offset, 77)
        expected = [0 if text is None else 1 + names.index(text) for text in part.column("app").to_pylist()]
        assert columns._words(part, "app", positions).tolist() == expected


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_no_column_waits_for_a_compiler() -> None:
    """Whether its memory is our own or that of a message, which can not be written to."""
    names = ("fill_numbers", "fill_booleans", "fill_codes", "translate_codes", "find_set")
    kernels = [getattr(column_kernels, name) for name in names]
    columns.warm_up()
    before = [len(kernel.signatures) for kernel in kernels]
    assert all(before)
    batch = pa.record_batch(
        {
            "number": pa.array([1, None], pa.uint16()),
            "flag": pa.array([True, None]),
            "app": pa.array(["unknown", None]).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string())),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    received = pa.ipc.open_stream(sink.getvalue().to_pybytes()).read_next_batch()
    for each in (batch, received, received.slice(1)):
        columns.filled(each.column("number"), 0)
        columns.rows_with_value(each.column("number"))
        columns.booleans(each.column("flag"), 2)
        columns._words(each, "app", words.app_positions)
    assert [len(kernel.signatures) for kernel in kernels] == before
