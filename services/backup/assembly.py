"""The open object of a lane: the batches in hand, and what they amount to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.backup.consumer import Delivery
    from services.backup.intake import Batch


@dataclass(slots=True)
class Assembly:
    """Everything between the last stored sequence and the newest one seen, until it is an object."""

    #: Monotonic time of the first message, seconds.
    opened: float
    batches: list[Batch] = field(default_factory=list)
    #: Messages that could not be identified, with the reason.
    poison: list[tuple[Delivery, str]] = field(default_factory=list)
    duplicates: int = 0
    #: Bytes and rows of the batches.
    size: int = 0
    rows: int = 0
    #: Stream sequences of the first and last message, whatever became of it.
    first: int = 0
    last: int = 0
    #: ns UTC when JetStream took the first message.
    oldest: int = 0
    #: Where to acknowledge each message, by stream sequence; the newest delivery counts.
    replies: dict[int, str] = field(default_factory=dict)

    def note(self, delivery: Delivery) -> None:
        """Count a message in, whatever becomes of it."""
        if not self.replies:
            self.first, self.oldest = delivery.sequence, delivery.stored
        self.last = delivery.sequence
        self.replies[delivery.sequence] = delivery.reply

    def add(self, batch: Batch) -> None:
        """Take a batch in."""
        self.batches.append(batch)
        self.size += batch.size
        self.rows += batch.rows
