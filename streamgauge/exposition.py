"""The /metrics page, fast: what stands before a value (name and labels) is made once and kept, a page is one join.

aioprometheus builds each line anew from a JSON key; at 50,000 series that is 300 ms of Python in which nothing else
of the process runs (``python -m benchmarks.render`` compares). Its collectors and registry are used as they are;
``Totals``, ``Levels`` and ``Distribution`` are collectors for values that are aggregated elsewhere and published in
bulk, whole numbers at any size. They also answer ``get_all``, so that aioprometheus' own formatter prints the same
page.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import orjson
from aioprometheus import Counter, Gauge, Histogram, Registry
from aioprometheus.formats.text import TextFormatter
from aioprometheus.metricdict import MetricDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Key = tuple[str, ...]

#: Longest label value kept; a longer one is cut. Names in Kubernetes have at most 253 characters.
_LABEL_LENGTH: Final = 256
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_HELP_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})


def plain(value: object) -> str:
    """Return what a label shows of a value: printable and of bounded length, not yet escaped."""
    raw = str(value)[:_LABEL_LENGTH]
    if raw.isprintable():
        return raw
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in raw)


def label(value: object) -> str:
    """Return a label value that cannot break the exposition format: escaped, printable, of bounded length."""
    raw = plain(value)
    return raw.translate(_ESCAPES) if '"' in raw or "\\" in raw or "\n" in raw else raw


def bound(value: float) -> str:
    """Return a bucket's upper bound as it stands in the label ``le``."""
    return "+Inf" if value == float("inf") else repr(float(value))


def _prefix(name: str, labels: Mapping[str, str]) -> str:
    """Return what stands between the line before and a value."""
    if not labels:
        return f"\n{name} "
    pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"\n{name}{{{pairs}}} "


class _Bulk:
    """What the collectors of many single values have in common: series are replaced whole, lines' beginnings kept."""

    name: str
    const_labels: dict[str, str]

    def _set_up(self, labels: Key) -> None:
        self._labels = labels
        self._keys: list[Key] = []
        self._values: Sequence[float] = ()
        self._generation: object = None
        self._prefixes: dict[Key, str] = {}
        self._lines: list[str] = []

    def publish(self, keys: Sequence[Key], values: Sequence[float], generation: object = None) -> None:
        """Replace all series; with the ``generation`` of the last call, ``keys`` are taken to be the same."""
        if generation is None or generation != self._generation:
            self._keys = list(keys)
            known = self._prefixes
            self._prefixes = {key: known.get(key) or self._line(key) for key in self._keys}
            self._lines = [self._prefixes[key] for key in self._keys]
            self._generation = generation
        self._values = values

    def get_all(self) -> list[tuple[dict[str, str], Any]]:
        """Return what aioprometheus' own formatter prints."""
        return [(self._named(key), value) for key, value in zip(self._keys, self._values, strict=True)]

    def parts(self) -> Iterable[str]:
        """Return the pieces of the page."""
        return _alternate(self._lines, map(str, self._values))

    def _named(self, key: Key) -> dict[str, str]:
        return dict(zip(self._labels, map(label, key), strict=True))

    def _line(self, key: Key) -> str:
        return _prefix(self.name, {**self.const_labels, **self._named(key)})


class Totals(_Bulk, Counter):
    """A counter of many series, published whole: label values and totals come from a table aggregated elsewhere."""

    def __init__(self, name: str, doc: str, *, labels: Key, const_labels: dict[str, str], registry: Registry) -> None:
        super().__init__(name, doc, const_labels=const_labels, registry=registry)
        self._set_up(labels)


class Levels(_Bulk, Gauge):
    """A gauge of many series, published whole."""

    def __init__(self, name: str, doc: str, *, labels: Key, const_labels: dict[str, str], registry: Registry) -> None:
        super().__init__(name, doc, const_labels=const_labels, registry=registry)
        self._set_up(labels)


class Distribution(Histogram):
    """A histogram of many series, published whole: counts by bucket and the sum of each."""

    def __init__(
        self,
        name: str,
        doc: str,
        *,
        buckets: Sequence[float],
        labels: Key,
        const_labels: dict[str, str],
        registry: Registry,
    ) -> None:
        super().__init__(
            name, doc, const_labels=const_labels, buckets=[*map(float, buckets), float("inf")], registry=registry
        )
        self._labels = labels
        self._rows: list[tuple[Key, Sequence[int], float]] = []
        self._prefixes: dict[Key, list[str]] = {}

    def publish(self, rows: Iterable[tuple[Key, Sequence[int], float]]) -> None:
        """Replace all series: label values, counts by bucket (not cumulated, the last is above all bounds), sum."""
        self._rows = list(rows)

    def get_all(self) -> list[tuple[dict[str, str], Any]]:
        """Return what aioprometheus' own formatter prints."""
        return [(self._named(key), self._cumulated(counts, total)) for key, counts, total in self._rows]

    def parts(self) -> Iterable[str]:
        """Return the pieces of the page."""
        known = self._prefixes
        self._prefixes = {key: known.get(key) or self._lines(key) for key, _, _ in self._rows}
        return chain.from_iterable(
            chain.from_iterable(
                zip(self._prefixes[key], map(str, self._cumulated(counts, total).values()), strict=True)
            )
            for key, counts, total in self._rows
        )

    def _cumulated(self, counts: Sequence[int], total: float) -> dict[Any, float]:
        result: dict[Any, float] = {}
        running = 0
        for upper, count in zip(self.upper_bounds, counts, strict=True):
            running += count
            result[upper] = running
        result["count"] = running
        result["sum"] = total
        return result

    def _named(self, key: Key) -> dict[str, str]:
        return dict(zip(self._labels, map(label, key), strict=True))

    def _lines(self, key: Key) -> list[str]:
        labels = {**self.const_labels, **self._named(key)}
        buckets = [_prefix(f"{self.name}_bucket", {**labels, "le": bound(upper)}) for upper in self.upper_bounds]
        return [*buckets, _prefix(f"{self.name}_count", labels), _prefix(f"{self.name}_sum", labels)]


class PageFormatter(TextFormatter):
    """Formats a registry as aioprometheus does, families sorted by name, with the beginnings of lines kept."""

    def __init__(self) -> None:
        super().__init__(timestamp=False)
        self._known: dict[str, dict[Any, str]] = {}

    def marshall(self, registry: Registry) -> bytes:
        """Return the page."""
        pieces: list[str] = []
        for collector in sorted(registry.get_all(), key=lambda collector: collector.name):
            doc = collector.doc.translate(_HELP_ESCAPES)
            pieces.append(f"\n# HELP {collector.name} {doc}\n# TYPE {collector.name} {collector.kind.name}")
            pieces.extend(self._parts(collector))
        pieces.append("\n")
        return "".join(pieces).lstrip("\n").encode()

    def _parts(self, collector: Any) -> Iterable[str]:
        if isinstance(collector, (Totals, Levels, Distribution)):
            return collector.parts()
        if type(collector) in (Counter, Gauge):
            return self._single_values(collector)
        return [f"\n{line}" for line in self.marshall_lines(collector)[2:]]

    def _single_values(self, collector: Any) -> Iterable[str]:
        # A copy in one step of the interpreter: other threads may add series while the page is made.
        store = collector.values.store.copy()
        known = self._known.get(collector.name, {})
        try:
            return _alternate([known[key] for key in store], map(str, store.values()))
        except KeyError:
            pass
        known = self._known[collector.name] = {
            key: known.get(key) or _prefix(collector.name, {**collector.const_labels, **_labels(key)}) for key in store
        }
        return _alternate(list(known.values()), map(str, store.values()))


def _alternate(beginnings: list[str], values: Iterable[str]) -> list[str]:
    pieces = [""] * (2 * len(beginnings))
    pieces[0::2] = beginnings
    pieces[1::2] = values
    return pieces


def _labels(key: Any) -> dict[str, str]:
    """Return the labels behind a key of aioprometheus' dictionary."""
    return {} if key == MetricDict.EMPTY_KEY else orjson.loads(key)
