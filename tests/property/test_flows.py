"""Whatever the packets, the flow table agrees with its oracle, and no batch split changes what it finds."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.flows import FlowTable
from streamgauge.flows.merge import Merger
from streamgauge.rows import Rows
from tests.support.decoding import as_dictionaries
from tests.support.flow_oracle import FlowOracle
from tests.support.segments import ACK, FIN, MS, RST, SYN, message, rows_of, segment, take, tracked

# The first example may compile the kernels; the deep profile searches long.
pytestmark = pytest.mark.timeout(3600 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 300)

START = 1_764_079_200_000_000_000

numbers = st.integers(-6, 12)
segments = st.builds(
    segment,
    st.sampled_from([SYN, SYN | ACK, ACK, ACK, ACK, FIN | ACK, RST, RST | ACK]),
    numbers,
    numbers,
    st.binary(max_size=4),
    back=st.booleans(),
    port=st.sampled_from([80, 1000]),
    window=st.sampled_from([0, 500]),
)
messages = st.builds(message, st.integers(0, 3), response=st.booleans(), port=st.sampled_from([53, 5000]))
steps = st.sampled_from([0, 1, 1 * MS, 4 * MS, 900 * MS, -2 * MS])


@st.composite
def traffic(draw):
    """Draw ``(time, frame)``; time mostly goes forward."""
    frames = draw(st.lists(segments | messages, min_size=1, max_size=40))
    gaps = [draw(steps) for _ in frames]
    return list(zip(itertools.accumulate(gaps, initial=START), frames, strict=False))


@given(traffic())
def test_flow_table_agrees_with_its_oracle(timed):
    """Every health column and every unanswered query is what the oracle says."""
    oracle = FlowOracle(dns_timeout=1.0)
    expected = oracle.fill(as_dictionaries(rows_of(timed)))

    assert expected == tracked(timed, table=FlowTable(64, dns_timeout=1.0))


@given(traffic(), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_no_batch_split_changes_what_is_found(timed, sizes):
    """State goes from one batch to the next; where they are cut does not matter."""
    whole = tracked(timed, table=FlowTable(64, dns_timeout=1.0))

    assert whole == tracked(timed, table=FlowTable(64, dns_timeout=1.0), sizes=sizes)


@given(traffic())
def test_a_table_that_is_too_small_is_bounded_and_counts(timed):
    """However small the table, each row gets its columns, and what had to go is counted."""
    table = FlowTable(1, queries=1, dns_timeout=1.0)
    rows, _ = tracked(timed, table=table)

    assert len(timed) == len(rows)
    assert table.connections <= 1


def merged(rows, sizes, capacity=64, window=1.0):
    """Merge rows in batches; return the merged rows as dictionaries, one list each time the target was full."""
    merger, target, result, at = Merger(window), Rows(capacity), [], 0
    for size in itertools.cycle(sizes):
        if at >= len(rows):
            break
        part = take(rows, at, min(at + size, len(rows)))
        first = 0
        while (first := merger.merge(part, first, target)) < len(part):
            result.append(as_dictionaries(target))
            target.clear()
            merger.restart()
        at += len(part)
    return [*result, as_dictionaries(target)]


def totals(rows):
    """Return the sums that merging must keep."""
    names = ("packets", "bytes", "captured_bytes", "payload_bytes")
    return [sum(column) for column in zip(*([row[name] for name in names] for row in rows), strict=True)]


@given(traffic(), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_merging_keeps_totals_and_no_batch_split_changes_it(timed, sizes):
    """The sums of merged rows are those of the packets; where batches are cut does not matter."""
    rows = rows_of(timed)
    FlowTable(64).fill(rows, 0)
    whole = merged(rows, [1 << 30])

    assert totals(as_dictionaries(rows)) == totals(whole[0])
    assert whole == merged(rows, sizes)
    assert len(whole[0]) <= len(timed)


@given(traffic(), st.integers(1, 3))
def test_a_target_that_fills_up_loses_nothing(timed, capacity):
    """When the target is full it is handed over and merging goes on; totals stay exact."""
    rows = rows_of(timed)

    assert totals(as_dictionaries(rows)) == totals(itertools.chain(*merged(rows, [7], capacity)))


@given(traffic())
def test_merging_merged_rows_is_merging_the_packets(timed):
    """Rows of 1 s merge into the rows of 10 s that the packets give."""
    rows = rows_of(timed)
    FlowTable(64).fill(rows, 0)
    short, long_, direct = Rows(64), Rows(64), Rows(64)
    Merger(1.0).merge(rows, 0, short)
    Merger(10.0).merge(short, 0, long_)
    Merger(10.0).merge(rows, 0, direct)

    assert sorted(map(repr, as_dictionaries(direct))) == sorted(map(repr, as_dictionaries(long_)))
