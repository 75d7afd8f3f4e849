"""When a batch closes, and which messages it becomes. Pure policy: rows and clock values in, messages out.

Rows gather in a *window* of several batches. It closes when it is full or old enough, and each traffic class in it
becomes as many messages as its rows need. A rare class then makes one message a window, not one a batch: JetStream
syncs each message to disk where it is told to, so the number of messages is what counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from services.collector.sources import NOWHERE
from streamgauge import codec, subjects
from streamgauge.encode import Origin, by_class, to_arrow
from streamgauge.observation import INTERFACE
from streamgauge.subjects import ARROW, NDJSON, Envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from services.collector.sources import Place
    from streamgauge.rows import Rows
    from streamgauge.schema import TrafficClass
    from streamgauge.settings import CollectorSettings

#: Batches that a window holds: at 500,000 packets/s this is 180 messages a second instead of 550.
WINDOW_BATCHES: Final = 4

#: Bytes a row is thought to need before the first message has told.
_FIRST_GUESS: Final = {"arrow": 64, "ndjson": 400}

#: Fewer rows, in a small message, say little about the bytes of a row: the schema is most of it.
_TELLING_ROWS: Final = 256

#: What NATS counts beside the payload: headers, a subject, a reply address.
HEADER_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Message:
    """One batch, ready to be published."""

    subject: str
    payload: bytes
    envelope: Envelope
    #: Packets of all batches of the boot up to this one: after a crash, of those that are nowhere any more, too.
    total: int = 0
    #: Seconds since 1970 when the batch closed.
    closed_at: float = field(default_factory=time.time, compare=False)

    @property
    def size(self) -> int:
        """Bytes this message is counted as while it waits."""
        return len(self.payload) + HEADER_BYTES


class Batcher:
    """Turns windows of rows into numbered messages; one per collector, because it owns the sequence."""

    def __init__(
        self, settings: CollectorSettings, boot: str, *, interface: str, largest_payload: Callable[[], int]
    ) -> None:
        """Start the sequence of a boot.

        Args:
            settings: Size, age and encoding.
            boot: Identity of this start of the collector.
            interface: Where packets come from whose source does not say it of each block.
            largest_payload: Returns the bytes the server takes in one message.

        """
        self._settings = settings
        self._boot = boot
        self._largest_payload = largest_payload
        self._interface = interface
        self._content_type = NDJSON if settings.encoding == "ndjson" else ARROW
        self._row_bytes: dict[TrafficClass, float] = {}
        #: Messages and packets of each class so far.
        self._class_totals: dict[TrafficClass, tuple[int, int]] = {}
        #: Packets of all batches so far.
        self._total = 0
        #: The last number given.
        self.sequence = 0

    @property
    def window_rows(self) -> int:
        """Rows of a window."""
        return self._settings.batch_rows * WINDOW_BATCHES

    def due(self, rows: Rows, age: float) -> bool:
        """Tell whether a window closes now; ``age`` is that of its first row in seconds."""
        return len(rows) >= rows.capacity or (len(rows) > 0 and age >= self._settings.batch_age)

    def messages(self, rows: Rows, place: Place = NOWHERE) -> Iterator[Message]:
        """Yield the messages of a window of one place; together they hold each row once."""
        point = self._settings.observation_point
        # Words of the operator's own stand for the whole capture.
        if place.point and point == INTERFACE:
            point = place.point
        origin = Origin(self._settings.node, place.interface or self._interface, point)
        for traffic_class, chosen in by_class(rows):
            step = self._rows_per_message(traffic_class)
            for first in range(0, len(chosen), step):
                yield from self._encode(rows, origin, traffic_class, chosen[first : first + step])

    def _rows_per_message(self, traffic_class: TrafficClass) -> int:
        settings = self._settings
        guess = _FIRST_GUESS[settings.encoding] + settings.frame_bytes
        fitting = int(settings.batch_bytes / self._row_bytes.get(traffic_class, guess))
        return max(1, min(settings.batch_rows, fitting))

    def _encode(
        self, rows: Rows, origin: Origin, traffic_class: TrafficClass, chosen: npt.NDArray[np.int64]
    ) -> Iterator[Message]:
        """Yield one message, or two halves of it (and so on) if the server would not take it whole."""
        batch = to_arrow(rows, origin, chosen, sparse=self._content_type == ARROW)
        payload = codec.encode(batch, self._content_type, compression=self._settings.compression)
        if len(chosen) >= _TELLING_ROWS or len(payload) * 4 >= self._settings.batch_bytes:
            self._row_bytes[traffic_class] = max(1.0, len(payload) / len(chosen))
        if len(payload) + HEADER_BYTES > self._largest_payload() and len(chosen) > 1:
            half = len(chosen) // 2
            yield from self._encode(rows, origin, traffic_class, chosen[:half])
            yield from self._encode(rows, origin, traffic_class, chosen[half:])
            return
        yield self._number(batch, origin, traffic_class, payload)

    def _number(self, batch: pa.RecordBatch, origin: Origin, traffic_class: TrafficClass, payload: bytes) -> Message:
        self.sequence += 1
        # Without a copy; Arrow's own sums take a tenth of a millisecond each.
        times, counts, sizes = (batch.column(name).to_numpy() for name in ("time", "packets", "bytes"))
        packets = int(counts.sum())
        self._total += packets
        count, total = self._class_totals.get(traffic_class, (0, 0))
        self._class_totals[traffic_class] = count + 1, total + packets
        envelope = Envelope(
            node=self._settings.node,
            boot=self._boot,
            sequence=self.sequence,
            interface=origin.interface,
            observation_point=origin.observation_point,
            rows=len(batch),
            packets=packets,
            bytes=int(sizes.sum()),
            first_time=int(times.min().view("i8")),
            last_time=int(times.max().view("i8")),
            content_type=self._content_type,
            class_sequence=count + 1,
            class_packets=total + packets,
        )
        return Message(subjects.traffic(self._settings.node, traffic_class), payload, envelope, self._total)
