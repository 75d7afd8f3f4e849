"""Totals by label values under a hard budget of series: the sum over all series is exact at any moment.

As long as there is room every key has a series of its own. Beyond the budget, a new key's traffic goes to the one
series ``__other__``, and the key becomes a candidate. ``rebalance``, once an interval, lets the heaviest candidates
replace the lightest series; the total of a replaced series is folded into ``__other__``.

*Bounds.* Values are never estimates: a series holds exactly what its key carried since it was admitted. Which keys
have a series is decided by weight: candidates are counted by Misra-Gries with ``budget`` counters, which undercounts
by at most 2N/budget, N being what went to ``__other__`` in the interval. So a key that carries, in one interval, more
than twice the recent weight of the lightest series plus 2N/budget is admitted at its end (the heaviest first, a tenth
of the budget at a time, which bounds the churn that Prometheus sees). Memory is bounded by two keys per series of the
budget. ``fold`` takes series of things that are gone off the page; their totals stay in ``__other__``.
"""

from __future__ import annotations

import heapq
import statistics
from typing import TYPE_CHECKING, Final

from services.exporter.words import OTHER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamgauge.exposition import Key

#: Seconds between two calls of ``rebalance``.
REBALANCE_INTERVAL: Final = 60.0
#: A candidate must be so many times heavier than the series it replaces, so that equals do not take turns.
_HYSTERESIS: Final = 2
#: Part of the series that one rebalance may replace.
_REPLACED_AT_ONCE: Final = 0.1

_OTHER_SLOT: Final = 0


class SeriesTable:
    """Integer totals (one or several measures a series) by label values."""

    def __init__(self, labels: int, measures: int, budget: int, *, weight: int | None = 0) -> None:
        """``weight`` is the measure by which a key is heavy; None: the sum of all of them."""
        self.budget = budget
        self._measures = measures
        self._weight = weight
        #: Label values by slot; slot 0 is ``__other__``.
        self.keys: list[Key] = [(OTHER,) * labels]
        #: Totals by slot.
        self.values: list[list[int]] = [[0] * measures]
        #: Changes whenever ``keys`` does.
        self.generation = 0
        #: Series replaced so far, and what their totals were.
        self.evictions = 0
        self.folded = [0] * measures
        #: Additions that went to ``__other__``.
        self.overflows = 0
        #: Series that were folded because what they stood for is gone.
        self.removals = 0
        #: Changes whenever a key's slot does.
        self.moves = 0
        self._slots: dict[Key, int] = {}
        self._recent = [0]
        self._candidates: dict[Key, int] = {}

    @property
    def active(self) -> int:
        """Series on the page, ``__other__`` included once it holds something."""
        return len(self.keys) - self._first

    @property
    def _first(self) -> int:
        """The first slot on the page: ``__other__`` is there once something was added to it."""
        return 0 if self.overflows or self.removals else 1

    def has(self, key: Key) -> bool:
        """Return whether a key has a series of its own."""
        return key in self._slots

    def slot_of(self, key: Key) -> int | None:
        """Return the slot of a key's own series, for ``add_to``; valid until ``moves`` changes."""
        return self._slots.get(key)

    def add_to(self, slots: Iterable[int], rows: Iterable[Sequence[int]]) -> None:
        """Add a row of amounts to the totals of each slot."""
        every, recent, weight, measures = self.values, self._recent, self._weight, range(self._measures)
        for slot, amounts in zip(slots, rows, strict=True):
            values = every[slot]
            for measure in measures:
                values[measure] += amounts[measure]
            recent[slot] += sum(amounts) if weight is None else amounts[weight]

    def add(self, key: Key, amounts: tuple[int, ...] | list[int]) -> None:
        """Add to a key's totals."""
        weight = sum(amounts) if self._weight is None else amounts[self._weight]
        slot = self._slots.get(key)
        if slot is None:
            slot = self._admit(key, weight)
        values = self.values[slot]
        for measure, amount in enumerate(amounts):
            values[measure] += amount
        self._recent[slot] += weight

    def _admit(self, key: Key, weight: int) -> int:
        if len(self.keys) < self.budget:
            self._slots[key] = slot = len(self.keys)
            self.keys.append(key)
            self.values.append([0] * self._measures)
            self._recent.append(0)
            self.generation += 1
            return slot
        self.overflows += 1
        if self.overflows == 1:
            self.generation += 1
        candidates = self._candidates
        candidates[key] = candidates.get(key, 0) + weight
        if len(candidates) > self.budget:
            # Half of them go at once, so the median costs little per addition.
            cut = int(statistics.median_high(candidates.values()))
            self._candidates = {name: total - cut for name, total in candidates.items() if total > cut}
        return _OTHER_SLOT

    def rebalance(self) -> None:
        """Let heavy candidates replace light series, and halve what counts as recent."""
        if self._candidates:
            count = max(1, int(self.budget * _REPLACED_AT_ONCE))
            heaviest = heapq.nlargest(count, self._candidates.items(), key=lambda item: item[1])
            lightest = heapq.nsmallest(count, range(1, len(self.keys)), key=self._recent.__getitem__)
            for (key, weight), slot in zip(heaviest, lightest, strict=False):
                if weight <= _HYSTERESIS * self._recent[slot]:
                    break
                self._replace(slot, key, weight)
            self._candidates = {}
        self._recent = [weight >> 1 for weight in self._recent]

    def fold(self, keys: Iterable[Key]) -> None:
        """Take series off the page, their totals into ``__other__``: what they stood for is gone."""
        for key in keys:
            slot = self._slots.get(key)
            if slot is None:
                continue
            self._to_other(slot)
            # The last series moves into the gap.
            moved, values, recent = self.keys.pop(), self.values.pop(), self._recent.pop()
            if slot < len(self.keys):
                self.keys[slot], self.values[slot], self._recent[slot] = moved, values, recent
                self._slots[moved] = slot
            self.removals += 1
            self.generation += 1

    def _to_other(self, slot: int) -> None:
        other = self.values[_OTHER_SLOT]
        for measure, amount in enumerate(self.values[slot]):
            other[measure] += amount
            self.folded[measure] += amount
        del self._slots[self.keys[slot]]
        self.moves += 1

    def _replace(self, slot: int, key: Key, weight: int) -> None:
        self._to_other(slot)
        self._slots[key] = slot
        self.keys[slot] = key
        self.values[slot] = [0] * self._measures
        self._recent[slot] = weight
        self.evictions += 1
        self.generation += 1

    def published_keys(self) -> list[Key]:
        """Return the label values of the series on the page."""
        return self.keys[self._first :]

    def published_rows(self) -> list[list[int]]:
        """Return the totals of the series on the page, in the order of ``published_keys``."""
        return [values.copy() for values in self.values[self._first :]]

    def published(self, measure: int) -> list[int]:
        """Return one measure of them."""
        return [values[measure] for values in self.values[self._first :]]
