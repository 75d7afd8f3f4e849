"""Sets of whole numbers as ranges: which batch sequences of a node and boot are stored.

``RangeSet([[1, 5], [7, 7]])`` holds 1 to 5 and 7. Sequences come almost in order, so a set is a handful of ranges.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class RangeSet:
    """A set of whole numbers, kept as sorted, separate, inclusive ranges."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[Sequence[int]] = ()) -> None:
        """Take ranges ``[first, last]`` in any order."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def copy(self) -> RangeSet:
        """Return an independent set of the same numbers."""
        twin = RangeSet()
        twin._starts, twin._ends = self._starts.copy(), self._ends.copy()
        return twin

    def add(self, first: int, last: int | None = None) -> None:
        """Add one number, or all from ``first`` to ``last``."""
        last = first if last is None else last
        # The ranges that touch the new one are [low, high).
        low = bisect_right(self._ends, first - 2)
        high = bisect_right(self._starts, last + 1)
        if low < high:
            first = min(first, self._starts[low])
            last = max(last, self._ends[high - 1])
        self._starts[low:high] = [first]
        self._ends[low:high] = [last]

    def update(self, other: RangeSet) -> None:
        """Add all numbers of another set."""
        for first, last in other:
            self.add(first, last)

    def __contains__(self, number: int) -> bool:
        """Return whether a number is in the set."""
        position = bisect_right(self._starts, number) - 1
        return position >= 0 and number <= self._ends[position]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges in order."""
        return iter(zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        """Return how many numbers are in the set."""
        return sum(self._ends) - sum(self._starts) + len(self._starts)

    def __eq__(self, other: object) -> bool:
        """Return whether both hold the same numbers."""
        return isinstance(other, RangeSet) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return e.g. ``RangeSet([[1, 5], [7, 7]])``."""
        return f"RangeSet({self.to_list()})"

    def to_list(self) -> list[list[int]]:
        """Return the ranges as JSON takes them."""
        return [[first, last] for first, last in self]

    @property
    def last(self) -> int:
        """The highest number; 0 when empty."""
        return self._ends[-1] if self._ends else 0

    def missing(self, last: int) -> RangeSet:
        """Return the numbers from 1 to ``last`` that are not in the set."""
        gaps = RangeSet()
        expected = 1
        for start, end in self:
            if start > last:
                break
            if start > expected:
                gaps.add(expected, start - 1)
            expected = end + 1
        if expected <= last:
            gaps.add(expected, last)
        return gaps

    def minus(self, other: RangeSet) -> RangeSet:
        """Return the numbers that are in this set and not in the other."""
        rest = RangeSet()
        for first, last in self:
            expected = first
            for start, end in other:
                if end < expected:
                    continue
                if start > last:
                    break
                if start > expected:
                    rest.add(expected, start - 1)
                expected = end + 1
            if expected <= last:
                rest.add(expected, last)
        return rest

    def common(self, other: RangeSet) -> RangeSet:
        """Return the numbers that are in both sets."""
        shared = RangeSet()
        for first, last in self:
            for start, end in other:
                if start <= last and end >= first:
                    shared.add(max(first, start), min(last, end))
        return shared


def words(ranges: RangeSet, limit: int = 5) -> str:
    """Return ranges for a sentence: ``3, 7-9``; past ``limit`` ranges ``and N more``."""
    parts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
    return ", ".join(parts[:limit]) + (f" and {len(parts) - limit} more" if len(parts) > limit else "")
