"""What a message is, from its headers alone: cheap enough for the event loop; payloads wait for a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamgauge import subjects
from streamgauge.errors import PayloadError, SubjectError
from streamgauge.subjects import Envelope

if TYPE_CHECKING:
    from services.backup.consumer import Delivery
    from streamgauge.objects import ObjectKind


@dataclass(frozen=True, slots=True)
class Batch:
    """A message in hand: identified, not yet decoded."""

    delivery: Delivery
    rows: int
    #: The identity of a batch of summaries; a ledger record or identity event has none.
    envelope: Envelope | None = None

    @property
    def size(self) -> int:
        """Bytes it takes in memory, about."""
        return len(self.delivery.data)


def identify(kind: ObjectKind, delivery: Delivery) -> Batch:
    """Return what a message is.

    Raises:
        PayloadError: its headers are missing or damaged, or of another version.

    """
    if kind != "summaries":
        return Batch(delivery, 1)
    try:
        subject = subjects.parse(delivery.subject)
    except SubjectError as error:
        raise PayloadError(str(error)) from error
    envelope = Envelope.from_headers(delivery.headers)
    if not envelope.node or not envelope.boot or envelope.sequence < 1 or min(envelope.rows, envelope.packets) < 0:
        raise PayloadError(
            f"headers contradict themselves: {envelope.message_id}, {envelope.rows} rows, {envelope.packets} packets"
        )
    if subjects.node_token(envelope.node) != subject.node:
        # The node decides the shard; a batch under another node's subject would be looked for in the wrong one.
        raise PayloadError(f"header says node {envelope.node}, the subject {subject.node}")
    return Batch(delivery, envelope.rows, envelope)
