"""Families that are off unless asked for, since traffic chooses their label values: talkers and domains.

The live page always shows both. As metrics they are bounded more tightly than others, but an outsider can still fill
them: each address or name that was heavy once stays a series of Prometheus for as long as it keeps data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from services.exporter.columns import frozen
from services.exporter.heavy import HeavyTable
from services.exporter.names import count_domains
from services.exporter.series import SeriesTable
from services.exporter.words import OTHER
from streamgauge.exposition import plain
from streamgauge.text import address_text

if TYPE_CHECKING:
    import pyarrow as pa

    from services.exporter.columns import Columns

    #: A table, the measure, and the family's name, meaning and labels.
    Opted = tuple[SeriesTable, int, str, str, tuple[str, ...]]

#: Most series of each, if the budget is larger.
_MOST: Final = 1000


class OptIn:
    """What was asked for; the aggregator's lock guards it."""

    def __init__(self, budget: int, *, talkers: bool = False, domains: bool = False) -> None:
        """``budget`` is that of any family, in series."""
        self.talkers = SeriesTable(2, 2, min(budget, _MOST), weight=1) if talkers else None
        self.domains = SeriesTable(1, 2, min(budget, _MOST), weight=None) if domains else None
        self._pairs = HeavyTable(4) if talkers else None

    @property
    def tables(self) -> tuple[SeriesTable, ...]:
        """The tables that were asked for."""
        return tuple(table for table in (self.talkers, self.domains) if table is not None)

    def families(self) -> list[Opted]:
        """Return the families that were asked for."""
        found: list[Opted] = []
        if self.talkers is not None:
            ends = ("source", "destination")
            found += [
                (self.talkers, 0, "talker_packets_total", "Packets by pair of addresses.", ends),
                (self.talkers, 1, "talker_bytes_total", "Bytes by pair of addresses.", ends),
            ]
        if self.domains is not None:
            found += [
                (self.domains, 0, "dns_domain_queries_total", "DNS queries by registered domain.", ("domain",)),
                (
                    self.domains,
                    1,
                    "dns_domain_failures_total",
                    "DNS responses with any code but NOERROR, by registered domain.",
                    ("domain",),
                ),
            ]
        return found

    def add(self, batch: pa.RecordBatch, columns: Columns) -> None:
        """Add a batch."""
        if self.domains is not None:
            for domain in count_domains(batch, columns):
                self.domains.add((_shown(domain.name),), (domain.queries, domain.failures))
        if self.talkers is not None and self._pairs is not None:
            self._add_pairs(self.talkers, self._pairs, columns)

    @staticmethod
    def _add_pairs(talkers: SeriesTable, pairs: HeavyTable, columns: Columns) -> None:
        keys = frozen(np.concatenate((columns.source, columns.destination), axis=1))
        for first in range(0, len(keys), pairs.capacity):
            # No more rows than it has room for, so nothing is left out.
            part = slice(first, first + pairs.capacity)
            rows = (keys[part], columns.packets[part], columns.bytes[part], columns.ip_version[part])
            pairs.add(*map(frozen, rows))
            found = pairs.heaviest(pairs.capacity)
            for key, amounts in zip(found.keys, found.amounts.tolist(), strict=True):
                packed = key.tobytes()
                talkers.add((address_text(packed[:16]), address_text(packed[16:])), amounts)
            pairs.clear()


def _shown(domain: str) -> str:
    """Return a domain as its label shows it: names that look the same there are one series, and none is ours.

    Whoever asks for names chooses them: ``__other__`` would be a second series with the labels of what is beyond the
    budget, and Prometheus drops one of two. With its last dot it is the same name and another label.
    """
    shown = plain(domain)
    return f"{shown}." if shown == OTHER else shown
