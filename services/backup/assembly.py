"""The open object of a lane: the batches in hand, and what they amount to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.backup.batch import Batch
    from services.backup.consumer import Delivery
    from streamgauge.leases import Span


@dataclass(slots=True)
class Assembly:
    """Everything between the last stored sequence and the newest one seen, until it is an object."""

    #: Monotonic time of the first message, seconds.
    opened: float = 0.0
    batches: list[Batch] = field(default_factory=list)
    #: Messages that could not be identified, with the reason.
    poison: list[tuple[Delivery, str]] = field(default_factory=list)
    duplicates: int = 0
    #: Bytes in memory, of batches and of what could not be identified; rows of the batches.
    size: int = 0
    rows: int = 0
    #: Stream sequences of the first and last message, whatever became of it.
    first: int = 0
    last: int = 0
    #: ns UTC when JetStream took the first message.
    oldest: int = 0
    #: The object that was under way before a crash: what this one is made of again, under the same name.
    again: Span | None = None
    #: Where to acknowledge each message, by stream sequence; the newest delivery counts.
    replies: dict[int, str] = field(default_factory=dict)

    def note(self, delivery: Delivery, now: float) -> None:
        """Count a message in, whatever becomes of it. ``now`` is monotonic."""
        if not self.replies:
            self.opened, self.first, self.oldest = now, delivery.sequence, delivery.stored
        self.last = delivery.sequence
        self.replies[delivery.sequence] = delivery.reply

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Take in a message that cannot be identified: it is held until it is in quarantine."""
        self.poison.append((delivery, reason))
        self.size += len(delivery.data)

    def add(self, batch: Batch) -> None:
        """Take a batch in."""
        self.batches.append(batch)
        self.size += batch.size
        self.rows += batch.rows
