"""What an audit works with and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from streamgauge.ranges import RangeSet

if TYPE_CHECKING:
    from streamgauge.footers import Footer
    from streamgauge.leases import Record
    from streamgauge.ledger import LedgerRecord
    from streamgauge.objects import ObjectName, Seen
    from streamgauge.store import StoredObject

#: Where on its way something was lost.
Stage = Literal["capture", "collector", "jetstream", "bucket"]

Who = tuple[str, str]

_LATEST: Final = 1 << 63
_MARGIN: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Window:
    """The time an audit looks at, ns UTC, by the clock of capture."""

    since: int = 0
    until: int = _LATEST

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self.since == 0 and self.until == _LATEST

    def has_partition(self, begin: datetime, length: timedelta) -> bool:
        """Return whether a partition may hold something of the window: storing is later than capture, clocks differ."""
        first, last = begin - _MARGIN, begin + length + _MARGIN
        return self.meets(int(first.timestamp()) * 10**9, int(last.timestamp()) * 10**9)

    def meets(self, first: int, last: int) -> bool:
        """Return whether a stretch of time overlaps the window."""
        return first < self.until and last >= self.since


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, as exactly as it can be said."""

    stage: Stage
    #: A sentence.
    what: str
    node: str | None = None
    boot: str | None = None
    #: Batch sequences, as ranges.
    sequences: tuple[tuple[int, int], ...] = ()
    key: str | None = None
    packets: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the finding without what it does not know."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value not in (None, ())}


@dataclass(slots=True)
class Examined:
    """One object of summaries: what its name, the listing and its footer say."""

    name: ObjectName
    stored: StoredObject
    footer: Footer | None = None
    #: Why the footer cannot be used.
    problem: str | None = None


@dataclass(slots=True)
class Waiting:
    """What one node and boot has in JetStream that is not stored yet."""

    sequences: RangeSet = field(default_factory=RangeSet)
    packets: int = 0
    rows: int = 0


@dataclass(slots=True)
class Evidence:
    """Everything an audit has found, before it judges."""

    window: Window = field(default_factory=Window)
    objects: list[Examined] = field(default_factory=list)
    ledger: list[LedgerRecord] = field(default_factory=list)
    #: Ledger objects that are damaged, by key, and how.
    unreadable: dict[str, str] = field(default_factory=dict)
    waiting: dict[Who, Waiting] = field(default_factory=dict)
    #: What the backup notes of its lanes.
    notes: dict[str, Record] = field(default_factory=dict)
    #: Highest stream sequence that each shard has acknowledged: stored, by the backup's promise.
    acknowledged: dict[int, int] = field(default_factory=dict)
    #: Batches that were acknowledged, are still in the stream, and in no object and not in quarantine.
    unkept: dict[Who, RangeSet] = field(default_factory=dict)
    #: Stream sequences of messages in quarantine (of any incarnation: a few, and only used to leave out).
    quarantine: set[int] = field(default_factory=set)
    #: Incarnation of the stream that is there now; empty when NATS was not asked.
    incarnation: str = ""
    #: Days after which objects expire; 0: never.
    expire_days: int = 0
    #: Objects named by others that lie outside the partitions read, and are there.
    elsewhere: set[str] = field(default_factory=set)
    #: What footers outside the partitions read know to be stored.
    seen_elsewhere: list[dict[Who, Seen]] = field(default_factory=list)
    #: Why NATS was not asked.
    without_nats: str | None = None


@dataclass(slots=True)
class Account:
    """One node and boot: packets at each stage."""

    node: str
    boot: str
    received: int = 0
    dropped: int = 0
    filtered: int = 0
    decoded: int = 0
    published: int = 0
    spooled: int = 0
    evicted: int = 0
    crashed: int = 0
    stored: int = 0
    waiting: int = 0
    quarantined: int = 0
    #: Whether the last ledger record closes the boot: then all numbers must fit exactly.
    closed: bool = False

    @property
    def difference(self) -> int:
        """Packets published and neither stored, waiting nor in quarantine."""
        return self.published - self.stored - self.waiting - self.quarantined

    def to_json(self) -> dict[str, Any]:
        """Return the account."""
        return {name: getattr(self, name) for name in self.__slots__} | {"difference": self.difference}


@dataclass(slots=True)
class Report:
    """The outcome of an audit."""

    accounts: list[Account]
    findings: list[Finding]
    objects: int
    rows: int
    bytes: int
    seconds: float = 0.0
    deep: bool = False
    without_nats: str | None = None

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing, altered or stored twice."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return the report."""
        return {
            "balanced": self.balanced,
            "objects": self.objects,
            "rows": self.rows,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "deep": self.deep,
            "without_nats": self.without_nats,
            "accounts": [account.to_json() for account in self.accounts],
            "findings": [finding.to_json() for finding in self.findings],
        }


def merged(states: list[dict[Who, Seen]]) -> dict[Who, RangeSet]:
    """Return all sequences that any footer claims to be stored."""
    claimed: dict[Who, RangeSet] = {}
    for state in states:
        for who, seen in state.items():
            claimed.setdefault(who, RangeSet()).update(seen.sequences)
    return claimed
