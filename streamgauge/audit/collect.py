"""Gathers the evidence: objects and footers from the bucket, what waits and what is noted from NATS.

The order matters. What the backup has acknowledged is read first, then the bucket is listed, then the ledger is read,
then the stream: what was acknowledged is then in the bucket, and what the ledger calls published in one of the two.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import nats.errors
import pyarrow as pa
import pyarrow.parquet as pq
from minio.commonconfig import ENABLED
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from streamgauge import footers, leases, objects, schema, subjects
from streamgauge.audit.model import Evidence, Examined, Waiting, Window
from streamgauge.bus import shard_count
from streamgauge.errors import BusError, PayloadError, StoreError, SubjectError, one_line
from streamgauge.ledger import LedgerRecord
from streamgauge.objects import ObjectName
from streamgauge.ranges import RangeSet
from streamgauge.subjects import Envelope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from minio.commonconfig import Filter
    from minio.lifecycleconfig import Rule
    from nats.aio.msg import Msg
    from nats.js.api import StreamInfo

    from streamgauge.bus import Bus
    from streamgauge.objects import ObjectKind
    from streamgauge.store import Store, StoredObject

#: Footers read at the same time.
_CONCURRENCY: Final = 32
#: Messages asked for at once.
_BATCH: Final = 256


async def from_bucket(store: Store, evidence: Evidence, progress: Callable[[int], None]) -> None:
    """Add what the bucket says.

    Raises:
        StoreError: it cannot be listed or read.

    """
    listing = await _list(store, "summaries", evidence.window)
    gate = asyncio.Semaphore(_CONCURRENCY)

    async def examine(name: ObjectName, stored: StoredObject) -> Examined:
        async with gate:
            one = await _examine(store, name, stored)
            progress(1)
            return one

    evidence.objects = list(await asyncio.gather(*(examine(name, stored) for name, stored in listing.items())))
    for stored in (await _list(store, "ledger", evidence.window)).values():
        try:
            evidence.ledger += ledger_records(await store.get(stored.key))
        except PayloadError as error:
            evidence.unreadable[stored.key] = str(error)
    for stored in await store.list_all(f"quarantine/v{schema.VERSION}/"):
        sequence = stored.key.rpartition("-")[2].removesuffix(".json")
        if sequence.isdecimal():  # else none of ours
            evidence.quarantine.add(int(sequence))
    await _look_up_newest(store, evidence)
    evidence.expire_days = await _expire_days(store)


async def _list(store: Store, kind: ObjectKind, window: Window) -> dict[ObjectName, StoredObject]:
    found = await asyncio.gather(
        *(store.list_all(folder) for folder in await store.folders(objects.prefix(kind)) if _in_window(folder, window))
    )
    named = ((ObjectName.parse(stored.key), stored) for day in found for stored in day)
    return {name: stored for name, stored in named if name is not None}


def _in_window(folder: str, window: Window) -> bool:
    day = objects.folder_day(folder)
    return day is not None and window.has_partition(day, timedelta(days=1))


async def _examine(store: Store, name: ObjectName, stored: StoredObject) -> Examined:
    try:
        return Examined(name, stored, await footers.read(store, stored))
    except PayloadError as error:
        return Examined(name, stored, problem=str(error))


def ledger_records(data: bytes) -> list[LedgerRecord]:
    """Return the records of a ledger object.

    Raises:
        PayloadError: it is damaged.

    """
    try:
        table = pq.read_table(pa.BufferReader(data))
        position = table.schema.get_field_index("time")
        table = table.set_column(position, "time", table["time"].cast(pa.int64()))
        return [LedgerRecord(**row) for row in table.to_pylist()]
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise PayloadError(f"its ledger records cannot be read: {one_line(error)}") from error


async def _look_up_newest(store: Store, evidence: Evidence) -> None:
    """Look up the newest object of each shard alone: only so its own MD5 is told."""
    newest: dict[tuple[str, int | None], Examined] = {}
    for one in evidence.objects:
        best = newest.get((one.name.incarnation, one.name.shard))
        if best is None or one.name.last > best.name.last:
            newest[one.name.incarnation, one.name.shard] = one
    for one in newest.values():
        one.stored = await store.stat(one.stored.key) or one.stored


async def _expire_days(store: Store) -> int:
    """Return after how many days the bucket lets objects expire; 0 when never, or when it does not say."""
    try:
        lifecycle = await store.run("read the lifecycle", lambda: store.client.get_bucket_lifecycle(store.bucket))
    except StoreError:
        return 0
    return expire_days(lifecycle.rules if lifecycle else [])


def expire_days(rules: list[Rule]) -> int:
    """Return after how many days rules of a lifecycle remove every object of summaries; 0 when they do not."""
    days = [
        rule.expiration.days
        for rule in rules
        if rule.status == ENABLED and rule.expiration and rule.expiration.days and _is_for_all(rule.rule_filter)
    ]
    return min(days, default=0)


def _is_for_all(chosen: Filter | None) -> bool:
    if chosen is None:
        return True
    # A rule for objects with a tag is not for ours: with it, every object that is gone would be taken for expired.
    if chosen.tag is not None or chosen.and_operator is not None:
        return False
    return objects.prefix("summaries").startswith(chosen.prefix or "")


async def look_elsewhere(store: Store, evidence: Evidence) -> None:
    """Look up objects that footers and notes name and that lie outside the partitions read."""
    listed = {one.stored.key for one in evidence.objects}
    wanted = {span.key for note in evidence.notes.values() for span in (note.committed, note.intent) if span}
    wanted |= {
        one.footer.manifest.previous.key for one in evidence.objects if one.footer and one.footer.manifest.previous
    }
    for key in wanted - listed:
        stored = await store.stat(key)
        if stored is not None:
            evidence.elsewhere.add(key)
            with contextlib.suppress(PayloadError):
                evidence.seen_elsewhere.append((await footers.read(store, stored)).manifest.seen)


async def from_backup(bus: Bus, stream: str, evidence: Evidence) -> None:
    """Add what the backup has acknowledged and notes.

    Raises:
        BusError: NATS is away or refuses.

    """
    try:
        info = await bus.jetstream.stream_info(stream)
        assert info.created is not None
        evidence.incarnation = objects.incarnation(info.created)
        await _read_acknowledged(bus, stream, info, evidence)
    except (APIError, nats.errors.Error, TimeoutError, OSError) as error:
        raise _refused(stream, error) from error


def _refused(stream: str, error: Exception) -> BusError:
    return BusError(
        f"cannot read stream {stream}: {error}; "
        "this user must be allowed to read it (--offline audits the bucket alone)"
    )


async def from_stream(bus: Bus, stream: str, evidence: Evidence, progress: Callable[[int], None]) -> None:
    """Add newer ledger records, and what waits to be stored.

    Raises:
        BusError: NATS is away or refuses.

    """
    try:
        info = await bus.jetstream.stream_info(stream)
        since = datetime.fromtimestamp(min(evidence.window.since // 10**9, 2**33), UTC)
        known = {(record.node, record.boot, record.interface, record.time) for record in evidence.ledger}
        async for message in _messages(bus, stream, f"{subjects.LEDGER}.*", info, since=since):
            record = _record(message)
            if record and (record.node, record.boot, record.interface, record.time) not in known:
                evidence.ledger.append(record)
        await _read_waiting(bus, stream, info, evidence, progress)
    except (APIError, nats.errors.Error, TimeoutError, OSError) as error:
        raise _refused(stream, error) from error


def _record(message: Msg) -> LedgerRecord | None:
    try:
        return LedgerRecord.decode(message.data)
    except PayloadError:
        return None  # the backup keeps it in quarantine


async def _read_waiting(
    bus: Bus, stream: str, info: StreamInfo, evidence: Evidence, progress: Callable[[int], None]
) -> None:
    """Count the batches behind the objects of each shard."""
    committed: dict[int, int] = {}
    for one in evidence.objects:
        if one.name.incarnation == evidence.incarnation and one.name.shard is not None:
            committed[one.name.shard] = max(committed.get(one.name.shard, 0), one.name.last)
    if not evidence.window.is_everything:
        # Objects outside the window were not listed; what was acknowledged counts as stored in one of them.
        for shard, acknowledged in evidence.acknowledged.items():
            committed[shard] = max(committed.get(shard, 0), acknowledged)
    after = min((committed.get(shard, 0) for shard in range(shard_count(info))), default=0)
    wanted = subjects.stored_shard() if info.config.subject_transform else subjects.ALL_TRAFFIC
    # A batch that stands twice in the stream waits once, and not at all when it is stored.
    stored = _stored(evidence)
    async for message in _messages(bus, stream, wanted, info, after=after, headers_only=True):
        progress(1)
        try:
            shard = subjects.parse(message.subject).shard or 0
        except SubjectError:
            continue  # the backup keeps it in quarantine
        sequence = message.metadata.sequence.stream
        if sequence <= committed.get(shard, 0):
            continue
        try:
            envelope = Envelope.from_headers(message.headers)
        except PayloadError:
            continue
        who = (envelope.node, envelope.boot)
        if envelope.sequence in stored.get(who, ()):
            continue
        if sequence <= evidence.acknowledged.get(shard, 0) and sequence not in evidence.quarantine:
            evidence.unkept.setdefault(who, RangeSet()).add(envelope.sequence)
        _count(evidence.waiting.setdefault(who, Waiting()), envelope)


def _count(waiting: Waiting, envelope: Envelope) -> None:
    if envelope.sequence not in waiting.sequences:
        waiting.sequences.add(envelope.sequence)
        waiting.packets += envelope.packets
        waiting.rows += envelope.rows


def _stored(evidence: Evidence) -> dict[tuple[str, str], RangeSet]:
    found: dict[tuple[str, str], RangeSet] = {}
    for one in evidence.objects:
        for share in one.footer.manifest.shares if one.footer else []:
            found.setdefault((share.node, share.boot), RangeSet()).update(share.sequences)
    return found


async def _read_acknowledged(bus: Bus, stream: str, info: StreamInfo, evidence: Evidence) -> None:
    """Read up to where the backup has acknowledged each shard, and what it notes of it.

    A user that may not read the notes is told less about the newest objects, no more.
    """
    for shard in range(shard_count(info)):
        with contextlib.suppress(NotFoundError):
            consumer = await bus.jetstream.consumer_info(stream, f"backup-{leases.lane_name('summaries', shard)}")
            floor = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
            # A consumer that was just made anew stands behind what is stored, and has acknowledged nothing itself.
            evidence.acknowledged[shard] = floor or 0
    with contextlib.suppress(APIError, nats.errors.Error, TimeoutError):
        notes = await bus.jetstream.key_value(leases.bucket_name(stream))
        for shard in range(shard_count(info)):
            lane = leases.lane_name("summaries", shard)
            note, _ = await leases.read_note(notes, lane)
            if note is not None:
                evidence.notes[lane] = note


async def _messages(
    bus: Bus,
    stream: str,
    subject: str,
    info: StreamInfo,
    *,
    after: int = 0,
    since: datetime | None = None,
    headers_only: bool = False,
) -> AsyncIterator[Msg]:
    """Yield the messages of a subject that are in the stream now, read through a consumer that vanishes by itself."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=max(after + 1, info.state.first_seq or 1),
        ack_policy=AckPolicy.NONE,
        filter_subjects=[subject],
        headers_only=headers_only,
        inactive_threshold=30.0,
    )
    if since is not None and since.timestamp() > 0:
        config = config.evolve(
            deliver_policy=DeliverPolicy.BY_START_TIME,
            opt_start_time=since - timedelta(hours=1),
            opt_start_seq=None,
        )
    made = await bus.jetstream.add_consumer(stream, config)
    left = made.num_pending or 0
    subscription = await bus.jetstream.pull_subscribe_bind(consumer=made.name, stream=stream)
    try:
        while left > 0:
            for message in await subscription.fetch(min(_BATCH, left), timeout=10):
                left -= 1
                yield message
    finally:
        await subscription.unsubscribe()
