"""Who talks to whom: traffic by pair of workloads, as of the time of each packet, each packet once.

Names come from ``IdentityTable``; an address that nobody is known to have is ``__world__`` outside of the inside
networks and ``__unknown__`` within. Where a packet counts is decided in observation.py.

Sums gather by pair in arrays and go into the series tables when somebody looks, when the names change or when the
arrays are full, so that a batch costs no Python for each pair. Retransmits, resets and unanswered connections count
under the sender; a DNS failure under who asked.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from services.exporter import columns, networks, words
from services.exporter.observation import REASONS, SKIPPED, Collectors, Observation
from services.exporter.series import REBALANCE_INTERVAL, SeriesTable
from services.exporter.workload_kernels import count_rows, count_unanswered
from streamgauge.identity.table import IdentityTable

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    import pyarrow as pa

    from services.exporter.aggregate import Counts
    from services.exporter.columns import Columns
    from services.exporter.conversations import Conversations
    from services.exporter.networks import Networks
    from services.exporter.observation import Here
    from streamgauge.exposition import Key
    from streamgauge.subjects import Envelope

#: Namespace, name and kind, as they stand in labels.
Workload = tuple[str, str, str]

WORLD: Final = "__world__"
#: Label positions 0 and 1.
_NOBODY: Final[tuple[Workload, ...]] = ((WORLD,) * 3, (words.UNKNOWN,) * 3)

#: Pairs whose sums are gathered at a time.
_CAPACITY: Final = 1 << 16
_EVENTS: Final = ("retransmits", "resets", "dns_failures", "unanswered")
_NO_ENDS: Final = np.zeros((0, 4), np.uint64)
_NO_TIMES: Final = np.zeros(0, np.int64)
#: Seconds between two looks for series of workloads that are gone.
FOLD_INTERVAL: Final = 5.0


class Who(NamedTuple):
    """What the kernel needs to know of n rows to name and place them."""

    sources: npt.NDArray[np.int32]  # position in owners, -1: nobody known
    destinations: npt.NDArray[np.int32]
    #: [k, 4] position of the owner's workload; number of its node, -1: on no node; 1: a service. What is asked together
    #: lies in one line of the cache.
    owners: npt.NDArray[np.int32]
    collectors: npt.NDArray[np.uint8]  # by number of a node: has a collector
    protocols: npt.NDArray[np.uint8]  # position in words.PROTOCOLS by number
    inside: Networks


class Pairs(NamedTuple):
    """Sums by pair and protocol until they go into the series tables."""

    #: [places, 8] key (0: free), packets, bytes, events; by hash, each in one line of the cache.
    table: npt.NDArray[np.int64]
    used: npt.NDArray[np.int64]  # places that are taken
    state: npt.NDArray[np.int64]  # [how many they are]

    @classmethod
    def empty(cls) -> Pairs:
        """Return room for ``_CAPACITY`` pairs; at most half of the places are taken, so that a search ends soon."""
        words = np.zeros(8 * (2 * _CAPACITY + 1), np.int64)
        first = -words.ctypes.data % 64 // 8
        table = words[first : first + 8 * 2 * _CAPACITY].reshape(-1, 8)
        return cls(table, np.zeros(_CAPACITY, np.int64), np.zeros(1, np.int64))


class WorkloadTables(NamedTuple):
    """The totals since the start."""

    traffic: SeriesTable  # packets, bytes; labels: both workloads and the protocol
    retransmits: SeriesTable
    resets: SeriesTable
    dns_failures: SeriesTable
    unanswered: SeriesTable

    @classmethod
    def empty(cls, budget: int) -> WorkloadTables:
        """Return empty tables with at most ``budget`` series each."""
        return cls(SeriesTable(7, 2, budget, weight=1), *(SeriesTable(6, 1, budget) for _ in _EVENTS))


class Workloads:
    """Looks at each batch the consumer counts; lives as long as the service. Readers of the tables hold ``lock``."""

    def __init__(
        self, inside: Networks, budget: int, collectors: Collectors, conversations: Conversations | None = None
    ) -> None:
        """``conversations`` tell of unanswered connections; a batch is counted there first."""
        self.lock = threading.Lock()
        self.tables = WorkloadTables.empty(budget)
        #: Packets and bytes that do not count, by position in REASONS.
        self.left = np.zeros((len(REASONS), 2), np.int64)
        self._inside = inside
        self._protocols = words.protocol_positions()
        self._collectors = collectors
        self._conversations = conversations
        self._observation = Observation()
        self._pairs = Pairs.empty()
        self._collecting = np.zeros(0, np.uint8)
        self._looked = 0.0
        self._folded = 0.0
        #: Who was living, and the state of the tables, when it was last looked for series to fold.
        self._looked_at: tuple[object, ...] = ()
        self._rebalanced = 0.0
        self._nodes: dict[str, int] = {}
        self._labels: list[Workload] = []
        #: By key of a pair, its series in ``tables.traffic``, as long as that has not moved.
        self._slots: dict[int, int] = {}
        self._moves = 0
        self._living: AbstractSet[Workload] = frozenset()
        self._table = IdentityTable()
        self._owners = np.zeros((0, 4), np.int32)
        self.use(self._table, frozenset())

    def use(self, table: IdentityTable, living: AbstractSet[Workload]) -> None:
        """Name by this table from now on.

        Args:
            table: who had which address when.
            living: workloads that have, or had in the last minute, an address; series of others are folded.

        """
        with self.lock:
            self.flush()
            self._table, self._living = table, living
            positions: dict[Workload, int] = {workload: position for position, workload in enumerate(_NOBODY)}
            owners = []
            for owner in table.owners:
                workload = (owner.namespace, owner.workload, owner.workload_kind)
                node = self._node(owner.node) if owner.node else -1
                owners.append((positions.setdefault(workload, len(positions)), node, owner.is_service, 0))
            self._labels = list(positions)
            self._slots.clear()
            self._owners = np.array(owners, np.int32).reshape(-1, 4)

    def see(self, envelope: Envelope, batch: pa.RecordBatch, read: Columns, _counts: Counts | None) -> None:
        """Add one batch."""
        marks = columns.frozen(columns.booleans(batch.column("retransmission"), 0))
        with self.lock:
            last = int(read.time.max(initial=0))
            here = self._observation.here(
                self._node(envelope.node), envelope.interface, envelope.observation_point, last
            )
            who = self._who(envelope.node, read.source, read.destination, read.time)
            self._count_rows(read, marks, who, here)
            ends, times = self._conversations.unanswered() if self._conversations else (_NO_ENDS, _NO_TIMES)
            if len(times):
                sources, destinations = columns.frozen(ends[:, :2]), columns.frozen(ends[:, 2:])
                who = self._who(envelope.node, sources, destinations, times)
                row = 0
                while (row := int(count_unanswered(sources, destinations, who, here, self._pairs, row))) < len(times):
                    self.flush()

    def _count_rows(self, read: Columns, marks: npt.NDArray[np.uint8], who: Who, here: Here) -> None:
        elections, row = self._observation.elections, 0
        while (row := int(count_rows(read, marks, who, here, elections, self._pairs, self.left, row))) < len(marks):
            if self._observation.is_full:
                self._observation.make_room()
            else:
                self.flush()

    def _who(
        self,
        node: str,
        sources: npt.NDArray[np.uint64],
        destinations: npt.NDArray[np.uint64],
        times: npt.NDArray[np.int64],
    ) -> Who:
        return Who(
            self._table.resolve(sources, times),
            self._table.resolve(destinations, times),
            self._owners,
            self._with_collectors(node),
            self._protocols,
            self._inside,
        )

    def pass_over(self, envelope: Envelope) -> None:
        """Add a batch that is not read, by its header."""
        with self.lock:
            self.left[SKIPPED] += (envelope.packets, envelope.bytes)

    def flush(self) -> None:
        """Move the sums into the series tables; the caller holds ``lock``."""
        used = self._pairs.used[: self._pairs.state[0]]
        pairs, traffic = self._pairs.table[used], self.tables.traffic
        self._pairs.table[used] = 0
        self._pairs.state[0] = 0
        keys = pairs[:, 0] - 1
        if self._moves != traffic.moves:
            self._slots.clear()
        # Tuples of seven names cost several times as much as the sums, so they are made once a pair.
        slots = np.fromiter(map(self._slots.get, keys.tolist(), itertools.repeat(-1)), np.int64, len(keys))
        known, amounts = slots >= 0, pairs[:, 1:3]
        traffic.add_to(slots[known].tolist(), amounts[known].tolist())
        new = ~known & (amounts[:, 0] != 0)
        for key, sums in zip(keys[new].tolist(), amounts[new].tolist(), strict=True):
            names = (*self._names(key), words.PROTOCOLS[key & 0xFF])
            traffic.add(names, sums)
            slot = traffic.slot_of(names)
            if slot is not None:
                self._slots[key] = slot
        self._moves = traffic.moves
        events = pairs[:, 3 : 3 + len(_EVENTS)]
        happened = np.flatnonzero(events.any(axis=1))
        for key, rows in zip(keys[happened].tolist(), events[happened].tolist(), strict=True):
            names = self._names(key)
            for table, amount in zip(self.tables[1:], rows, strict=True):
                if amount:
                    table.add(names, (amount,))

    def _names(self, key: int) -> Key:
        """Return the label values of a pair."""
        return (*self._labels[key >> 36], *self._labels[key >> 8 & 0xFFFFFFF])

    def is_due(self, now: float) -> bool:
        """Return whether ``rebalance`` has something to do."""
        return now - self._folded >= FOLD_INTERVAL

    def rebalance(self, now: float) -> None:
        """Fold series of workloads that are gone, and let heavy series replace light ones, when it is time.

        ``now`` is in seconds of the monotonic clock.
        """
        if now - self._folded >= FOLD_INTERVAL:
            self._folded = now
            with self.lock:
                self._fold()
        if now - self._rebalanced >= REBALANCE_INTERVAL:
            self._rebalanced = now
            with self.lock:
                self.flush()
                for table in self.tables:
                    table.rebalance()

    def _fold(self) -> None:
        state = (self._living, *(table.generation for table in self.tables))
        if state == self._looked_at:
            return
        for table in self.tables:
            table.fold([key for key in table.keys[1:] if not self._is_living(key)])
        self._looked_at = (self._living, *(table.generation for table in self.tables))

    def _is_living(self, key: Key) -> bool:
        source, destination = key[:3], key[3:6]
        living = self._living
        return (source in living or source in _NOBODY) and (destination in living or destination in _NOBODY)

    def _node(self, name: str) -> int:
        return self._nodes.setdefault(name, len(self._nodes))

    def _with_collectors(self, node: str) -> npt.NDArray[np.uint8]:
        """Return which nodes have a collector: this one, whose batch it is, and those heard of."""
        now = time.time()
        self._collectors.hear(node, now)
        if len(self._collecting) != len(self._nodes) or not 0 <= now - self._looked < 1:
            alive = self._collectors.alive()
            self._collecting = np.array([name in alive for name in self._nodes], np.uint8)
            self._looked = now
        self._collecting[self._nodes[node]] = 1
        return self._collecting


def warm_up(read: Columns, batch: pa.RecordBatch, envelope: Envelope) -> None:
    """Run every kernel once."""
    workloads = Workloads(networks.parse(""), 100, Collectors())
    workloads.see(envelope, batch, read, None)
    ends = columns.frozen(np.zeros((1, 2), np.uint64))
    who = workloads._who(envelope.node, ends, ends, np.zeros(1, np.int64))
    count_unanswered(ends, ends, who, Observation().here(0, "", "", 0), workloads._pairs, 0)
    workloads.flush()
