"""A lane: one shard of the summaries (or all ledger records, or all identity events), from its consumer to its objects.

The lane reads its messages in stream order and remembers two positions: ``committed``, up to which everything is
stored, and ``accepted``, up to which it is in hand. Only what is committed is acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from services.backup.assembly import Assembly
from services.backup.consumer import Delivery, LostError
from services.backup.intake import Batch, identify
from streamgauge.errors import BusError, PayloadError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get
from streamgauge.objects import Seen, SeenState
from streamgauge.ranges import RangeSet

if TYPE_CHECKING:
    from services.backup.consumer import Consumer
    from services.backup.metrics import BackupMetrics
    from services.backup.rotation import Rotation
    from services.backup.writer import Writer
    from streamgauge.objects import ObjectKind

_log = get("lane")

#: Seconds a pull waits for messages, so that age and stopping are noticed.
_PULL_WAIT: Final = 1.0
#: Seconds between attempts to reopen a consumer.
_REOPEN_PAUSE: Final = 0.5
#: Seconds the last object may take at the end; what is not stored by then comes again at the next start.
STOP_TIMEOUT: Final = 25.0


class Lane:
    """Runs from ``start`` to ``stop``; owned by the service."""

    def __init__(
        self,
        kind: ObjectKind,
        name: str,
        consumer: Consumer,
        writer: Writer,
        rotation: Rotation,
        metrics: BackupMetrics,
        failure: Failure,
    ) -> None:
        self.name = name
        self._kind = kind
        self._consumer = consumer
        self._writer = writer
        self._rotation = rotation
        self._metrics = metrics
        self._failure = failure
        self._sampled = Sampled(_log)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._open = Assembly(0.0)
        self._closed: Assembly | None = None
        self._storing: asyncio.Task[None] | None = None
        self._committed = self._accepted = 0
        self._seen: SeenState = {}

    async def start(self, committed: int, seen: SeenState) -> None:
        """Begin behind stream sequence ``committed``, with the batches ``seen`` so far.

        Raises:
            BusError: the consumer cannot be made.

        """
        self._committed = self._accepted = committed
        self._seen = seen
        await self._consumer.open(committed)
        _log.info("lane open", lane=self.name, behind=committed, waiting=self._consumer.pending)
        self._task = spawn(self._run(), name=f"lane {self.name}", failure=self._failure)

    async def stop(self) -> None:
        """Store what is in hand and acknowledge it; give up after ``STOP_TIMEOUT``, then it comes again."""
        self._stopping.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError, Exception):
                await asyncio.wait_for(asyncio.shield(self._task), STOP_TIMEOUT)
        await cancel(self._task)
        await cancel(self._storing)
        await self._consumer.close()

    @property
    def trouble(self) -> str | None:
        """Why the lane does not get on, in words; None while it does."""
        return self._writer.trouble

    def state(self) -> tuple[str, int, int, int]:
        """Return name, messages waiting in the stream, bytes held, and when the oldest in hand was taken (ns)."""
        closed = self._closed
        size = self._open.size + (closed.size if closed else 0)
        oldest = closed.oldest if closed else self._open.oldest
        return self.name, self._consumer.pending, size, oldest

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._step()
            except (LostError, BusError) as error:
                self._sampled.warning("reading again behind what is stored", lane=self.name, reason=str(error))
                await self._reopen()
        await self._close()
        await self._stored()

    async def _step(self) -> None:
        age = time.monotonic() - self._open.opened
        wait = min(_PULL_WAIT, self._rotation.wait(messages=len(self._open.replies), age=age))
        known = [reply for reply in map(self._take, await self._consumer.pull(wait)) if reply]
        if known:
            await self._consumer.acknowledge(known)
        age = time.monotonic() - self._open.opened
        if self._rotation.due(size=self._open.size, rows=self._open.rows, messages=len(self._open.replies), age=age):
            await self._close()

    async def _reopen(self) -> None:
        self._metrics.reopened.add(1)
        while not self._stopping.is_set():
            try:
                await self._consumer.open(self._committed)
            except BusError as error:
                self._sampled.warning("cannot read", lane=self.name, reason=str(error))
                await self._pause(_REOPEN_PAUSE)
            else:
                return

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _take(self, delivery: Delivery) -> str | None:
        """Take a message in; return where to acknowledge it if it is stored already."""
        if delivery.sequence <= self._committed:
            self._metrics.redelivered.add(1)
            return delivery.reply
        if delivery.sequence <= self._accepted:
            # In hand: an acknowledgement has to go where it was delivered last.
            self._metrics.redelivered.add(1)
            for assembly in (self._open, self._closed):
                if assembly is not None and delivery.sequence in assembly.replies:
                    assembly.replies[delivery.sequence] = delivery.reply
            return None
        self._accepted = delivery.sequence
        if not self._open.replies:
            self._open.opened = time.monotonic()
        self._open.note(delivery)
        try:
            batch = identify(self._kind, delivery)
        except PayloadError as error:
            self._open.poison.append((delivery, str(error)))
            return None
        if self._is_new(batch):
            self._open.add(batch)
        else:
            self._open.duplicates += 1
        return None

    def _is_new(self, batch: Batch) -> bool:
        """Return whether a batch was not seen before, and remember it."""
        envelope = batch.envelope
        if envelope is None:
            return True
        seen = self._seen.setdefault((envelope.node, envelope.boot), Seen(RangeSet(), 0))
        seen.stored = max(seen.stored, batch.delivery.stored)
        if envelope.sequence in seen.sequences:
            return False
        seen.sequences.add(envelope.sequence)
        return True

    async def _close(self) -> None:
        """Hand the open object to the writer as soon as the one before is stored; go on reading meanwhile."""
        await self._stored()
        if not self._open.replies:
            return
        self._closed, self._open = self._open, Assembly(0.0)
        # The footer speaks for what came up to here, not for what is read while it is written.
        seen = {who: Seen(found.sequences.copy(), found.stored) for who, found in self._seen.items()}
        self._storing = spawn(self._commit(self._closed, seen), name=f"store {self.name}", failure=self._failure)

    async def _stored(self) -> None:
        if self._storing is not None:
            await asyncio.shield(self._storing)
            self._storing = None

    async def _commit(self, assembly: Assembly, seen: SeenState) -> None:
        await self._writer.store(assembly, seen)
        self._committed = assembly.last
        self._closed = None
        await self._consumer.acknowledge(assembly.replies.values())
