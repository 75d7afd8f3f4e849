"""Columns that are empty in most batches come out as if they had been moved whole."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backup import sparse

TYPES = {
    pa.uint16(): st.integers(0, 65535),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["dns", "tls", "http"]),
}


def moved_whole(column, positions):
    whole = column.unify_dictionaries().combine_chunks()
    return pc.take(whole, pa.array(positions)).to_pylist()


@given(data=st.data())
@pytest.mark.parametrize("of", TYPES, ids=str)
def test_as_if_moved_whole(of, data):
    """Whatever is where: filled batches, empty ones, batches with gaps, none at all."""
    some = st.lists(st.none() | TYPES[of], max_size=6)
    none = st.integers(1, 20).map(lambda count: [None] * count)
    chunks = data.draw(st.lists(some | none, min_size=1, max_size=6))
    # A slice, as it is of a larger message: its buffers begin elsewhere.
    arrays = [pa.array([None, *chunk, None], of)[1:-1] for chunk in chunks]
    column = pa.chunked_array(arrays, of)
    positions = np.array(data.draw(st.permutations(range(len(column)))), np.uint32)
    places = np.empty_like(positions)
    places[positions] = np.arange(len(positions), dtype=np.uint32)
    found = sparse.in_order(column, places)

    found.validate(full=True)
    assert found.to_pylist() == moved_whole(column, positions)
    assert found.null_count == column.null_count


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.chunked_array([pa.nulls(9, pa.uint16()), pa.array([1], pa.uint16())]), True),
        (pa.chunked_array([pa.nulls(9, pa.uint16()), pa.array([1] * 9, pa.uint16())]), False),
        (pa.chunked_array([pa.nulls(9, pa.uint16())]), False),
        (pa.chunked_array([pa.nulls(9, pa.binary(6)), pa.array([b"sixsix"], pa.binary(6))]), False),
    ],
)
def test_which_columns_are_sparse(column, expected):
    """Those with something in at most a quarter of the rows' batches; never those that are empty or become texts."""
    assert sparse.is_sparse(column) is expected
