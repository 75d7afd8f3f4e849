"""The backup as one component: a lane for each shard it takes, and for the ledger and identity events beside them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import nats.errors
from nats.js.errors import APIError

from services.backup import recovery
from services.backup.consumer import MAX_ACK_PENDING, Consumer
from services.backup.intake import Intake
from services.backup.lane import Lane, Parts
from services.backup.lease import Lease
from services.backup.memory import Memory
from services.backup.rotation import Rotation
from services.backup.writer import Place, Writer
from streamgauge import drill, objects, protection, subjects
from streamgauge.bus import shard_count
from streamgauge.errors import ConfigurationError, StoreConflictError
from streamgauge.leases import bucket_name, lane_name
from streamgauge.lifecycle import cancel, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nats.js.api import StreamInfo

    from services.backup.metrics import BackupMetrics
    from streamgauge.bus import Bus
    from streamgauge.lifecycle import Failure
    from streamgauge.objects import ObjectKind
    from streamgauge.settings import BackupSettings, NatsSettings
    from streamgauge.store import Store


#: Seconds between two looks at how much waits, and for the outcome of a restore drill.
_LOOK_INTERVAL: Final = 10.0
#: An object whose only purpose is that it could be stored.
_PROBE: Final = "streamgauge/can-be-written"


@dataclass(frozen=True, slots=True)
class Route:
    """What a lane reads."""

    kind: ObjectKind
    shard: int | None
    subject: str

    @property
    def name(self) -> str:
        """The lane's name, e.g. ``shard-03`` or ``ledger``."""
        return lane_name(self.kind, self.shard)


class Backup:
    """Owns the lanes; started after the connection and the storage, stopped before them."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        settings: BackupSettings,
        connection: NatsSettings,
        metrics: BackupMetrics,
        failure: Failure,
    ) -> None:
        self._bus = bus
        self._store = store
        self._settings = settings
        self._nats = connection
        self._metrics = metrics
        self._failure = failure
        self._memory = Memory(settings.pending_bytes)
        self._lanes: list[Lane] = []
        self._ready = False
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Find out what is stored, and go on behind it.

        Raises:
            BusError: the stream is missing or cannot be read.
            StoreError: the bucket cannot be read.
            ConfigurationError: a shard is asked for that the stream does not have.

        """
        info, routes = await self._look_up()
        await protection.protect(self._store, self._settings)
        catalogue = recovery.Catalogue(self._store)
        encoders = asyncio.Semaphore(self._settings.encoders)
        rotation = self._rotation()
        self._metrics.watch(lambda: [lane.state() for lane in self._lanes])
        for route in routes:
            lane = Lane(route.name, self._parts(info, route, rotation, encoders))
            self._lanes.append(lane)
        wait = self._settings.when_taken == "wait"
        # All at once: asking writers that do not answer takes seconds each.
        outcomes = await asyncio.gather(
            *(lane.start(catalogue, wait=wait) for lane in self._lanes), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._looking = spawn(self._look(), name="look", failure=self._failure)
        self._ready = True

    async def check(self) -> str:
        """Try what the backup needs of a started connection and storage; return what is there.

        Raises:
            BusError: the stream is missing or cannot be read.
            StoreError: the bucket cannot be listed or written.
            ConfigurationError: a shard is asked for that the stream does not have, or versions, lock, expiry or
                encryption of the bucket are not as the settings say.

        """
        info, routes = await self._look_up()
        await self._store.folders(objects.prefix("summaries"))
        with contextlib.suppress(StoreConflictError):  # from the check before
            await self._store.put(_PROBE, b"may be written", content_type="text/plain", exclusive=True)
        protected = await protection.verify(self._store, self._settings)
        shards = sum(route.shard is not None for route in routes)
        return (
            f"NATS has stream {info.config.name} ({shards} of its {shard_count(info)} shards are ours), "
            + ", ".join([f"bucket {self._store.bucket} can be written", *protected])
        )

    async def stop(self) -> None:
        """Store what is in hand, all lanes at once."""
        self._ready = False
        await cancel(self._looking)
        await asyncio.gather(*(lane.stop() for lane in self._lanes))

    async def _look(self) -> None:
        """Keep metrics up to date that nothing else does.

        A lane that cannot store does not read either, and would not hear how much waits meanwhile. A restore drill is a
        job that ends, and cannot be scraped.
        """
        while True:
            await asyncio.gather(*(lane.refresh() for lane in self._lanes))
            with contextlib.suppress(APIError, nats.errors.Error, TimeoutError, OSError):
                notes = await self._bus.jetstream.key_value(bucket_name(self._nats.stream))
                self._metrics.verified.set(await drill.last_verified(notes))
            await asyncio.sleep(_LOOK_INTERVAL)

    def ready(self) -> str | None:
        """Return why the backup is not ready; None when it is."""
        if not self._ready:
            return "starting or stopping"
        if not self._bus.connected:
            return f"not connected to NATS at {self._nats.url}"
        return next((lane.trouble for lane in self._lanes if lane.trouble), None)

    async def _look_up(self) -> tuple[StreamInfo, list[Route]]:
        info = await self._bus.ensure_stream()
        routes = list(self._routes(info))
        protection.check_ages(self._settings, self._nats.stream, info.config.max_age or 0)
        return info, routes

    def _parts(self, info: StreamInfo, route: Route, rotation: Rotation, encoders: asyncio.Semaphore) -> Parts:
        place = _place(info, route)
        lease = Lease(
            self._bus,
            stream=place.stream,
            lane=route.name,
            incarnation=place.incarnation,
            replicas=info.config.num_replicas or 1,
        )
        return Parts(
            place=place,
            lease=lease,
            consumer=self._consumer(route, place.incarnation),
            intake=Intake(route.kind, keep=int(self._settings.dedupe_hours * 3600 * 10**9)),
            rotation=rotation,
            memory=self._memory,
            writer=Writer(place, self._store, self._settings, self._metrics, encoders, lease),
            store=self._store,
            metrics=self._metrics,
            failure=self._failure,
        )

    def _routes(self, info: StreamInfo) -> Iterator[Route]:
        count = shard_count(info)
        taken = self._settings.shards_of(count)
        beyond = [shard for shard in taken if shard >= count]
        if beyond:
            raise ConfigurationError(
                f"STREAMGAUGE_BACKUP_SHARDS names shard {beyond[0]}, but stream {self._nats.stream} has {count}: "
                f"0 to {count - 1}"
            )
        partitioned = info.config.subject_transform is not None
        for shard in taken:
            yield Route("summaries", shard, subjects.stored_shard(shard) if partitioned else subjects.ALL_TRAFFIC)
        if 0 in taken:
            # Few and small: the replica that has the first shard takes them all.
            yield Route("ledger", None, f"{subjects.LEDGER}.*")
            yield Route("identity", None, f"{subjects.IDENTITY}.*")

    def _rotation(self) -> Rotation:
        settings = self._settings
        return Rotation(
            max_bytes=settings.rotate_bytes,
            max_rows=settings.rotate_rows,
            max_age=settings.rotate_seconds,
            max_messages=MAX_ACK_PENDING // 4,
        )

    def _consumer(self, route: Route, incarnation: str) -> Consumer:
        return Consumer(
            self._bus,
            stream=self._nats.stream,
            incarnation=incarnation,
            name=f"backup-{route.name}",
            subject=route.subject,
            ack_wait=max(self._settings.ack_wait, 2 * self._settings.rotate_seconds),
            timeout=self._nats.connect_timeout,
        )


def _place(info: StreamInfo, route: Route) -> Place:
    assert info.created is not None
    return Place(
        kind=route.kind,
        stream=info.config.name or "",
        stream_created=info.created.isoformat(),
        incarnation=objects.incarnation(info.created),
        shard=route.shard,
        shards=shard_count(info),
    )
