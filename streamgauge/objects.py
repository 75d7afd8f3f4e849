"""Objects at rest: how they are named, where they lie, and what their footer says.

    summaries/v1/date=2026-11-25/hour=14/shard=03/20261125T130501000000Z-0000000000000001-0000000000000412.parquet

The name is the commit: it says which sequences of which stream are stored. It begins with when the stream was created:
a deleted and re-created stream counts from 1 again (docs/decisions/0003-object-names-carry-the-stream-incarnation.md).
The footer says which batches of which node and boot are inside; an audit reads footers only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from streamgauge import schema
from streamgauge.errors import PayloadError, one_line
from streamgauge.ranges import RangeSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ObjectKind = Literal["summaries", "ledger", "identity"]
KINDS: Final[tuple[ObjectKind, ...]] = ("summaries", "ledger", "identity")

_NAME: Final = re.compile(
    r"(?P<kind>summaries|ledger|identity)/v(?P<version>\d+)/date=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)/"
    r"(?:shard=(?P<shard>\d+)/)?(?P<incarnation>\d{8}T\d{12}Z)-(?P<first>\d{16})-(?P<last>\d{16})\.parquet"
)

_DAY: Final = re.compile(r"(?:summaries|ledger|identity)/v\d+/date=(?P<date>\d{4}-\d\d-\d\d)/?")

#: Bytes read from the end of an object at first: the footer of an ordinary object is smaller.
FOOTER_GUESS: Final = 64 << 10
_MAGIC: Final = b"PAR1"


def prefix(kind: ObjectKind) -> str:
    """Return the folder of one kind of object."""
    return f"{kind}/v{schema.VERSION}/"


def folder_day(folder: str) -> datetime | None:
    """Return the day of a date's folder; None when the folder is none of ours: other programs leave some, too."""
    match = _DAY.fullmatch(folder)
    try:
        return datetime.strptime(match["date"], "%Y-%m-%d").replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def incarnation(created: datetime) -> str:
    """Return a stream's creation time as it stands in names: ``20261125T130501000000Z`` (microseconds, UTC)."""
    return created.astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")


@dataclass(frozen=True, slots=True)
class ObjectName:
    """What an object's key says."""

    kind: ObjectKind
    incarnation: str
    #: Stream sequences the object covers; what the shard had in between is stored in it, or was stored before.
    first: int
    last: int
    #: UTC hour of the first row: the hive partition.
    hour: datetime
    #: None for ledger and identity, which are not split.
    shard: int | None = None

    @property
    def key(self) -> str:
        """The key in the bucket."""
        shard = "" if self.shard is None else f"shard={self.shard:02}/"
        return (
            f"{prefix(self.kind)}date={self.hour:%Y-%m-%d}/hour={self.hour:%H}/{shard}"
            f"{self.incarnation}-{self.first:016}-{self.last:016}.parquet"
        )

    @classmethod
    def parse(cls, key: str) -> ObjectName | None:
        """Take a key apart; None when it is none of ours."""
        match = _NAME.fullmatch(key)
        if match is None or int(match["version"]) != schema.VERSION:
            return None
        hour = datetime.strptime(f"{match['date']} {match['hour']}", "%Y-%m-%d %H").replace(tzinfo=UTC)
        shard = None if match["shard"] is None else int(match["shard"])
        kind: Any = match["kind"]
        return cls(kind, match["incarnation"], int(match["first"]), int(match["last"]), hour, shard)


def partition_hour(time_ns: int) -> datetime:
    """Return the UTC hour of a capture time."""
    return datetime.fromtimestamp(time_ns // 10**9, UTC).replace(minute=0, second=0, microsecond=0)


@dataclass(slots=True)
class Share:
    """What one node and boot has in an object."""

    node: str
    boot: str
    sequences: RangeSet = field(default_factory=RangeSet)
    rows: int = 0
    packets: int = 0
    bytes: int = 0
    #: ns UTC of the first and last packet.
    first_time: int = 0
    last_time: int = 0

    def add(self, sequence: int, *, rows: int, packets: int, size: int, first_time: int, last_time: int) -> None:
        """Count one batch in."""
        if rows:  # one without rows has no times
            self.first_time = min(self.first_time, first_time) if self.rows else first_time
            self.last_time = max(self.last_time, last_time) if self.rows else last_time
        self.sequences.add(sequence)
        self.rows += rows
        self.packets += packets
        self.bytes += size

    def to_json(self) -> dict[str, Any]:
        """Return the share as it stands in the footer."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"sequences": self.sequences.to_list()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a share from a footer."""
        return cls(**{**values, "sequences": RangeSet(values["sequences"])})


@dataclass(slots=True)
class Seen:
    """All batch sequences of one node and boot that are stored, in this object or before."""

    sequences: RangeSet
    #: ns UTC when JetStream took the newest of them; decides when the entry may be forgotten.
    stored: int


#: By (node, boot).
SeenState = dict[tuple[str, str], Seen]


def snapshot(seen: SeenState, *, forget_before: int = 0) -> SeenState:
    """Return an independent copy, without what was stored last before ``forget_before`` (ns UTC)."""
    return {
        who: Seen(found.sequences.copy(), found.stored) for who, found in seen.items() if found.stored >= forget_before
    }


def merge(seen: SeenState, other: SeenState) -> None:
    """Add to ``seen`` what another footer has seen."""
    for who, found in other.items():
        mine = seen.setdefault(who, Seen(RangeSet(), found.stored))
        mine.sequences.update(found.sequences)
        mine.stored = max(mine.stored, found.stored)


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The object of the same shard stored before: a chain in which a missing or altered object shows."""

    key: str
    size: int
    md5: str
    #: What it holds: says how many are missing from one that was altered.
    rows: int = 0
    packets: int = 0

    def to_json(self) -> list[Any]:
        """Return the predecessor as it stands in the footer."""
        return [self.key, self.size, self.md5, self.rows, self.packets]


@dataclass(slots=True)
class Manifest:
    """What a footer says about its object."""

    kind: ObjectKind
    stream: str
    #: ISO 8601, UTC.
    stream_created: str
    first_sequence: int
    last_sequence: int
    shard: int | None = None
    #: Into how many shards the stream split the nodes.
    shards: int = 1
    shares: list[Share] = field(default_factory=list)
    seen: SeenState = field(default_factory=dict)
    previous: Predecessor | None = None
    #: Messages in the range that were stored before under another stream sequence, and are not in here.
    duplicates: int = 0
    #: Messages in the range that could not be read and lie in quarantine: [node, boot, sequence, packets, key].
    quarantined: list[list[Any]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows of all shares."""
        return sum(share.rows for share in self.shares)

    @property
    def packets(self) -> int:
        """Packets of all shares."""
        return sum(share.packets for share in self.shares)

    @property
    def wire_bytes(self) -> int:
        """Bytes on the wire of all shares."""
        return sum(share.bytes for share in self.shares)

    def metadata(self) -> dict[str, str]:
        """Return the key-value metadata of the footer."""
        previous = self.previous
        values: dict[str, Any] = {
            "schema": schema.VERSION,
            "kind": self.kind,
            "stream": self.stream,
            "stream_created": self.stream_created,
            "first_sequence": self.first_sequence,
            "last_sequence": self.last_sequence,
            "shard": self.shard,
            "shards": self.shards,
            "rows": self.rows,
            "packets": self.packets,
            "bytes": self.wire_bytes,
            "shares": [share.to_json() for share in self.shares],
            "seen": [[*who, seen.stored, seen.sequences.to_list()] for who, seen in self.seen.items()],
            "previous": None if previous is None else previous.to_json(),
            "duplicates": self.duplicates,
            "quarantined": self.quarantined,
        }
        return {f"streamgauge.{name}": orjson.dumps(value).decode() for name, value in values.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None) -> Manifest:
        """Read the key-value metadata of a footer.

        Raises:
            PayloadError: it is none of ours, or of another version.

        """
        given = metadata or {}
        try:
            read = {name: orjson.loads(given[f"streamgauge.{name}".encode()]) for name in _MANIFEST_KEYS}
            if read["schema"] != schema.VERSION:
                raise PayloadError(f"the footer is of schema version {read['schema']}, not {schema.VERSION}")
            same = ("kind", "stream", "stream_created", "first_sequence", "last_sequence", "shard", "shards")
            return cls(
                **{name: read[name] for name in same},
                shares=[Share.from_json(share) for share in read["shares"]],
                seen={(node, boot): Seen(RangeSet(found), stored) for node, boot, stored, found in read["seen"]},
                previous=None if read["previous"] is None else Predecessor(*read["previous"]),
                duplicates=read["duplicates"],
                quarantined=read["quarantined"],
            )
        except (KeyError, ValueError, TypeError) as error:
            raise PayloadError(f"the footer is no manifest of ours: {error!r}") from error


_MANIFEST_KEYS: Final = (
    *("schema", "kind", "stream", "stream_created", "first_sequence", "last_sequence", "shard", "shards"),
    *("shares", "seen", "previous", "duplicates", "quarantined"),
)


def footer_length(tail: bytes) -> int:
    """Return how many bytes from the end of an object its footer takes.

    Raises:
        PayloadError: the object is no Parquet file.

    """
    if len(tail) < 12 or tail[-4:] != _MAGIC:
        raise PayloadError("the object does not end as a Parquet file does")
    return int.from_bytes(tail[-8:-4], "little") + 8


def read_footer(tail: bytes) -> pq.FileMetaData:
    """Return the footer from the end of an object; ``tail`` holds at least ``footer_length`` bytes.

    Raises:
        PayloadError: the footer is damaged.

    """
    length = footer_length(tail)
    if length > len(tail):
        raise PayloadError(f"the footer says it takes {length} bytes of {len(tail)}")
    try:
        return pq.read_metadata(pa.BufferReader(_MAGIC + tail[-length:]))
    except (pa.ArrowInvalid, OSError) as error:
        raise PayloadError(f"the footer cannot be read: {one_line(error)}") from error


def newest(names: Iterable[ObjectName], *, kind: ObjectKind, shard: int | None) -> dict[str, ObjectName]:
    """Return, by incarnation, the object of one shard that reaches furthest."""
    found: dict[str, ObjectName] = {}
    for name in names:
        if name.kind == kind and name.shard == shard:
            best = found.get(name.incarnation)
            if best is None or name.last > best.last:
                found[name.incarnation] = name
    return found
