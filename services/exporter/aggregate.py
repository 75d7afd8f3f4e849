"""From batches to totals: a batch is counted in one compiled pass, its few non-zero cells go into series tables."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from services.exporter import columns, networks, optional, words
from services.exporter.aggregate_kernels import count_batch
from services.exporter.conversations import Conversations, PortSums
from services.exporter.opt_in import OptIn
from services.exporter.series import REBALANCE_INTERVAL, SeriesTable
from streamgauge import schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from streamgauge.subjects import Envelope

_SIZE_CELLS: Final = len(words.SIZE_BUCKETS) + 1
#: Lines of a histogram on the page: buckets, count and sum.
_SIZE_LINES: Final = _SIZE_CELLS + 2
#: Sizes whose bucket is looked up, in bytes: up to a frame of Ethernet with its tags.
_SMALL: Final = 1536
_TIME_CELLS: Final = len(optional.TIME_BUCKETS) + 1
#: Most series of the family by port, if the budget is larger: a scan of ports must not fill Prometheus.
_PORTS: Final = 2000
#: Label values by position in the cells of ``Counts``, flattened.
_TRAFFIC: Final = tuple(itertools.product(words.PROTOCOLS, words.APPS, words.DIRECTIONS))
_RESPONSES: Final = tuple(itertools.product(words.QTYPES, words.RCODES))
_FLOWS: Final = tuple(itertools.product(words.PROTOCOLS, words.DIRECTIONS))


class Lookups(NamedTuple):
    """Positions by number (words.py), the bounds of the size histogram, and the bucket of each size of most packets."""

    protocol: npt.NDArray[np.uint8]
    qtype: npt.NDArray[np.uint8]
    rcode: npt.NDArray[np.uint8]
    size_buckets: npt.NDArray[np.int64]
    small_sizes: npt.NDArray[np.uint8]


class Counts(NamedTuple):
    """Dense counts of one batch, in packets; in ``traffic`` the last axis is packets, bytes."""

    traffic: npt.NDArray[np.int64]  # [protocol, app, direction, 2]
    status: npt.NDArray[np.int64]
    flags: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]
    responses: npt.NDArray[np.int64]  # [qtype, rcode]
    sizes: npt.NDArray[np.int64]
    resets: npt.NDArray[np.int64]  # [direction]
    silent: npt.NDArray[np.int64]  # [qtype], queries without a response
    flows: npt.NDArray[np.int64]  # [protocol, direction]
    unanswered: npt.NDArray[np.int64]  # [direction], connection attempts
    troubles: npt.NDArray[np.int64]  # [of optional.TROUBLES]
    times: npt.NDArray[np.int64]  # [of optional.TIMES, bucket], and last the sum in ns

    @classmethod
    def zero(cls) -> Counts:
        """Return counts of nothing."""
        return cls(
            traffic=np.zeros((len(words.PROTOCOLS), len(words.APPS), len(words.DIRECTIONS), 2), np.int64),
            status=np.zeros(len(words.STATUSES), np.int64),
            flags=np.zeros(len(words.FLAGS), np.int64),
            queries=np.zeros(len(words.QTYPES), np.int64),
            responses=np.zeros((len(words.QTYPES), len(words.RCODES)), np.int64),
            sizes=np.zeros(_SIZE_CELLS, np.int64),
            resets=np.zeros(len(words.DIRECTIONS), np.int64),
            silent=np.zeros(len(words.QTYPES), np.int64),
            flows=np.zeros((len(words.PROTOCOLS), len(words.DIRECTIONS)), np.int64),
            unanswered=np.zeros(len(words.DIRECTIONS), np.int64),
            troubles=np.zeros(len(optional.TROUBLES), np.int64),
            times=np.zeros((len(optional.TIMES), _TIME_CELLS + 1), np.int64),
        )

    def add(self, other: Counts) -> None:
        """Add other counts to these."""
        for mine, theirs in zip(self, other, strict=True):
            np.add(mine, theirs, out=mine)


class Tables(NamedTuple):
    """The totals since the start, a table a family (or two families of the same labels)."""

    traffic: SeriesTable  # packets, bytes
    status: SeriesTable
    flags: SeriesTable
    queries: SeriesTable
    responses: SeriesTable
    sizes: SeriesTable  # packets by bucket, then the sum of bytes
    resets: SeriesTable
    silent: SeriesTable
    flows: SeriesTable
    unanswered: SeriesTable
    ports: SeriesTable  # packets, bytes

    @classmethod
    def empty(cls, budget: int) -> Tables:
        """Return empty tables with at most ``budget`` series on the page for each family."""
        return cls(
            traffic=SeriesTable(5, 2, budget, weight=1),
            status=SeriesTable(2, 1, budget),
            flags=SeriesTable(2, 1, budget),
            queries=SeriesTable(2, 1, budget),
            responses=SeriesTable(3, 1, budget),
            sizes=SeriesTable(1, _SIZE_CELLS + 1, max(2, budget // _SIZE_LINES), weight=_SIZE_CELLS),
            resets=SeriesTable(2, 1, budget),
            silent=SeriesTable(2, 1, budget),
            flows=SeriesTable(3, 1, budget),
            unanswered=SeriesTable(2, 1, budget),
            ports=SeriesTable(3, 2, min(budget, _PORTS), weight=1),
        )


class Aggregator:
    """Counts batches; lives as long as the service. ``fold`` and the readers of the tables hold ``lock``."""

    def __init__(
        self,
        inside: networks.Networks,
        budget: int,
        *,
        record: Iterable[str] = schema.BY_NAME,
        opt_in: OptIn | None = None,
    ) -> None:
        """``record`` are the names of its columns; families whose columns it lacks are left out.

        ``opt_in`` are the families whose labels are addresses and names, None: neither.
        """
        self.lock = threading.Lock()
        self.tables = Tables.empty(budget)
        #: Families that not every record has.
        self.counted = {
            family: SeriesTable(1 + len(family.labels), 1, min(budget, family.most or budget))
            for family in optional.count_families(record)
        }
        self.timed = {
            family: SeriesTable(1, _TIME_CELLS + 1, max(2, budget // (_TIME_CELLS + 2)), weight=None)
            for family in optional.time_families(record)
        }
        self.opt_in = opt_in or OptIn(budget)
        self.conversations = Conversations(words.protocol_positions())
        self._ports = PortSums()
        self._inside = inside
        self._lookups = Lookups(
            words.protocol_positions(),
            words.qtype_positions(),
            words.rcode_positions(),
            np.array(words.SIZE_BUCKETS, np.int64),
            np.searchsorted(words.SIZE_BUCKETS, np.arange(_SMALL)).astype(np.uint8),
        )
        self._rebalanced = time.monotonic()

    def fold(self, envelope: Envelope, batch: pa.RecordBatch) -> tuple[columns.Columns, Counts]:
        """Add a batch to the totals; return what was read and counted, for others who look at the batch."""
        counts = Counts.zero()
        read = columns.read(batch)
        directions = np.empty(len(batch), np.uint8)
        count_batch(read, self._lookups, self._inside, directions, np.zeros(256, np.int64), counts)
        self.conversations.count(envelope.node, read, directions, counts)
        ports = list(self._ports.count(read))
        counted = {
            family: family.count(batch, read)
            for family in self.counted
            if optional.has_values(batch, family.columns[0])
        }
        timed = {
            family: optional.count_times(batch, read, family.column)
            for family in self.timed
            if optional.has_values(batch, family.column)
        }
        with self.lock:
            self._add(envelope, counts, int(read.bytes.sum()))
            for port, amounts in ports:
                self.tables.ports.add((envelope.node, *port), amounts)
            for family, found in counted.items():
                for labels, packets in found.items():
                    self.counted[family].add((envelope.node, *labels), (packets,))
                if family.name in optional.TROUBLES:
                    counts.troubles[optional.TROUBLES.index(family.name)] = found.get((), 0)
            for timed_family, cells in timed.items():
                self.timed[timed_family].add((envelope.node,), cells)
                counts.times[optional.TIMES.index(timed_family.name)] = cells
            self.opt_in.add(batch, read)
        return read, counts

    def skip(self, envelope: Envelope) -> None:
        """Add a batch by its header alone: packets and bytes of the node stay exact, what they were is not known."""
        self.conversations.forget(envelope.node)
        key = (envelope.node, envelope.interface, words.SKIPPED, words.SKIPPED, words.SKIPPED)
        with self.lock:
            self.tables.traffic.add(key, (envelope.packets, envelope.bytes))

    def rebalance(self, now: float) -> None:
        """Let heavy keys replace light ones, if it is time (``now`` in seconds of the monotonic clock)."""
        if now - self._rebalanced < REBALANCE_INTERVAL:
            return
        self._rebalanced = now
        with self.lock:
            for table in (*self.tables, *self.counted.values(), *self.timed.values(), *self.opt_in.tables):
                table.rebalance()

    def _add(self, envelope: Envelope, counts: Counts, total_bytes: int) -> None:
        node, tables = envelope.node, self.tables
        if not tables.status.has((node, words.STATUSES[0])):
            self._begin(node)
        cells = counts.traffic.reshape(-1, 2)
        taken = (cells[:, 0] | cells[:, 1]).nonzero()[0]
        for position, amounts in zip(taken.tolist(), cells[taken].tolist(), strict=True):
            tables.traffic.add((node, envelope.interface, *_TRAFFIC[position]), amounts)
        for table, counted, names in (
            (tables.status, counts.status, words.STATUSES),
            (tables.flags, counts.flags, words.FLAGS),
            (tables.queries, counts.queries, words.QTYPES),
            (tables.resets, counts.resets, words.DIRECTIONS),
            (tables.silent, counts.silent, words.QTYPES),
            (tables.unanswered, counts.unanswered, words.DIRECTIONS),
        ):
            for name, packets in zip(names, counted.tolist(), strict=True):
                if packets:
                    table.add((node, name), (packets,))
        for table, counted, pairs in (
            (tables.responses, counts.responses, _RESPONSES),
            (tables.flows, counts.flows, _FLOWS),
        ):
            flat = counted.reshape(-1)
            for position in flat.nonzero()[0].tolist():
                table.add((node, *pairs[position]), (int(flat[position]),))
        tables.sizes.add((node,), [*counts.sizes.tolist(), total_bytes])

    def _begin(self, node: str) -> None:
        """Give a new node its zeros, so that what never happened shows as 0 and ratios have both their sides."""
        for table, names in (
            (self.tables.status, words.STATUSES),
            (self.tables.flags, words.FLAGS),
            (self.tables.resets, words.DIRECTIONS),
            (self.tables.unanswered, words.DIRECTIONS),
            (self.tables.silent, words.BEGUN_QTYPES),
        ):
            for name in names:
                table.add((node, name), (0,))
