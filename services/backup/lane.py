"""A lane: one shard of the summaries (or all ledger records, or all identity events), from its consumer to its objects.

It takes the lease, finds out what is stored, goes on behind it, and closes an object when the rotation says so. One
object fills while the one before is stored. Only what is stored is acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.backup import recovery
from services.backup.consumer import Delivery, LostError, StreamChangedError
from services.backup.lease import HeldError
from streamgauge.errors import BusError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from services.backup.assembly import Assembly
    from services.backup.consumer import Consumer
    from services.backup.intake import Intake
    from services.backup.lease import Lease
    from services.backup.memory import Memory
    from services.backup.metrics import BackupMetrics
    from services.backup.recovery import Catalogue
    from services.backup.rotation import Rotation
    from services.backup.writer import Place, Writer
    from streamgauge.objects import SeenState
    from streamgauge.store import Store

_log = get("lane")

#: Seconds a pull waits for messages, so that age and stopping are noticed.
_PULL_WAIT: Final = 1.0
#: Seconds between attempts to reopen a consumer.
_REOPEN_PAUSE: Final = 0.5
#: Seconds between attempts to get a lane that another replica writes.
_HELD_PAUSE: Final = 1.0
#: Seconds until a lane looks again whether there is memory to read on.
_FULL_PAUSE: Final = 0.05
#: Seconds the last object may take at the end; what is not stored by then comes again at the next start.
STOP_TIMEOUT: Final = 25.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a lane is made of; all of it is the lane's own but the store, the metrics and the failure."""

    place: Place
    lease: Lease
    consumer: Consumer
    intake: Intake
    rotation: Rotation
    memory: Memory
    writer: Writer
    store: Store
    metrics: BackupMetrics
    failure: Failure


class Lane:
    """Runs from ``start`` to ``stop``; owned by the service."""

    def __init__(self, name: str, parts: Parts) -> None:
        self.name = name
        self._parts = parts
        self._consumer = parts.consumer
        self._intake = parts.intake
        self._metrics = parts.metrics
        self._sampled = Sampled(_log)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._storing: asyncio.Task[None] | None = None
        parts.memory.join(lambda: parts.intake.size)

    async def start(self, catalogue: Catalogue, *, wait: bool) -> None:
        """Take the lane and go on behind what is stored.

        Args:
            catalogue: the objects in the bucket.
            wait: if another replica writes the lane, wait in the background until it stops.

        Raises:
            HeldError: another replica writes the lane, and we do not ``wait``.
            BusError: NATS is away or refuses.
            StoreError: the bucket cannot be read.

        """
        self._metrics.writes.set(0, self.name)
        if not wait:
            await self._begin(catalogue)
        live = self._run() if not wait else self._wait_and_run(catalogue)
        self._task = spawn(live, name=f"lane {self.name}", failure=self._parts.failure)

    async def stop(self) -> None:
        """Store what is in hand and acknowledge it; give up after ``STOP_TIMEOUT``, then it comes again."""
        self._stopping.set()
        if self._task is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(asyncio.shield(self._task), STOP_TIMEOUT)
        await cancel(self._task)
        await cancel(self._storing)
        await self._consumer.close()
        await self._parts.lease.release()

    @property
    def trouble(self) -> str | None:
        """Why the lane does not get on, in words; None while it does."""
        return self._parts.writer.trouble

    def state(self) -> tuple[str, int, int, int]:
        """Return name, messages waiting in the stream, bytes held, and when the oldest in hand was taken (ns)."""
        return self.name, self._consumer.pending, self._intake.size, self._intake.oldest

    async def refresh(self) -> None:
        """Ask how many messages wait in the stream, if the lane is ours."""
        await self._consumer.refresh()

    async def _begin(self, catalogue: Catalogue) -> None:
        record = await self._parts.lease.take()
        position = await recovery.recover(self._parts.store, catalogue, self._parts.place, record)
        committed = position.committed.last if position.committed else 0
        self._intake.begin(committed, position.seen, position.unfinished)
        self._parts.writer.go_on(position)
        await self._consumer.open(committed)
        self._metrics.writes.set(1, self.name)
        _log.info(
            "lane open",
            lane=self.name,
            behind=committed,
            waiting=self._consumer.pending,
            unfinished=position.unfinished.key if position.unfinished else None,
        )

    async def _wait_and_run(self, catalogue: Catalogue) -> None:
        while not self._stopping.is_set():
            try:
                await self._begin(catalogue)
            except HeldError as error:
                self._sampled.warning("waiting for the lane", lane=self.name, reason=str(error))
                await self._pause(_HELD_PAUSE)
                # What the other one stores until it stops is not in our list.
                catalogue = recovery.Catalogue(self._parts.store)
            else:
                await self._run()
                return

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._step()
            except LostError as error:
                self._sampled.warning("reading again behind what is stored", lane=self.name, reason=str(error))
                await self._reopen()
        await self._close()
        await self._stored()

    async def _step(self) -> None:
        intake, rotation = self._intake, self._parts.rotation
        if self._parts.memory.full:
            await self._pause(_FULL_PAUSE)
        else:
            age = time.monotonic() - intake.open.opened
            wait = min(_PULL_WAIT, rotation.wait(messages=len(intake.open.replies), age=age))
            if intake.open.again is not None:
                wait = _PULL_WAIT  # its age alone does not close it
            known: list[str] = []
            for delivery in await self._consumer.pull(wait):
                known += await self._take(delivery)
                await self._close_if_due()
            await self._consumer.acknowledge(known)
        await self._close_if_due()

    async def _close_if_due(self) -> None:
        opened, rotation = self._intake.open, self._parts.rotation
        age = time.monotonic() - opened.opened
        if opened.again is not None:
            # An unfinished object must become the same again, whatever the limits are now.
            due = bool(opened.replies) and self._consumer.pending == 0 and age >= rotation.max_age
        else:
            due = rotation.due(
                size=opened.size,
                rows=opened.rows,
                messages=len(opened.replies),
                age=age,
                max_bytes=self._parts.memory.object_bytes(rotation.max_bytes),
            )
        if due:
            await self._close()

    async def _take(self, delivery: Delivery) -> list[str]:
        """Take a message in; return where to acknowledge it if it is stored already."""
        if self._intake.exceeds(delivery):
            await self._close()
        before = self._intake.redelivered
        known = self._intake.take(delivery, time.monotonic())
        self._metrics.redelivered.add(self._intake.redelivered - before)
        if self._intake.complete:
            await self._close()
        return [] if known is None else [known]

    async def _reopen(self) -> None:
        self._metrics.reopened.add(1)
        while not self._stopping.is_set():
            await self._parts.lease.check()
            try:
                await self._consumer.open(self._intake.committed)
            except StreamChangedError:
                raise
            except BusError as error:
                self._sampled.warning("cannot read", lane=self.name, reason=str(error))
                await self._pause(_REOPEN_PAUSE)
            else:
                return

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _close(self) -> None:
        """Hand the open object to the writer as soon as the one before is stored; go on reading meanwhile."""
        await self._stored()
        if self._intake.open.replies or self._intake.open.again:
            assembly, seen = self._intake.close()
            storing = self._commit(assembly, seen)
            self._storing = spawn(storing, name=f"store {self.name}", failure=self._parts.failure)

    async def _stored(self) -> None:
        if self._storing is not None:
            await asyncio.shield(self._storing)
            self._storing = None

    async def _commit(self, assembly: Assembly, seen: SeenState) -> None:
        if not assembly.replies:
            self._intake.closed = None
            return
        await self._parts.writer.store(assembly, seen)
        await self._consumer.acknowledge(self._intake.stored().replies.values())
