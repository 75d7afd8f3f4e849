"""Turns an assembly into a stored, verified object.

Encodes in a thread, puts what cannot be read into quarantine, uploads, again and again while the storage is away.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.backup import parquet, records, table
from streamgauge import footers, schema
from streamgauge.errors import PayloadError, StoreConflictError, StoreError
from streamgauge.leases import Span
from streamgauge.logs import Sampled, get
from streamgauge.objects import Manifest, ObjectName, Predecessor, SeenState, partition_hour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pyarrow as pa

    from services.backup.assembly import Assembly
    from services.backup.batch import Batch
    from services.backup.consumer import Delivery
    from services.backup.lease import Lease
    from services.backup.metrics import BackupMetrics
    from services.backup.recovery import Position
    from streamgauge.objects import Share
    from streamgauge.settings import BackupSettings
    from streamgauge.store import Store, StoredObject

    Poison = list[tuple[Delivery, str, Batch | None]]

_log = get("writer")

#: Seconds between two attempts while the storage is away: doubled from the first up to the last.
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 15.0
_PARQUET: Final = "application/vnd.apache.parquet"
#: Messages put into quarantine at the same time: a sender that nobody can read may be as fast as any other.
_ASIDE_AT_ONCE: Final = 8
#: Characters of a reason that are kept: some repeat what they complain about.
_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Place:
    """What all objects of a lane have in common."""

    kind: Any
    stream: str
    stream_created: str
    incarnation: str
    shard: int | None
    shards: int


@dataclass(frozen=True, slots=True)
class Built:
    """An object ready for upload."""

    name: ObjectName
    manifest: Manifest
    data: memoryview


class Writer:
    """Writes the objects of one lane, one at a time; lives as long as the lane."""

    def __init__(
        self,
        place: Place,
        store: Store,
        settings: BackupSettings,
        metrics: BackupMetrics,
        encoders: asyncio.Semaphore,
        lease: Lease,
    ) -> None:
        self._place = place
        self._lease = lease
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._encoders = encoders
        self._sampled = Sampled(_log)
        self._committed: Span | None = None
        self._previous: Predecessor | None = None
        #: What went wrong last, in words; None while all is well.
        self.trouble: str | None = None

    def go_on(self, position: Position) -> None:
        """Begin behind what is stored: each footer names its predecessor, each intent what is stored."""
        name = position.committed
        self._committed = Span(name.first, name.last, name.key) if name else None
        self._previous = position.previous

    async def store(self, assembly: Assembly, seen: SeenState) -> None:
        """Store an assembly; return once everything of it is in the bucket, verified.

        Also one of which nothing is left (all of it in quarantine, or stored before) becomes an object, without rows:
        the name is the commit, so the position moves, and the footer accounts for what is not inside.
        """
        self._metrics.duplicates.add(assembly.duplicates)
        async with self._encoders:
            started = time.perf_counter()
            built, poison = await asyncio.to_thread(self._build, assembly, seen)
            self._metrics.encode.observe(time.perf_counter() - started)
        for first in range(0, len(poison), _ASIDE_AT_ONCE):
            aside = poison[first : first + _ASIDE_AT_ONCE]
            await asyncio.gather(*(self._quarantine(delivery, reason) for delivery, reason, _ in aside))
        span = assembly.again or Span(built.name.first, built.name.last, built.name.key)
        await self._lease.intend(span, self._committed)
        started = time.perf_counter()
        stored = await self._upload_once(span.key, built)
        seconds = time.perf_counter() - started
        self._committed = span
        manifest = built.manifest
        self._previous = Predecessor(stored.key, stored.size, stored.etag, manifest.rows, manifest.packets)
        self._metrics.upload.observe(seconds)
        self._metrics.stored(built.manifest, stored.size)
        _log.info(
            "stored", key=stored.key, bytes=stored.size, rows=built.manifest.rows, upload_seconds=round(seconds, 3)
        )

    def _build(self, assembly: Assembly, seen: SeenState) -> tuple[Built, Poison]:
        try:
            return self._encode(assembly, seen, assembly.batches, [])
        except MemoryError:
            raise
        except Exception:
            # One message that passes every check and fits into no object must not stop its shard for ever.
            unfit = [(batch, reason) for batch in assembly.batches if (reason := self._unfit(batch))]
            if not unfit:
                raise
        sound = [batch for batch in assembly.batches if all(batch is not other for other, _ in unfit)]
        return self._encode(assembly, seen, sound, unfit)

    def _unfit(self, batch: Batch) -> str | None:
        """Return why a batch cannot be in an object, not even alone; None when it can."""
        try:
            content, shares, _ = self._content([batch])
            self._file(content, Manifest(self._place.kind, "", "", 0, 0, shares=shares))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 goes into quarantine as the reason
            return f"it cannot be stored: {type(error).__name__}: {error}"
        return None

    def _content(self, batches: list[Batch]) -> tuple[pa.Table, list[Share], list[tuple[Batch, str]]]:
        """Return the rows of batches, what each node and boot has in them, and the batches that cannot be read."""
        kind = self._place.kind
        if kind != "summaries":
            rows, unreadable = records.read(kind, batches)
            return records.table(kind, rows), records.shares(kind, rows), unreadable
        decoded = table.decode(batches)
        shares = table.shares(decoded)
        return table.build(decoded, self._settings.order), shares, decoded.poison

    def _file(self, content: pa.Table, manifest: Manifest) -> pa.Buffer:
        level, group = self._settings.compression_level, self._settings.row_group_rows
        in_flows = manifest.kind == "summaries" and self._settings.order == "flow"
        return parquet.write(content, manifest.metadata(), level=level, row_group_rows=group, in_flows=in_flows)

    def _encode(
        self, assembly: Assembly, seen: SeenState, batches: list[Batch], unfit: list[tuple[Batch, str]]
    ) -> tuple[Built, Poison]:
        place = self._place
        content, shares, unreadable = self._content(batches)
        poison: Poison = [(delivery, reason, None) for delivery, reason in assembly.poison]
        poison += [(batch.delivery, reason, batch) for batch, reason in (*unreadable, *unfit)]
        manifest = Manifest(
            kind=place.kind,
            stream=place.stream,
            stream_created=place.stream_created,
            first_sequence=assembly.first,
            last_sequence=assembly.last,
            shard=place.shard,
            shards=place.shards,
            shares=shares,
            seen=seen,
            previous=self._previous,
            duplicates=assembly.duplicates,
            quarantined=[self._named(delivery, batch) for delivery, _, batch in poison],
        )
        data = self._file(content, manifest)
        # Without a row there is no time of capture: then when JetStream took the first message.
        hour = partition_hour(min((share.first_time for share in shares if share.rows), default=assembly.oldest))
        name = ObjectName(place.kind, place.incarnation, assembly.first, assembly.last, hour, place.shard)
        return Built(name, manifest, memoryview(data)), poison

    def _named(self, delivery: Delivery, batch: Batch | None) -> list[Any]:
        envelope = batch.envelope if batch else None
        named = [envelope.node, envelope.boot, envelope.sequence, envelope.packets] if envelope else [None] * 4
        return [*named, self._quarantine_key(delivery)]

    def _quarantine_key(self, delivery: Delivery) -> str:
        return f"quarantine/v{schema.VERSION}/{self._place.incarnation}-{delivery.sequence:016}.json"

    async def _quarantine(self, delivery: Delivery, reason: str) -> None:
        """Keep a message that cannot be read, whole and with the reason; the key makes a repetition harmless."""
        key = self._quarantine_key(delivery)
        content = {
            "reason": reason[:_REASON],
            "subject": delivery.subject,
            "stream": self._place.stream,
            "sequence": delivery.sequence,
            "stored": delivery.stored,
            "headers": dict(delivery.headers or {}),
            "payload_base64": base64.b64encode(delivery.data).decode(),
        }
        await self._upload(key, memoryview(orjson.dumps(content)), "application/json")
        self._metrics.quarantined.add(1)
        self._sampled.warning("message quarantined", key=key, subject=delivery.subject, reason=reason[:_REASON])

    async def _upload_once(self, key: str, built: Built) -> StoredObject:
        """Upload an object that nobody else may have stored under this name with other content.

        Raises:
            StoreConflictError: something else is there.

        """
        return await self._until_stored(key, lambda: self._put_or_find(key, built))

    async def _put_or_find(self, key: str, built: Built) -> StoredObject:
        """Try once. It may be there: the answer to an earlier try was lost, or the writer before us died after it."""
        try:
            return await self._store.put(key, built.data, content_type=_PARQUET, exclusive=True)
        except StoreConflictError as error:
            stored = await self._store.stat(key)
            if stored is None:
                # An earlier try of ours is under way still; or someone has just removed it.
                raise StoreError(f"{error}, and cannot be found") from error
        try:
            found = (await footers.read(self._store, stored)).manifest
        except PayloadError as error:
            raise _other(key) from error
        if found.shares != built.manifest.shares or found.stream_created != built.manifest.stream_created:
            raise _other(key)
        _log.info("found stored already", key=key)
        return stored

    async def _upload(self, key: str, data: memoryview, content_type: str) -> StoredObject:
        return await self._until_stored(key, lambda: self._store.put(key, data, content_type=content_type))

    async def _until_stored(self, key: str, attempt: Callable[[], Awaitable[StoredObject]]) -> StoredObject:
        """Try until it is stored and verified. Nothing is given up: JetStream keeps what we do not acknowledge.

        Raises:
            StoreConflictError: something else is there.

        """
        pause = _FIRST_PAUSE
        while True:
            try:
                stored = await attempt()
            except StoreConflictError:
                raise
            except StoreError as error:
                self.trouble = str(error)
                self._metrics.retries.add(1)
                self._sampled.warning("upload failed; trying again", key=key, error=str(error))
            else:
                if self.trouble is not None:
                    _log.info("the storage answers again", key=key)
                self.trouble = None
                return stored
            # Spread out, so that replicas do not come back all at once.
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311
            pause = min(pause * 2, _LONGEST_PAUSE)


def _other(key: str) -> StoreConflictError:
    return StoreConflictError(f"{key} exists already and holds something else; move it away")
