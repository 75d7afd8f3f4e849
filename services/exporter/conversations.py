"""Flows and connection attempts: what begins, and what nobody answers.

*Attempt.* A SYN without ACK between two ends of which no attempt is remembered; each is remembered for ten seconds of
capture time, so a SYN that is sent again within them is the same attempt. It is answered by a SYN-ACK or a reset of the
other side, otherwise unanswered when the ten seconds are over (seen by the node's next TCP packet).

*Flow.* For TCP an attempt. For any other protocol over IP the first packet between two ends (addresses, ports; either
direction) in a minute of capture time, so a conversation of an hour counts sixty times, as in NetFlow with an active
timeout of a minute. What has no IP address has no flows.

Both count once a node, on however many of its interfaces the packets pass. Memory is bounded: of each node at most
``MOST_ATTEMPTS`` attempts are remembered at a time (what goes beyond is a flow, and counted as untracked), of all nodes
together the last ``REMEMBERED`` conversations at least.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from services.exporter.conversation_kernels import count_conversations, count_ports, move_attempts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.exporter.aggregate import Counts
    from services.exporter.columns import Columns

#: Seconds an attempt has for its answer, and in which a conversation without a beginning counts once.
TIMEOUT: Final = 10
WINDOW: Final = 60
#: Attempts of a node: room for so many at the start, and at the most.
_FIRST_ATTEMPTS: Final = 1024
MOST_ATTEMPTS: Final = 1 << 16
#: Unanswered attempts that the kernel notes at a time.
_SILENT: Final = 1024
#: Conversations remembered for certain.
REMEMBERED: Final = 1 << 18

#: Protocols with ports, by number.
PORT_PROTOCOLS: Final = {6: "tcp", 17: "udp", 132: "sctp"}
#: The first of the ports that Linux gives to clients. Where even the lower port is one, neither end is a known service.
EPHEMERAL: Final = 32768


class Rule(NamedTuple):
    """Numbers of the rules, as the kernel takes them; times in nanoseconds."""

    protocols: npt.NDArray[np.uint8]  # positions in words.PROTOCOLS by number
    salt: np.uint64
    timeout: int
    window: int
    most_attempts: int


class Attempts(NamedTuple):
    """A ring of attempts in the order they began, and an index into it by fingerprint."""

    keys: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int64]
    directions: npt.NDArray[np.uint8]
    answers: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.uint64]  # [slots, 4] source and destination
    places: npt.NDArray[np.int32]  # slot + 1 by fingerprint, 0 where free; twice as many as slots
    state: npt.NDArray[np.int64]  # [oldest slot, slots in use, not tracked so far]

    @classmethod
    def empty(cls, room: int) -> Attempts:
        """Return a ring for so many attempts, a power of two."""
        return cls(
            np.zeros(room, np.uint64),
            np.zeros(room, np.int64),
            np.zeros(room, np.uint8),
            np.zeros(room, np.uint8),
            np.zeros((room, 4), np.uint64),
            np.zeros(2 * room, np.int32),
            np.zeros(3, np.int64),
        )


class Silent(NamedTuple):
    """Attempts that nobody answered, as they are found."""

    ends: npt.NDArray[np.uint64]  # [n, 4] source and destination
    times: npt.NDArray[np.int64]  # when they began
    state: npt.NDArray[np.int64]  # [entries in use]


class Seen(NamedTuple):
    """Fingerprints of conversations in two halves; when the younger is full, the elder is forgotten."""

    tables: npt.NDArray[np.uint64]  # [2, places]
    state: npt.NDArray[np.int64]  # [the younger, its entries, how often one was forgotten]


class Conversations:
    """Counts the conversations of all nodes; used by one thread."""

    def __init__(self, protocols: npt.NDArray[np.uint8], *, remembered: int = REMEMBERED) -> None:
        """``protocols`` are positions in ``words.PROTOCOLS`` by IP protocol number."""
        self._protocols = protocols
        self._seen = Seen(np.zeros((2, 2 * remembered), np.uint64), np.zeros(3, np.int64))
        self._nodes: dict[str, tuple[np.uint64, Attempts]] = {}
        self._silent = Silent(np.zeros((_SILENT, 4), np.uint64), np.zeros(_SILENT, np.int64), np.zeros(1, np.int64))
        self._taken: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]] = []

    @property
    def untracked(self) -> int:
        """Attempts there was no room for, so far."""
        return sum(int(attempts.state[2]) for _, attempts in list(self._nodes.values()))

    def count(self, node: str, columns: Columns, directions: npt.NDArray[np.uint8], counts: Counts) -> None:
        """Add the flows and unanswered attempts of a node's batch to ``counts``."""
        if node not in self._nodes:
            self._nodes[node] = (np.uint64(secrets.randbits(64)), Attempts.empty(_FIRST_ATTEMPTS))
        salt, attempts = self._nodes[node]
        rule = Rule(self._protocols, salt, TIMEOUT * 10**9, WINDOW * 10**9, MOST_ATTEMPTS)
        row, rows = 0, len(columns.packets)
        self._taken.clear()
        while True:
            row = int(count_conversations(columns, directions, rule, attempts, self._silent, self._seen, row, counts))
            self._take_silent()
            if row == rows:
                return
            if int(attempts.state[1]) == len(attempts.keys) < MOST_ATTEMPTS:
                grown = Attempts.empty(2 * len(attempts.keys))
                move_attempts(attempts, grown)
                attempts = grown
                self._nodes[node] = (salt, attempts)

    def _take_silent(self) -> None:
        used = int(self._silent.state[0])
        if used:
            self._taken.append((self._silent.ends[:used].copy(), self._silent.times[:used].copy()))
            self._silent.state[0] = 0

    def unanswered(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Return the attempts that the batch counted last has shown to be without answer.

        Source and destination ``[n, 4]``, as they lie in memory, and when the attempts began, in ns.
        """
        if not self._taken:
            return np.zeros((0, 4), np.uint64), np.zeros(0, np.int64)
        ends, times = zip(*self._taken, strict=True)
        return np.concatenate(ends), np.concatenate(times)

    def forget(self, node: str) -> None:
        """Drop a node's open attempts: their answers may be in a batch that is not read."""
        if node in self._nodes:
            attempts = self._nodes[node][1]
            attempts.places[:] = 0
            attempts.state[:2] = 0


class PortSums:
    """Packets and bytes of a batch by the service's port; used by one thread."""

    def __init__(self) -> None:
        self._protocols = np.full(256, 255, np.uint8)
        self._protocols[list(PORT_PROTOCOLS)] = range(len(PORT_PROTOCOLS))
        self._sums = np.zeros((len(PORT_PROTOCOLS), EPHEMERAL + 1, 2), np.int64)
        self._touched = np.zeros((self._sums.shape[0] * self._sums.shape[1], 2), np.int64)

    def count(self, columns: Columns) -> Iterator[tuple[tuple[str, str], tuple[int, int]]]:
        """Yield (protocol, port) and (packets, bytes); ports of clients only are ``ephemeral``."""
        used = int(count_ports(columns, self._protocols, EPHEMERAL, self._sums, self._touched))
        protocols, ports = self._touched[:used, 0], self._touched[:used, 1]
        amounts = self._sums[protocols, ports].tolist()
        self._sums[protocols, ports] = 0
        names = tuple(PORT_PROTOCOLS.values())
        for protocol, port, (packets, size) in zip(protocols.tolist(), ports.tolist(), amounts, strict=True):
            yield (names[protocol], str(port) if port < EPHEMERAL else "ephemeral"), (packets, size)
