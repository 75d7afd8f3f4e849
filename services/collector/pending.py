"""Messages that wait for their acknowledgement: in order, bounded in bytes. Pure policy, no I/O.

A message is *waiting* until it is sent for the first time; from then on it is *attempted*, and the server may have it.
Only a message that was surely never sent is evicted, so "evicted" always means "never stored".

Two bounds hold. ``bound_bytes`` is for all messages: past it, or past ``bound_age``, the oldest is evicted.
``memory_bytes`` is for payloads in memory: past it, one that is also on disk is let go and read back when its turn
comes; of those that are nowhere else, the oldest is evicted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.collector.batcher import HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from services.collector.batcher import Message
    from services.collector.spool_records import Location
    from streamgauge.subjects import Envelope


@dataclass(slots=True, eq=False)
class Entry:
    """One message in the queue; its payload in memory, on disk, or both."""

    subject: str
    envelope: Envelope
    #: Bytes it counts as.
    size: int
    payload: bytes | None
    location: Location | None
    #: Seconds since 1970 when the batch closed.
    closed_at: float
    #: From a former boot, and sent then, perhaps.
    may_be_stored: bool = False


def entry_of(message: Message, location: Location | None = None) -> Entry:
    """Return the entry of a message of this boot."""
    return Entry(message.subject, message.envelope, message.size, message.payload, location, message.closed_at)


def size_of(payload_length: int) -> int:
    """Return the bytes that a message with such a payload counts as."""
    return payload_length + HEADER_BYTES


class Pending:
    """An ordered, bounded queue with a window of attempted messages at its head."""

    def __init__(
        self, *, bound_bytes: int, in_flight: int, memory_bytes: int | None = None, bound_age: float | None = None
    ) -> None:
        """Set the bounds; without ``memory_bytes`` all payloads stay in memory. ``bound_age`` is in seconds."""
        self._bound_bytes = bound_bytes
        self._memory_bytes = bound_bytes if memory_bytes is None else memory_bytes
        self._bound_age = bound_age
        self._in_flight = in_flight
        self._attempted: list[Entry] = []
        self._waiting: deque[Entry] = deque()
        #: Bytes of all messages here, of those in memory, and of those in memory only.
        self.bytes = 0
        self.in_memory = 0
        self.unspooled = 0

    def __len__(self) -> int:
        """Messages here."""
        return len(self._attempted) + len(self._waiting)

    @property
    def attempted(self) -> int:
        """Messages sent at least once and not acknowledged."""
        return len(self._attempted)

    @property
    def full(self) -> bool:
        """Whether a bound is reached."""
        return self.bytes >= self._bound_bytes or self.unspooled >= self._memory_bytes

    @property
    def fill(self) -> float:
        """How much of the bound is used: 1 is full."""
        return max(self.bytes / self._bound_bytes, self.unspooled / self._memory_bytes)

    @property
    def oldest(self) -> float | None:
        """When the oldest message here was closed, in seconds since 1970."""
        first = self._first()
        return None if first is None else first.closed_at

    def add(self, entries: Iterable[Entry]) -> None:
        """Put messages at the end; the bound is not looked at."""
        for entry in entries:
            self._waiting.append(entry)
            self.bytes += entry.size
            if entry.location is None:
                self.unspooled += entry.size
            elif self.in_memory + entry.size > self._memory_bytes:
                entry.payload = None
            if entry.payload is not None:
                self.in_memory += entry.size

    def evict(self, now: float) -> list[Entry]:
        """Take out the oldest messages that were never sent until the bounds hold, and return them."""
        evicted: list[Entry] = []
        while (entry := self._oldest_unsent()) is not None and self._past_bound(entry, now):
            self._take(entry, evicted)
        while self.unspooled > self._memory_bytes and (entry := self._oldest_unsent(unspooled=True)) is not None:
            self._take(entry, evicted)
        return evicted

    def window(self) -> list[Entry]:
        """Return the next messages to send, unacknowledged ones first, in order; they count as attempted now."""
        while self._waiting and len(self._attempted) < self._in_flight:
            self._attempted.append(self._waiting.popleft())
        return list(self._attempted)

    def load(self, entry: Entry, payload: bytes) -> None:
        """Keep a payload that was read back."""
        entry.payload = payload
        self.in_memory += entry.size

    def settle(self, entries: Container[Entry]) -> None:
        """Forget attempted messages: the server has stored them, or they cannot be read back."""
        for entry in self._attempted:
            if entry in entries:
                self._forget(entry)
        self._attempted = [entry for entry in self._attempted if entry not in entries]

    def abandon(self) -> list[Entry]:
        """Take out everything and return it: the process ends."""
        left = [*self._attempted, *self._waiting]
        self._attempted.clear()
        self._waiting.clear()
        self.bytes = self.in_memory = self.unspooled = 0
        return left

    def settled(self, boot: str, highest: int) -> int:
        """Return the last sequence of a boot up to which none is here; ``highest`` is the last one given."""
        for entry in (*self._attempted, *self._waiting):
            if entry.envelope.boot == boot:
                return entry.envelope.sequence - 1
        return highest

    def _past_bound(self, oldest: Entry, now: float) -> bool:
        too_old = self._bound_age is not None and now - oldest.closed_at > self._bound_age
        return too_old or self.bytes > self._bound_bytes

    def _oldest_unsent(self, *, unspooled: bool = False) -> Entry | None:
        for entry in self._waiting:
            if not entry.may_be_stored and not (unspooled and entry.location is not None):
                return entry
        return None

    def _take(self, entry: Entry, evicted: list[Entry]) -> None:
        self._waiting.remove(entry)
        self._forget(entry)
        evicted.append(entry)

    def _first(self) -> Entry | None:
        return self._attempted[0] if self._attempted else self._waiting[0] if self._waiting else None

    def _forget(self, entry: Entry) -> None:
        self.bytes -= entry.size
        if entry.location is None:
            self.unspooled -= entry.size
        if entry.payload is not None:
            self.in_memory -= entry.size
