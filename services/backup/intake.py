"""Takes messages in, in stream order, each batch once: pure policy, no I/O.

Two positions: up to ``committed`` everything is stored, up to ``accepted`` it is in hand. A batch is known by node,
boot and sequence, so one that stands twice in the stream (published again after the duplicate window) is stored once.

What is known of a node and boot is forgotten when JetStream took its last batch more than ``keep`` ago: longer than the
stream keeps messages and a collector keeps batches it may publish again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.backup.assembly import Assembly
from services.backup.batch import Batch, identify
from streamgauge import objects
from streamgauge.errors import PayloadError
from streamgauge.objects import ObjectKind, Seen, SeenState
from streamgauge.ranges import RangeSet

if TYPE_CHECKING:
    from services.backup.consumer import Delivery
    from streamgauge.leases import Span


class Intake:
    """What a lane has in hand; lives as long as the lane."""

    def __init__(self, kind: ObjectKind, *, keep: int) -> None:
        """Begin at the start of a stream; ``keep`` is in ns."""
        self._kind = kind
        self._keep = keep
        self._seen: SeenState = {}
        self._accepted = 0
        #: Highest stream sequence up to which everything is stored.
        self.committed = 0
        self.open = Assembly()
        #: The assembly that is being stored.
        self.closed: Assembly | None = None
        #: Messages delivered again that were in hand or stored.
        self.redelivered = 0

    def begin(self, committed: int, seen: SeenState, unfinished: Span | None) -> None:
        """Go on behind ``committed``; an unfinished object is made again first, of the same messages."""
        self.committed = self._accepted = committed
        self._seen = seen
        self.open = Assembly(again=unfinished)

    def exceeds(self, delivery: Delivery) -> bool:
        """Return whether a message lies behind an unfinished object, whose last messages the stream no longer has."""
        again = self.open.again
        return again is not None and delivery.sequence > max(again.last, self._accepted)

    @property
    def complete(self) -> bool:
        """Whether all of an unfinished object is in hand."""
        return self.open.again is not None and self._accepted >= self.open.again.last

    def take(self, delivery: Delivery, now: float) -> str | None:
        """Take a message in; return where to acknowledge it if it is stored already. ``now`` is monotonic."""
        if delivery.sequence <= self._accepted:
            self.redelivered += 1
            if delivery.sequence <= self.committed:
                return delivery.reply
            # In hand: the acknowledgement has to go where it was delivered last.
            for assembly in (self.open, self.closed):
                if assembly is not None and delivery.sequence in assembly.replies:
                    assembly.replies[delivery.sequence] = delivery.reply
            return None
        self._accepted = delivery.sequence
        self.open.note(delivery, now)
        try:
            batch = identify(self._kind, delivery)
        except PayloadError as error:
            self.open.reject(delivery, str(error))
            return None
        if self._is_new(batch):
            self.open.add(batch)
        else:
            self.open.duplicates += 1
        return None

    def _is_new(self, batch: Batch) -> bool:
        """Return whether a batch was not seen before, and remember it."""
        envelope = batch.envelope
        if envelope is None:
            return True
        seen = self._seen.setdefault((envelope.node, envelope.boot), Seen(RangeSet(), 0))
        seen.stored = max(seen.stored, batch.delivery.stored)
        if envelope.sequence in seen.sequences:
            return False
        seen.sequences.add(envelope.sequence)
        return True

    def close(self) -> tuple[Assembly, SeenState]:
        """Close the open object and begin the next; return it with all that was seen up to its end."""
        newest = max((seen.stored for seen in self._seen.values()), default=0)
        self._seen = objects.snapshot(self._seen, forget_before=newest - self._keep)
        self.closed, self.open = self.open, Assembly()
        # The footer speaks for what came up to here, not for what is read while it is written.
        return self.closed, objects.snapshot(self._seen)

    def stored(self) -> Assembly:
        """Note that the closed object is stored; return it."""
        assert self.closed is not None
        done, self.closed = self.closed, None
        self.committed = done.last
        return done

    @property
    def size(self) -> int:
        """Bytes in hand."""
        return self.open.size + (self.closed.size if self.closed else 0)

    @property
    def oldest(self) -> int:
        """When JetStream took the oldest message in hand, ns UTC; 0 when nothing is in hand."""
        return self.closed.oldest if self.closed else self.open.oldest
