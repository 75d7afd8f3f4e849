"""Metrics: an aioprometheus registry with names prefixed, labels sanitised and totals published with ``set``.

aioprometheus does not escape label values (a quote in one breaks the whole scrape) and takes Python floats only; every
value and label passes through here. Metrics are declared in a component's ``metrics.py`` and nowhere else.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aioprometheus import Counter, Gauge, Histogram, Registry

from streamgauge.exposition import Distribution, Levels, PageFormatter, Totals, label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PREFIX: Final = "streamgauge_"

__all__ = ["PREFIX", "Declared", "Distribution", "Family", "Levels", "Metrics", "Totals", "label"]


class Declared(NamedTuple):
    """What a metric is, for the reference page and for tests."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Family:
    """One metric family with fixed label names."""

    def __init__(self, metric: Any, labels: tuple[str, ...]) -> None:
        self._metric = metric
        self._labels = labels

    def _key(self, values: Sequence[object]) -> dict[str, str]:
        if len(values) != len(self._labels):
            raise TypeError(f"{self._metric.name} takes labels {self._labels}, got {values!r}")
        return dict(zip(self._labels, map(label, values), strict=True))

    def set(self, value: float, *labels: object) -> None:
        """Publish a total or a level."""
        self._metric.set(self._key(labels), float(value))

    def add(self, value: float, *labels: object) -> None:
        """Add to a total."""
        self._metric.add(self._key(labels), float(value))

    def get(self, *labels: object) -> float:
        """Return the present value (0 when never set)."""
        try:
            return float(self._metric.get(self._key(labels)))
        except KeyError:
            return 0.0

    def observe(self, value: float, *labels: object) -> None:
        """Add one value to a histogram."""
        self._metric.observe(self._key(labels), float(value))

    def remove(self, *labels: object) -> None:
        """Forget one series, if it is there."""
        self._metric.values.pop(self._key(labels), None)


class Metrics:
    """The metrics of one service: declared once, rendered at each scrape.

    ``before_scrape`` functions run in the scrape's thread and publish totals that are aggregated elsewhere.
    """

    def __init__(self, constant: Mapping[str, str] | None = None) -> None:
        self._registry = Registry()
        self._formatter = PageFormatter()
        # Two scrapes at a time must not publish into one another's page.
        self._one_page = threading.Lock()
        self._constant = {name: label(value) for name, value in (constant or {}).items()}
        self._before: list[Callable[[], None]] = []
        #: All metrics, in the order they were declared.
        self.declared: list[Declared] = []

    def counter(self, name: str, help_text: str, *labels: str) -> Family:
        """Declare a counter; the name ends in ``_total``."""
        return Family(self._declare(Counter, name, help_text, labels), labels)

    def gauge(self, name: str, help_text: str, *labels: str) -> Family:
        """Declare a gauge."""
        return Family(self._declare(Gauge, name, help_text, labels), labels)

    def histogram(self, name: str, help_text: str, buckets: Sequence[float], *labels: str) -> Family:
        """Declare a histogram with upper bounds ``buckets`` (+Inf is added)."""
        bounds = [*buckets, float("inf")]
        return Family(self._declare(Histogram, name, help_text, labels, buckets=bounds), labels)

    def totals(self, name: str, help_text: str, *labels: str) -> Totals:
        """Declare a counter of many series that is published whole; the name ends in ``_total``."""
        metric: Totals = self._declare(Totals, name, help_text, labels, labels=labels)
        return metric

    def levels(self, name: str, help_text: str, *labels: str) -> Levels:
        """Declare a gauge of many series that is published whole."""
        metric: Levels = self._declare(Levels, name, help_text, labels, labels=labels)
        return metric

    def distribution(self, name: str, help_text: str, buckets: Sequence[float], *labels: str) -> Distribution:
        """Declare a histogram of many series that is published whole; +Inf is added to the bounds."""
        metric: Distribution = self._declare(Distribution, name, help_text, labels, buckets=buckets, labels=labels)
        return metric

    def register(self, metric: Any) -> None:
        """Add an aioprometheus collector of a component's own."""
        self._registry.register(metric)

    def before_scrape(self, publish: Callable[[], None]) -> None:
        """Call ``publish`` before each page is rendered."""
        self._before.append(publish)

    def render(self) -> bytes:
        """Return the page in the text format, version 0.0.4."""
        with self._one_page:
            for publish in self._before:
                publish()
            return self._formatter.marshall(self._registry)

    def _declare(self, kind: Any, name: str, help_text: str, own: tuple[str, ...], **more: Any) -> Any:
        metric = kind(PREFIX + name, help_text, const_labels=self._constant, registry=self._registry, **more)
        self.declared.append(Declared(PREFIX + name, kind.kind.name, (*self._constant, *own), help_text))
        return metric
