"""The ledger: cumulative packet counts of one node, interface and boot.

Published every few seconds, at start and at stop:

    kernel_received = kernel_dropped + filtered + decoded (+ what is still in the ring)
    decoded         = published + spooled + evicted + crashed

One record is one JSON object on ``ledger.v1.<node>``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final, Literal, Self

import orjson

from streamgauge import schema
from streamgauge.errors import PayloadError

#: ``recovered`` goes on with, and closes, the account of a former boot: the collector's next start writes it.
Reason = Literal["start", "tick", "stop", "recovered"]

#: Seconds between two records of one interface.
INTERVAL: Final = 5.0

#: Fields that are text; all others are whole numbers.
_TEXTS: Final = frozenset({"node", "boot", "interface", "reason"})


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """The state of one interface's account. Counts are packets since the boot (the collector's start) began."""

    node: str
    boot: str
    interface: str
    #: ns UTC when the counts were read.
    time: int
    reason: Reason
    #: Seen by the packet socket behind its filter, drops included.
    kernel_received: int = 0
    #: Dropped by the kernel because the ring was full.
    kernel_dropped: int = 0
    #: Left out on purpose after the kernel counted them.
    filtered: int = 0
    #: Turned into rows, damaged ones included.
    decoded: int = 0
    #: Of the decoded: not wholly readable (truncated, malformed, unsupported).
    malformed: int = 0
    #: Of the decoded: merged into a row with others, as the settings ask or under overload.
    coarsened: int = 0
    #: How many steps of the overload ladder the collector has climbed: 0 is the granularity that was asked for.
    level: int = 0
    #: In batches that JetStream has acknowledged.
    published: int = 0
    #: In batches that wait for the acknowledgement, and in rows of a batch not yet closed.
    spooled: int = 0
    #: In batches given up because the spool was full.
    evicted: int = 0
    #: Received, and lost when the collector was killed before they were in a batch on disk; known at the next start.
    crashed: int = 0
    #: Rows and bytes (on the wire) behind ``published``.
    published_rows: int = 0
    published_bytes: int = 0
    #: Highest batch sequence of this node and boot up to which every batch is acknowledged or evicted.
    sequence: int = 0
    version: int = schema.VERSION

    @property
    def undecoded(self) -> int:
        """Packets received and neither dropped, filtered nor decoded: still in the ring, or lost without a name."""
        return self.kernel_received - self.kernel_dropped - self.filtered - self.decoded

    @property
    def unpublished(self) -> int:
        """Packets decoded and neither published, spooled, evicted nor crashed: 0 unless something is wrong."""
        return self.decoded - self.published - self.spooled - self.evicted - self.crashed

    def encode(self) -> bytes:
        """Return the payload of a ledger message."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload of a ledger message; fields a newer sender added are left out.

        Raises:
            PayloadError: it is no ledger record, or of another version.

        """
        try:
            values = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise PayloadError(f"ledger record is not JSON: {error}") from error
        if not isinstance(values, dict) or values.get("version") != schema.VERSION:
            raise PayloadError("not a ledger record of this version")
        known = {field.name for field in fields(cls)}
        try:
            record = cls(**{name: value for name, value in values.items() if name in known})
        except TypeError as error:
            raise PayloadError(f"ledger record is incomplete: {error}") from error
        for name in known:
            value = getattr(record, name)
            # A bool is an int for Python, and for nobody else.
            good = isinstance(value, str) if name in _TEXTS else type(value) is int and 0 <= value < 1 << 63
            if not good:
                raise PayloadError(f"ledger record: {name} is {value!r:.40}")
        return record
