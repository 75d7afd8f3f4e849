"""The domains most asked for in a window, in bounded memory, and how often that failed."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pyarrow as pa

    from services.exporter.columns import Columns

#: Domains of a window.
CAPACITY: Final = 4096

# The name as registered: two labels, three below second-level registries such as co.uk, four for a namespace of a
# cluster (svc.cluster.local). No list of public suffixes: a name that is cut too short or too long is still counted.
_DOMAIN: Final = (
    r"(?P<domain>"
    r"[^.]+\.(?:svc|pod)\.cluster\.local"
    r"|[^.]+\.(?:ac|co|com|edu|gob|gov|ne|net|or|org)\.[a-z]{2}"
    r"|[^.]+\.(?:in-addr|ip6)\.arpa"
    r"|[^.]+\.[^.]+"
    r"|[^.]*"
    r")$"
)
_NOERROR: Final = 0


class Domain(NamedTuple):
    """A domain, and how many queries and failed responses (any code but NOERROR) there were for names in it."""

    name: str
    queries: int
    failures: int


class HeavyNames:
    """Counts one window, by Misra-Gries as heavy.py does: what leaves is counted as ``rest``."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._counts: dict[str, list[int]] = {}
        self.rest = 0

    def add(self, name: str, queries: int, failures: int) -> None:
        """Add queries and failures to a domain."""
        entry = self._counts.get(name)
        if entry is None:
            if len(self._counts) == self._capacity:
                self._make_room()
            entry = self._counts[name] = [0, 0, 0]
        entry[0] += queries
        entry[1] += failures
        entry[2] += queries + failures

    def heaviest(self, count: int) -> list[Domain]:
        """Return the domains with the most queries and failures."""
        order = sorted(self._counts.items(), key=lambda item: -(item[1][0] + item[1][1]))
        return [Domain(name, queries, failures) for name, (queries, failures, _) in order[:count]]

    def _make_room(self) -> None:
        cut = int(statistics.median_high(weight for _, _, weight in self._counts.values()))
        self.rest += sum(queries for queries, _, weight in self._counts.values() if weight <= cut)
        self._counts = {
            name: [queries, failures, weight - cut]
            for name, (queries, failures, weight) in self._counts.items()
            if weight > cut
        }


def count_domains(batch: pa.RecordBatch, columns: Columns) -> list[Domain]:
    """Return the questions and failed responses of a batch by domain."""
    asked = batch.column("dns_name")
    if asked.null_count == len(asked):
        return []
    # Only rows with a question: few batches have nothing else.
    rows = np.flatnonzero(asked.is_valid().to_numpy(zero_copy_only=False))
    encoded = asked.drop_null().dictionary_encode()
    domains = pc.struct_field(pc.extract_regex(encoded.dictionary, _DOMAIN), "domain").dictionary_encode()
    # Of each of them: which domain, by way of its name.
    row = domains.indices.to_numpy(zero_copy_only=False)[encoded.indices.to_numpy()]
    packets, response = columns.packets[rows], columns.dns_response[rows]
    failed = (response == 1) & (columns.dns_rcode[rows] != _NOERROR)
    count = len(domains.dictionary)
    queries = np.bincount(row, np.where(response == 0, packets, 0), count)
    failures = np.bincount(row, np.where(failed, packets, 0), count)
    return [
        Domain(name or ".", int(queries[position]), int(failures[position]))
        for position, name in enumerate(domains.dictionary.to_pylist())
        if queries[position] or failures[position]
    ]
