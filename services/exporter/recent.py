"""The last fifteen minutes for the live page: rates by second; by minute what the traffic was and who is heaviest.

Addresses, ports and names stand here, bounded, and never in labels. Times are when a batch was counted, so that a
replayed capture shows as well.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from services.exporter.aggregate import Counts
from services.exporter.columns import frozen
from services.exporter.heavy import Heaviest, HeavyTable
from services.exporter.names import Domain, HeavyNames, count_domains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa

    from services.exporter.columns import Columns
    from streamgauge.subjects import Envelope

#: Seconds and minutes that are kept.
SECONDS: Final = 900
MINUTES: Final = 15
#: Heaviest keys kept of each minute; a key beyond them in every minute is not seen.
_KEPT: Final = 50

#: Seconds by which the clock may be set back before the history begins anew.
_CLOCK_STEP: Final = 2

_PROTOCOL_SHIFT: Final = 16


class Second(NamedTuple):
    """What was counted in one second of the wall clock."""

    time: int
    packets: int
    bytes: int


class Minute(NamedTuple):
    """What was counted in one minute."""

    counts: Counts
    pairs: Heaviest
    ports: Heaviest
    domains: list[Domain]


class Window(NamedTuple):
    """What was counted in the last minutes, heaviest first."""

    counts: Counts
    #: (source, destination) as packed bytes, and packets, bytes.
    pairs: list[tuple[bytes, tuple[int, int]]]
    #: (IP protocol number, port), and packets, bytes.
    ports: list[tuple[tuple[int, int], tuple[int, int]]]
    domains: list[Domain]


class Recent:
    """Looks at each batch the consumer counts; read by the live page. Memory is fixed."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: deque[Second] = deque(maxlen=SECONDS)
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._minute = int(clock()) // 60
        self._counts = Counts.zero()
        self._pairs = HeavyTable(4)
        self._ports = HeavyTable(1)
        self._domains = HeavyNames()

    def see(self, envelope: Envelope, batch: pa.RecordBatch, columns: Columns, counts: Counts) -> None:
        """Add one batch."""
        keys = frozen(np.concatenate((columns.source, columns.destination), axis=1))
        services, has_ports = _services(columns)
        domains = count_domains(batch, columns)
        with self._lock:
            self._roll()
            self._add_second(envelope.packets, envelope.bytes)
            self._counts.add(counts)
            self._pairs.add(keys, columns.packets, columns.bytes, columns.ip_version)
            self._ports.add(services, columns.packets, columns.bytes, has_ports)
            for domain in domains:
                self._domains.add(*domain)

    def seconds(self, since: int = 0) -> list[Second]:
        """Return the seconds that are over, from ``since`` on, without gaps."""
        with self._lock:
            self._add_second(0, 0)
            now = self._seconds[-1].time
            return [second for second in self._seconds if since <= second.time < now]

    def window(self, minutes: int, count: int) -> Window:
        """Return what was counted in so many whole minutes and the running one, the ``count`` heaviest of each kind."""
        with self._lock:
            self._roll()
            chosen = [*list(self._minutes)[len(self._minutes) - min(minutes, len(self._minutes)) :], self._closed()]
        counts = Counts.zero()
        for minute in chosen:
            counts.add(minute.counts)
        pairs = _merge((minute.pairs for minute in chosen), count)
        services = _merge((minute.ports for minute in chosen), count)
        return Window(
            counts,
            [(np.array(key, np.uint64).tobytes(), amounts) for key, amounts in pairs],
            [((key[0] >> _PROTOCOL_SHIFT, key[0] & 0xFFFF), amounts) for key, amounts in services],
            _merge_domains((minute.domains for minute in chosen), count),
        )

    def _closed(self) -> Minute:
        return Minute(
            self._counts, self._pairs.heaviest(_KEPT), self._ports.heaviest(_KEPT), self._domains.heaviest(_KEPT)
        )

    def _roll(self) -> None:
        """Close the minutes that are over."""
        minute = int(self._clock()) // 60
        for _ in range(min(minute - self._minute, MINUTES + 1)):
            self._minutes.append(self._closed())
            self._counts = Counts.zero()
            self._pairs.clear()
            self._ports.clear()
            self._domains = HeavyNames()
        # A clock that was set back only makes the running minute longer.
        self._minute = minute

    def _add_second(self, packets: int, size: int) -> None:
        now = int(self._clock())
        if self._seconds and now < self._seconds[-1].time - _CLOCK_STEP:
            self._seconds.clear()
        if not self._seconds:
            self._seconds.append(Second(now, 0, 0))
        last = self._seconds[-1]
        for between in range(max(last.time + 1, now - SECONDS), now + 1):
            self._seconds.append(Second(between, 0, 0))
        last = self._seconds[-1]
        self._seconds[-1] = Second(last.time, last.packets + packets, last.bytes + size)


def _services(columns: Columns) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """Return (protocol, port) of each row as one word, and which rows have ports; the lower port is the service's."""
    lower = np.minimum(columns.source_port, columns.destination_port).astype(np.uint64)
    words = lower | columns.ip_protocol.astype(np.uint64) << np.uint64(_PROTOCOL_SHIFT)
    return frozen(words.reshape(-1, 1)), frozen((lower != 0).view(np.uint8))


def _merge(parts: Iterable[Heaviest], count: int) -> list[tuple[tuple[int, ...], tuple[int, int]]]:
    sizes: Counter[tuple[int, ...]] = Counter()
    packets: Counter[tuple[int, ...]] = Counter()
    for part in parts:
        for key, (some, size) in zip(map(tuple, part.keys.tolist()), part.amounts.tolist(), strict=True):
            sizes[key] += size
            packets[key] += some
    return [(key, (packets[key], size)) for key, size in sizes.most_common(count)]


def _merge_domains(parts: Iterable[list[Domain]], count: int) -> list[Domain]:
    queries: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for part in parts:
        for domain in part:
            queries[domain.name] += domain.queries
            failures[domain.name] += domain.failures
    order = sorted(queries, key=lambda name: -(queries[name] + failures[name]))
    return [Domain(name, queries[name], failures[name]) for name in order[:count]]
