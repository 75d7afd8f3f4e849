"""Where a packet counts, of all the places that see it: once, whatever it passes on its way.

A packet from pod to pod is seen on the source's node and on the destination's, and on each node by as many interfaces
as are captured. In the families by workload it counts

1. not with a **service's address** at an end: that copy was seen before its address was translated, and the translated
   one counts;
2. at the **node of its source**, if it is known and has a collector; else at the node of its destination, if that is
   known and has one; else wherever it is seen;
3. at **one interface** of that node, for each pair of addresses: that of the pod (``veth…``, ``cali…``) before one to
   the outside (``eth0``) before bridges and tunnels, otherwise the first that saw the pair. It changes when a better
   one sees the pair, or when the pair was not seen there for ten seconds. While a node shows a single interface, for
   two seconds and more, that one counts all; what another one saw up to that time is not counted again. Of a capture
   of all interfaces (``any``), the kinds of places that its batches tell apart stand for interfaces:
   ``streamgauge.observation``.

What does not count is counted by reason in ``streamgauge_workload_uncounted_packets_total``, so that both together are
all packets. Limit: a packet whose address the node translates (masquerading, NodePort) has other addresses on
each side, and is two packets to anybody who sees both.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from services.exporter.workload_kernels import index_keys
from streamgauge.observation import rank

if TYPE_CHECKING:
    from collections.abc import Callable

#: Why a packet is not counted by workload; ``skipped``: the exporter was too far behind to read the batch.
REASONS: Final = ("no_address", "service_address", "other_node", "other_interface", "skipped")
SKIPPED: Final = REASONS.index("skipped")

#: ns after which another interface may count for a pair of addresses.
IDLE: Final = 10 * 10**9
#: ns for which a node must have shown one interface to count as a node with one: at the start, batches of several
#: interfaces come one after the other.
SETTLED: Final = 2 * 10**9
#: Pairs of addresses for which an interface is remembered.
CAPACITY: Final = 1 << 16
#: Seconds since the last sign of a collector after which its node counts as without.
SILENT: Final = 60.0


class Here(NamedTuple):
    """Where a batch was seen."""

    node: int
    interface: int
    rank: int
    #: Whether the node has shown no other interface for a while: then nothing has to be elected.
    alone: bool
    #: ns UTC up to which the first interface of the node was alone: it has counted all there was.
    alone_until: int
    idle: int


class Elections(NamedTuple):
    """Which interface counts, by fingerprint of node and pair of addresses."""

    places: npt.NDArray[np.int32]  # entry + 1 by fingerprint, 0 where free
    keys: npt.NDArray[np.uint64]
    interfaces: npt.NDArray[np.int32]
    ranks: npt.NDArray[np.uint8]
    times: npt.NDArray[np.int64]  # of the last packet that counted
    state: npt.NDArray[np.int64]  # [entries in use]
    seed: npt.NDArray[np.uint64]  # [1], secret, so that nobody can choose addresses that collide


class Observation:
    """Remembers which interface counts; used under the lock of its owner. Memory is fixed."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.elections = Elections(
            places=np.zeros(1 << (2 * capacity - 1).bit_length(), np.int32),
            keys=np.zeros(capacity, np.uint64),
            interfaces=np.zeros(capacity, np.int32),
            ranks=np.zeros(capacity, np.uint8),
            times=np.zeros(capacity, np.int64),
            state=np.zeros(1, np.int64),
            seed=np.array([secrets.randbits(64)], np.uint64),
        )
        self._interfaces: dict[tuple[str, str], int] = {}
        #: By node: its first interface, whether it is the only one, its first packet, and the last it counted alone.
        self._first: dict[int, tuple[int, bool, int, int]] = {}

    def here(self, node: int, interface: str, point: str, last: int) -> Here:
        """Return where a batch was seen, in numbers; ``last`` is its last packet's time, ns UTC."""
        place = interface, point
        number = self._interfaces.get(place)
        if number is None:
            if len(self._interfaces) >= CAPACITY:
                self._forget_all()
            number = self._interfaces[place] = len(self._interfaces)
        first, only, since, until = self._first.get(node, (number, True, last, 0))
        only = only and first == number
        alone = only and last - since >= SETTLED
        until = max(until, last) if alone else until
        self._first[node] = (first, only, since, until)
        return Here(node, number, rank(interface, point), alone, 0 if first == number else until, IDLE)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another pair."""
        return int(self.elections.state[0]) == len(self.elections.keys)

    def make_room(self) -> None:
        """Forget pairs that were not seen for long, and at least the older half."""
        elections = self.elections
        order = np.argsort(elections.times[: elections.state[0]], kind="stable")
        kept = np.sort(order[len(order) // 2 :])
        for values in (elections.keys, elections.interfaces, elections.ranks, elections.times):
            values[: len(kept)] = values[kept]
        elections.state[0] = len(kept)
        index_keys(elections.places, elections.keys, len(kept))

    def _forget_all(self) -> None:
        self._interfaces.clear()
        self._first.clear()
        self.elections.state[0] = 0
        self.elections.places[:] = 0


class Collectors:
    """Which nodes have a collector, by its ledger records and batches."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._heard: dict[str, float] = {}

    def hear(self, node: str, when: float, *, stopped: bool = False) -> None:
        """Note a sign of life (``when`` in seconds of the wall clock), or that a collector stopped in order."""
        if stopped:
            self._heard.pop(node, None)
        else:
            self._heard[node] = max(when, self._heard.get(node, 0.0))

    def alive(self) -> frozenset[str]:
        """Return the nodes that have one."""
        since = self._clock() - SILENT
        for node, heard in list(self._heard.items()):
            if heard < since:
                self._heard.pop(node, None)
        return frozenset(self._heard)
