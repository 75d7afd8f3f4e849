"""Messages that wait for their acknowledgement: in order, bounded in bytes. Pure policy, no I/O.

A message is *waiting* until it is sent for the first time; from then on it is *attempted*, and the server may have it.
Only a waiting message is ever evicted, so "evicted" always means "never stored".
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from services.collector.batcher import Message


class Pending:
    """An ordered, bounded queue with a window of attempted messages at its head."""

    def __init__(self, *, bound_bytes: int, in_flight: int) -> None:
        self._bound_bytes = bound_bytes
        self._in_flight = in_flight
        self._attempted: list[Message] = []
        self._waiting: deque[Message] = deque()
        #: Bytes of all messages here.
        self.bytes = 0
        #: The last sequence up to which every message is acknowledged or evicted.
        self.settled = 0
        self._highest = 0

    def __len__(self) -> int:
        """Messages here."""
        return len(self._attempted) + len(self._waiting)

    @property
    def attempted(self) -> int:
        """Messages sent at least once and not acknowledged."""
        return len(self._attempted)

    @property
    def full(self) -> bool:
        """Whether the bound is reached."""
        return self.bytes >= self._bound_bytes

    def add(self, messages: Iterable[Message]) -> None:
        """Put messages at the end; the bound is not looked at."""
        for message in messages:
            self._waiting.append(message)
            self.bytes += message.size
            self._highest = max(self._highest, message.envelope.sequence)

    def evict(self) -> list[Message]:
        """Take out the oldest waiting messages until the bound holds, and return them."""
        evicted = []
        while self.bytes > self._bound_bytes and self._waiting:
            message = self._waiting.popleft()
            self.bytes -= message.size
            evicted.append(message)
        self._settle()
        return evicted

    def window(self) -> list[Message]:
        """Return the next messages to send, unacknowledged ones first, in order; they count as attempted now."""
        while self._waiting and len(self._attempted) < self._in_flight:
            self._attempted.append(self._waiting.popleft())
        return list(self._attempted)

    def acknowledge(self, message_ids: Container[str]) -> None:
        """Forget attempted messages that the server has stored."""
        left = [message for message in self._attempted if message.envelope.message_id not in message_ids]
        self.bytes -= sum(message.size for message in self._attempted) - sum(message.size for message in left)
        self._attempted = left
        self._settle()

    def abandon(self) -> list[Message]:
        """Take out everything and return it: the process ends."""
        left = [*self._attempted, *self._waiting]
        self._attempted.clear()
        self._waiting.clear()
        self.bytes = 0
        return left

    def _settle(self) -> None:
        first = self._attempted[0] if self._attempted else self._waiting[0] if self._waiting else None
        self.settled = self._highest if first is None else first.envelope.sequence - 1
