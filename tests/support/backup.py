"""A backup in this process, and what it left in the bucket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from nats.errors import Error as NatsError

from services.backup.metrics import BackupMetrics
from services.backup.service import Backup
from streamgauge.bus import Bus
from streamgauge.lifecycle import Failure
from streamgauge.settings import BackupSettings
from streamgauge.store import Store
from tests.support.summaries import START, publish
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from streamgauge.settings import NatsSettings, S3Settings

#: The consumer of the lane where node-a belongs.
LANE = "backup-shard-03"


class Running:
    """A backup in this process with everything a test looks at."""

    def __init__(self, nats: NatsSettings, s3: S3Settings, **settings: Any) -> None:
        self.failure = Failure()
        self.bus = Bus(nats, "backup")
        self.store = Store(s3)
        self.metrics = BackupMetrics()
        own = BackupSettings.model_validate({"rotate_seconds": 0.2, **settings})
        self.backup = Backup(self.bus, self.store, own, nats, self.metrics, self.failure)

    async def start(self) -> Running:
        await self.bus.start()
        await self.store.start()
        await self.backup.start()
        return self

    async def stop(self) -> None:
        await self.backup.stop()
        await self.store.stop()
        await self.bus.stop()

    async def all_stored(self, rows: int, within: float = 20.0) -> None:
        """Wait until the bucket holds this many rows of summaries."""
        await eventually(lambda: self._has(rows), within=within)

    async def _has(self, rows: int) -> bool:
        return sum(table.num_rows for table in (await tables(self.store)).values()) >= rows


async def tables(store: Store, kind: str = "summaries") -> dict[str, pa.Table]:
    """Return all objects of one kind by key."""
    found = {}
    for stored in await store.list_all(f"{kind}/"):
        found[stored.key] = pq.read_table(pa.BufferReader(await store.get(stored.key)))
    return found


async def rows(store: Store) -> list[dict[str, Any]]:
    """Return all rows of all summaries, in order of time."""
    return sorted(
        (row for table in (await tables(store)).values() for row in table.to_pylist()), key=lambda row: row["time"]
    )


class World:
    """What a test sees from outside: the stream and the bucket."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self.bus = bus
        self.store = store
        self.expected: set[int] = set()

    async def publish(self, *sequences: int, **options: object) -> None:
        for sequence in sequences:
            await self._until_acknowledged(sequence, **options)
            self.expected |= {START + sequence * 1_000_000 + row * 1000 for row in range(10)}

    async def _until_acknowledged(self, sequence: int, **options: object) -> None:
        """Publish as a collector does: again under the same identifier until there is an acknowledgement."""
        for _ in range(20):
            with contextlib.suppress(NatsError, asyncio.TimeoutError):
                await publish(self.bus.jetstream, sequence, rows=10, **options)  # type: ignore[arg-type]
                return
        raise AssertionError("NATS does not come back")

    async def times(self) -> list[int]:
        found: list[int] = []
        for table in (await tables(self.store)).values():
            found += table["time"].cast("int64").to_pylist()
        return sorted(found)

    async def exactly(self) -> bool:
        """Return whether all that was published is stored, once."""
        times = await self.times()
        assert len(times) == len(set(times)), "stored twice"
        assert self.expected >= set(times), "stored from nowhere"
        return sorted(self.expected) == times

    async def settled(self) -> bool:
        info = await self.bus.jetstream.consumer_info("TRAFFIC", LANE)
        return info.num_pending == 0 and info.num_ack_pending == 0
