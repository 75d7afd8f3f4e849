"""What the backup notes of each lane beside the bucket: who writes it, what is stored, what comes next.

A lane is a shard of the summaries (``shard-03``), ``ledger`` or ``identity``. The notes lie in a NATS key-value bucket;
docs/decisions/0005-one-writer-a-shard-and-the-intent-before-the-object.md tells why.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import orjson
from nats.js.api import KeyValueConfig, StorageType
from nats.js.errors import BucketNotFoundError, KeyNotFoundError

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue


def bucket_name(stream: str) -> str:
    """Return the name of the key-value bucket that belongs to a stream."""
    return f"backup-{stream}"


def lane_name(kind: str, shard: int | None) -> str:
    """Return the name of a lane."""
    return kind if shard is None else f"shard-{shard:02}"


@dataclass(frozen=True, slots=True)
class Span:
    """An object by what it covers."""

    first: int
    last: int
    key: str


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a lane beside the bucket."""

    owner: str
    #: ISO 8601, UTC.
    since: str
    #: Which stream the sequences are of (``objects.incarnation``).
    incarnation: str
    #: The last object that was certainly stored.
    committed: Span | None = None
    #: The object that is being stored, or was the last one: the bucket knows whether it is there.
    intent: Span | None = None

    def encode(self) -> bytes:
        """Return the record as JSON."""
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a record."""
        values: dict[str, Any] = orjson.loads(data)
        for name in ("committed", "intent"):
            values[name] = Span(**values[name]) if values[name] else None
        return cls(**values)


async def open_notes(jetstream: JetStreamContext, stream: str, *, replicas: int) -> KeyValue:
    """Return the key-value bucket of a stream, made if it is missing."""
    try:
        return await jetstream.key_value(bucket_name(stream))
    except BucketNotFoundError:
        config = KeyValueConfig(
            bucket=bucket_name(stream),
            description="streamgauge backup: who writes which shard, and what comes next",
            history=1,
            storage=StorageType.FILE,
            replicas=replicas,
        )
        return await jetstream.create_key_value(config)


async def read_note(notes: KeyValue, lane: str) -> tuple[Record | None, int]:
    """Return the record of a lane and its revision; None when there is none, and 0 unless one was deleted."""
    try:
        entry = await notes.get(lane)
    except KeyNotFoundError as error:
        # A deletion has a revision, too, and the next record goes behind it.
        return None, (error.entry.revision or 0) if error.entry else 0
    return Record.decode(entry.value or b""), entry.revision or 0
