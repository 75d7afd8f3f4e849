"""The account of one boot: where each packet is now. Updated by the capture threads and the publisher alike."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from streamgauge.schema import DecodeStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.collector.batcher import Message
    from streamgauge.rows import Rows
    from streamgauge.subjects import Envelope


@dataclass(slots=True)
class Totals:
    """Cumulative counts; packets unless the name says otherwise."""

    decoded: int = 0
    decoded_bytes: int = 0
    #: By ``DecodeStatus``, counted when a window closes.
    statuses: list[int] = field(default_factory=lambda: [0] * len(DecodeStatus))
    #: Merged into a row with others.
    coarsened: int = 0
    #: Decoded and not yet in a message.
    open: int = 0
    #: In messages that wait for their acknowledgement.
    pending: int = 0
    published: int = 0
    published_rows: int = 0
    published_bytes: int = 0
    published_messages: int = 0
    evicted: int = 0
    evicted_messages: int = 0
    #: Lost with a former process before they were on disk; of a former boot only.
    crashed: int = 0

    @property
    def malformed(self) -> int:
        """Packets not wholly readable."""
        return sum(self.statuses) - self.statuses[DecodeStatus.OK]

    @property
    def spooled(self) -> int:
        """Packets that are here and not yet acknowledged."""
        return self.open + self.pending


class Account:
    """Moves packets from one count to the next, each move at once: a reader sees each packet exactly once."""

    def __init__(self, totals: Totals | None = None) -> None:
        """Begin at zero, or where a former boot ended."""
        self._lock = threading.Lock()
        self._totals = totals or Totals()

    def totals(self) -> Totals:
        """Return a consistent copy."""
        with self._lock:
            totals = self._totals
            return Totals(
                **{name: getattr(totals, name) for name in Totals.__slots__ if name != "statuses"},
                statuses=list(totals.statuses),
            )

    def decoded(self, packets: int) -> None:
        """Packets became rows."""
        with self._lock:
            self._totals.decoded += packets
            self._totals.open += packets

    def closed(self, rows: Rows) -> None:
        """Count a window's rows by status, before it becomes messages."""
        # By packets: a row that reports an unanswered query stands for none.
        statuses = np.bincount(rows.column("decode_status"), rows.column("packets"), minlength=len(DecodeStatus))
        bytes_ = int(rows.column("bytes").sum())
        with self._lock:
            self._totals.decoded_bytes += bytes_
            for status, count in enumerate(statuses.tolist()):
                self._totals.statuses[status] += int(count)

    def coarsened(self, rows: Rows) -> None:
        """Count the packets of merged rows, before they become messages."""
        packets = rows.column("packets")
        merged = int(packets[packets > 1].sum())
        with self._lock:
            self._totals.coarsened += merged

    def accepted(self, messages: Iterable[Message]) -> None:
        """Rows became messages."""
        packets = sum(message.envelope.packets for message in messages)
        with self._lock:
            self._totals.open -= packets
            self._totals.pending += packets

    def published(self, envelope: Envelope) -> None:
        """Count a message as acknowledged."""
        with self._lock:
            totals = self._totals
            totals.pending -= envelope.packets
            totals.published += envelope.packets
            totals.published_rows += envelope.rows
            totals.published_bytes += envelope.bytes
            totals.published_messages += 1

    def evicted(self, envelope: Envelope) -> None:
        """Count a message as given up."""
        with self._lock:
            self._totals.pending -= envelope.packets
            self._totals.evicted += envelope.packets
            self._totals.evicted_messages += 1
