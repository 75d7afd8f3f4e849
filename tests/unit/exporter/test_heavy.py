"""The heaviest keys among any number, in fixed memory."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.exporter.heavy import HeavyTable


def add(table, names, sizes):
    keys = np.array(names, np.uint64).reshape(len(names), -1)
    table.add(keys, np.ones(len(names), np.uint32), np.array(sizes, np.int64), np.ones(len(names), np.uint8))


def shown(table, count=1000):
    top = table.heaviest(count)
    return {tuple(key): tuple(amount) for key, amount in zip(top.keys.tolist(), top.amounts.tolist(), strict=True)}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 500)), max_size=400), st.integers(4, 16))
def test_nothing_is_lost_and_the_bound_holds(rows, capacity):
    """Shown and rest add up to everything; no key misses more than 2N/capacity bytes."""
    table, truth, packets = HeavyTable(1, capacity), Counter(), Counter()
    for at in range(0, len(rows), 7):
        part = rows[at : at + 7]
        add(table, [name for name, _ in part], [size for _, size in part])
    for name, size in rows:
        truth[(name,)] += size
        packets[(name,)] += 1
    found, rest = shown(table), table.heaviest(1000).rest
    assert sum(amount[0] for amount in found.values()) + rest[0] == len(rows)
    assert sum(amount[1] for amount in found.values()) + rest[1] == sum(truth.values())
    bound = 2 * sum(truth.values()) / capacity
    for key, size in truth.items():
        assert found.get(key, (0, 0))[1] <= size
        assert size - found.get(key, (0, 0))[1] <= bound


def test_with_room_all_keys_are_exact():
    """Below its capacity the table is an exact count, by falling bytes."""
    table = HeavyTable(4, 100)
    generator = np.random.default_rng(1)
    names = generator.integers(0, 3, (1000, 4)).astype(np.uint64)
    sizes = generator.integers(1, 1500, 1000)
    truth = Counter()
    for name, size in zip(map(tuple, names.tolist()), sizes.tolist(), strict=True):
        truth[name] += size
    add(table, names, sizes)
    assert {key: amount[1] for key, amount in shown(table).items()} == dict(truth)
    assert [amount[1] for amount in shown(table).values()] == sorted(truth.values(), reverse=True)


def test_a_talker_stands_out_of_a_flood_of_forged_addresses():
    """A million packets from as many sources do not hide the one that sends 1 %."""
    table, generator = HeavyTable(2, 1024), np.random.default_rng(2)
    for _ in range(100):
        names = generator.integers(0, 2**63, (10_000, 2)).astype(np.uint64)
        names[::100] = (7, 7)
        add(table, names, np.full(10_000, 60))
    ((first, amount), *_) = shown(table, 10).items()
    assert first == (7, 7)
    assert 10_000 * 60 - amount[1] <= 2 * 1_000_000 * 60 / 1024


def test_rows_not_chosen_are_left_out_and_clear_begins_anew():
    """``chosen`` masks rows; after ``clear`` nothing is remembered."""
    table = HeavyTable(1, 10)
    keys = np.array([[1], [2]], np.uint64)
    table.add(keys, np.ones(2, np.uint32), np.array([5, 6], np.int64), np.array([0, 1], np.uint8))
    assert shown(table) == {(2,): (1, 6)}
    table.clear()
    assert shown(table) == {}
    assert table.heaviest(5).rest.tolist() == [0, 0]


def test_keys_without_bytes_make_room_too():
    """Rows of zero bytes cannot block the table."""
    table = HeavyTable(1, 4)
    add(table, range(100), [0] * 100)
    assert len(shown(table)) <= 4
    assert table.heaviest(4).rest[0] + len(shown(table)) == 100
