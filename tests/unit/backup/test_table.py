"""The table of an object: the columns as text output shows them, in the order asked for."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backup import table
from services.backup.batch import Batch
from services.backup.consumer import Delivery
from streamgauge import codec, schema, text
from tests.support import summaries

KNOWN = len(schema.BY_NAME["tunnel"].words)


def batch(made, sequence, **headers):
    envelope = summaries.envelope(made, sequence, **headers)
    return Batch(Delivery("subject", codec.encode(made), {}, sequence, 0, 0, ""), len(made), envelope)


def rows(built):
    return built.to_pylist()


def by_content(row):
    return repr(sorted(row.items(), key=lambda item: item[0]))


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 50), st.sampled_from(["node-a", "node-b"])), min_size=1))
@pytest.mark.parametrize("order", ["flow", "time"])
def test_same_rows_in_the_order_asked_for(order, plan):
    """However batches overlap in time: the same rows come out; in time order all of them, else those of each flow."""
    made = [
        summaries.batch(count, seed=seed, start=summaries.START + start * 7000, node=node)
        for seed, (count, start, node) in enumerate(plan)
    ]
    decoded = table.decode(
        batch(one, number, node=node) for number, (one, (_, _, node)) in enumerate(zip(made, plan, strict=True), 1)
    )
    built = table.build(decoded, order)
    expected = [row for one in made for row in text.readable(one, time_as_integer=False).to_pylist()]
    found = rows(built)

    assert sorted(map(by_content, found)) == sorted(map(by_content, expected))
    flows: dict[tuple[object, ...], list[object]] = {}
    for row in found:
        flow = () if order == "time" else tuple(row[name] for name in ("src_ip", "dst_ip", "src_port", "dst_port"))
        flows.setdefault(flow, []).append(row["time"])
    assert all(times == sorted(times) for times in flows.values())


def test_the_packets_of_a_flow_stand_together():
    """In the order by flow each flow is one run."""
    made = summaries.batch(500, seed=3)
    made = made.set_column(
        made.schema.get_field_index("src_port"),
        made.schema.field("src_port"),
        pa.array(np.arange(500) % 2, pa.uint16()),
    )
    built = table.build(table.decode([batch(made, 1)]), "flow")
    flows = list(zip(*(built[name].to_pylist() for name in ("src_ip", "dst_ip", "src_port")), strict=True))
    runs = 1 + sum(one != other for one, other in itertools.pairwise(flows))

    assert runs == len(set(flows))


def test_a_payload_that_contradicts_its_header_is_poison():
    """Rows that are missing on the way are noticed, and the rest is kept."""
    made = summaries.batch(5)
    wrong = batch(made, 1)
    wrong = Batch(wrong.delivery, 5, summaries.envelope(summaries.batch(6), 1))
    junk = Batch(wrong.delivery._replace(data=b"junk"), 5, wrong.envelope)
    decoded = table.decode([wrong, junk, batch(made, 2)])

    assert len(decoded.batches) == 1
    assert next(reason for _, reason in decoded.poison) == "the payload has 5 rows, its header says 6"


def test_shares_add_up():
    """What a footer says of a node and boot is the sum of its batches."""
    made = [summaries.batch(5, seed=1), summaries.batch(7, seed=2, start=summaries.START + 10**9)]
    (share,) = table.shares(table.decode(batch(one, number) for number, one in enumerate(made, 1)))

    assert (share.rows, share.packets) == (12, 12)
    assert share.bytes == sum(sum(one.column("bytes").to_pylist()) for one in made)
    assert share.last_time - share.first_time == 10**9 + 6000
    assert share.sequences.to_list() == [[1, 2]]


def test_more_words_than_a_column_can_have_are_poison():
    """Words of a newer collector are kept; a flood of them costs the batch that brings it, not the object."""

    def with_words(prefix, count):
        made = summaries.batch(5)
        position, field = made.schema.get_field_index("tunnel"), made.schema.field("tunnel")
        codes = pa.array([0, 1, 2, 3, 4], pa.int8())
        words = pa.DictionaryArray.from_arrays(codes, pa.array([f"{prefix}-{at}" for at in range(count)]))
        return made.set_column(position, field, words)

    decoded = table.decode([batch(with_words("a", 60), 1), batch(with_words("b", 90), 2), batch(summaries.batch(5), 3)])
    built = table.build(decoded, "flow")

    assert [reason for _, reason in decoded.poison] == [
        f"column tunnel has too many words for one object, {150 + KNOWN}"
    ]
    assert {"a-0", "a-4"} <= set(built["tunnel"].to_pylist())
    assert len(built) == 10
