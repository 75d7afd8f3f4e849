"""Ranges behave as sets of whole numbers do."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.ranges import RangeSet, words

numbers = st.sets(st.integers(1, 60))


def of(values):
    ranges = RangeSet()
    for value in values:
        ranges.add(value)
    return ranges


@given(st.lists(st.integers(1, 60)))
def test_holds_what_was_added(values):
    """Numbers added in any order, again and again, are in it, and no others."""
    ranges = of(values)

    assert {number for number in range(70) if number in ranges} == set(values)
    assert len(ranges) == len(set(values))
    assert ranges.last == max(values, default=0)


@given(st.lists(st.integers(1, 60)))
def test_ranges_are_sorted_and_apart(values):
    """Neighbouring ranges are one range."""
    ranges = list(of(values))

    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(ranges))


@given(numbers, numbers, st.integers(0, 60))
def test_union_intersection_and_gaps(one, other, last):
    """``update``, ``common``, ``minus`` and ``missing`` are union, intersection, difference and complement."""
    both = of(one)
    both.update(of(other))

    assert both == of(one | other)
    assert of(one).common(of(other)) == of(one & other)
    assert of(one).minus(of(other)) == of(one - other)
    assert of(one).missing(last) == of(set(range(1, last + 1)) - one)


@given(numbers)
def test_survives_json(values):
    """A set written as a list and read again is the same; a copy is independent."""
    ranges = of(values)
    copy = ranges.copy()
    copy.add(99)

    assert RangeSet(ranges.to_list()) == ranges
    assert 99 not in ranges


def test_words():
    """A sentence names a few ranges and counts the others."""
    assert words(RangeSet([[3, 3], [7, 9]])) == "3, 7-9"
    assert words(of(range(1, 20, 2)), 2) == "1, 3 and 8 more"
