"""The series budget: never more series than allowed, memory flat, totals exact, heavy keys kept."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exporter.series import SeriesTable

ADDITIONS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1000)), max_size=300)


def shown(table):
    return dict(zip(table.published_keys(), table.published_rows(), strict=True))


def test_with_room_every_key_has_its_own_series():
    """Below the budget nothing is ``__other__``, and each series is exact."""
    table = SeriesTable(1, 2, 10, weight=1)
    for name, packets, size in (("a", 1, 100), ("b", 2, 50), ("a", 3, 7)):
        table.add((name,), (packets, size))
    assert shown(table) == {("a",): [4, 107], ("b",): [2, 50]}
    assert (table.active, table.overflows, table.evictions) == (2, 0, 0)


@given(ADDITIONS, st.integers(2, 12), st.integers(1, 50))
def test_totals_are_exact_whatever_comes(additions, budget, interval):
    """At any moment, and over any rebalancing, the sum over all series is the sum of what was added."""
    table = SeriesTable(1, 2, budget, weight=1)
    packets = sizes = 0
    for number, (name, size) in enumerate(additions):
        table.add((str(name),), (1, size))
        packets, sizes = packets + 1, sizes + size
        if number % interval == 0:
            table.rebalance()
        assert (sum(table.published(0)), sum(table.published(1))) == (packets, sizes)
        assert len(table.published_keys()) == table.active <= budget
        assert len(set(table.published_keys())) == table.active


@given(ADDITIONS, st.integers(2, 12))
def test_no_series_ever_shows_more_than_its_key_carried(additions, budget):
    """A series is never an estimate: it holds what its key carried since it was admitted."""
    table, truth = SeriesTable(1, 1, budget), Counter()
    for number, (name, size) in enumerate(additions):
        table.add((str(name),), (size,))
        truth[(str(name),)] += size
        if number % 20 == 19:
            table.rebalance()
    for key, (value,) in shown(table).items():
        assert key == ("__other__",) or value <= truth[key]


def test_a_key_that_becomes_heavy_gets_a_series_and_the_lightest_is_folded():
    """Beyond the budget the heavy replace the light; what was folded is counted in the measure's unit."""
    table = SeriesTable(1, 1, 4)
    for name, size in (("light", 1), ("middle", 50), ("large", 100)):
        table.add((name,), (size,))
    table.add(("new",), (80,))
    assert shown(table)[("__other__",)] == [80]
    table.rebalance()
    table.add(("new",), (5,))
    assert shown(table) == {("__other__",): [81], ("new",): [5], ("middle",): [50], ("large",): [100]}
    assert (table.evictions, table.folded, table.overflows) == (1, [1], 1)


def test_equals_do_not_take_turns():
    """A newcomer no heavier than twice the lightest series does not replace it."""
    table = SeriesTable(1, 1, 3)
    for name in ("a", "b", "c"):
        table.add((name,), (100,))
    table.rebalance()
    assert set(shown(table)) == {("__other__",), ("a",), ("b",)}


def test_what_was_heavy_long_ago_makes_room():
    """Weight is recent weight: a key that fell silent loses its series to one that is active now."""
    table = SeriesTable(1, 1, 3)
    table.add(("old",), (1000,))
    table.add(("steady",), (1000,))
    for _ in range(6):
        table.add(("steady",), (1000,))
        table.add(("young",), (100,))
        table.rebalance()
    assert set(shown(table)) == {("__other__",), ("steady",), ("young",)}
    assert sum(table.published(0)) == 1000 + 7000 + 600


def test_a_heavy_key_is_admitted_among_many_light_ones():
    """The stated bound: a key with more than 2N/budget plus twice the lightest series is found among any others."""
    budget = 50
    table = SeriesTable(1, 1, budget)
    for number in range(budget):
        table.add((f"first-{number}",), (1,))
    outside = 100_000
    for number in range(outside):
        table.add((f"noise-{number}",), (1,))
        if number % 10 == 0:
            table.add(("heavy",), (1,))
    table.rebalance()
    assert ("heavy",) in table.published_keys()


@pytest.mark.parametrize("budget", [10, 2_000])
def test_a_million_distinct_keys_keep_to_the_budget(budget):
    """A million pods: never more series than the budget, memory no more than for a hundred thousand, totals exact."""
    table = SeriesTable(2, 2, budget, weight=1)

    def feed(first, last):
        for number in range(first, last):
            table.add((f"pod-{number}", "tcp"), (1, number % 1500))
            if number % 50_000 == 0:
                table.rebalance()

    feed(0, 100_000)
    tracemalloc.start()
    feed(100_000, 200_000)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    feed(200_000, 300_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    feed(300_000, 1_000_000)
    assert table.active <= budget
    assert len(table.published_keys()) <= budget
    assert sum(table.published(0)) == 1_000_000
    assert sum(table.published(1)) == sum(number % 1500 for number in range(1_000_000))
    assert table.overflows >= 1_000_000 - 2 * budget * 20
    assert grown < 500 * budget


def test_what_is_gone_is_folded_into_other():
    """Its total stays in the sum, its place is free, and the others keep theirs."""
    table = SeriesTable(1, 2, 4, weight=1)
    for name, size in (("a", 10), ("b", 20), ("c", 30)):
        table.add((name,), (1, size))
    table.fold([("a",), ("never there",)])
    table.add(("c",), (1, 5))
    table.add(("d",), (1, 40))
    assert shown(table) == {("__other__",): [1, 10], ("c",): [2, 35], ("b",): [1, 20], ("d",): [1, 40]}
    assert (table.active, table.removals, table.folded, table.overflows) == (4, 1, [1, 10], 0)


@given(ADDITIONS, st.integers(2, 12), st.lists(st.integers(0, 40), max_size=20))
def test_totals_are_exact_whatever_is_folded(additions, budget, gone):
    """Folding between additions and rebalancing neither loses nor doubles anything."""
    table = SeriesTable(1, 1, budget)
    total = 0
    for number, (name, size) in enumerate(additions):
        table.add((str(name),), (size,))
        total += size
        if gone and number % 7 == 0:
            table.fold([(str(gone[number % len(gone)]),)])
        if number % 11 == 0:
            table.rebalance()
        assert sum(table.published(0)) == total
        assert len(table.published_keys()) == table.active <= budget
        assert len(set(table.published_keys())) == table.active
