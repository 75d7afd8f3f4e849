"""The metrics pages of the services, read as any scraper reads them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import urllib3

from streamgauge.errors import StreamgaugeError

_SAMPLE: Final = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_pool: Final = urllib3.PoolManager(timeout=5.0, retries=False, maxsize=4)


class PageError(StreamgaugeError):
    """A page cannot be had now."""


def fetch(url: str) -> str:
    """Return a page.

    Raises:
        PageError: nobody answers, or not with status 200.

    """
    try:
        response = _pool.request("GET", url)
    except urllib3.exceptions.HTTPError as error:
        raise PageError(f"{url}: {error}") from error
    if response.status != 200:
        raise PageError(f"{url}: status {response.status}: {response.data.decode(errors='replace').strip()[:200]}")
    return response.data.decode()


class Sample(NamedTuple):
    """One line of a page."""

    labels: dict[str, str]
    value: float


class Page:
    """A page in the text format: totals by name and labels."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for line in text.splitlines():
            match = None if line.startswith("#") else _SAMPLE.fullmatch(line)
            if match is not None:
                labels = dict(_LABEL.findall(match[2] or ""))
                self._samples.setdefault(match[1], []).append(Sample(labels, float(match[3])))

    def samples(self, name: str) -> list[Sample]:
        """Return all samples of a metric, named without the prefix ``streamgauge_``."""
        return self._samples.get(f"streamgauge_{name}", [])

    def total(self, name: str, **labels: str) -> int:
        """Return the sum of the samples that carry these labels."""
        return int(sum(sample.value for sample in self.samples(name) if labels.items() <= sample.labels.items()))

    def highest(self, name: str) -> float:
        """Return the highest sample, 0 when there is none."""
        return max((sample.value for sample in self.samples(name)), default=0.0)
