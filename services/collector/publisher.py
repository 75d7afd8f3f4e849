"""Publishes messages to JetStream and keeps each, in memory and in the spool, until it is acknowledged.

The whole policy: take up to ``in_flight`` messages from the head of the queue, send them in order, wait for all their
acknowledgements, forget those acknowledged, begin again. Whatever else happens to a message (no acknowledgement in
time, a server that went away, no stream, a refusal) it stays at the head and is sent again under the same
``Nats-Msg-Id``, by which JetStream recognises one that it had stored after all. So messages are lost only where the
queue evicts them, which is counted, and what is newer than a window is never sent before the window is stored.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NoStreamResponseError

from services.collector.pending import entry_of
from streamgauge.errors import BusError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.collector.account import Account
    from services.collector.batcher import Message
    from services.collector.link import Link
    from services.collector.metrics import CollectorMetrics
    from services.collector.pending import Entry, Pending
    from services.collector.spool import Book, Spool
    from streamgauge.bus import Bus

_log = get("publisher")

#: Seconds before a failed round is repeated: doubled from the first to the second.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

_HINTS: Final = {
    "no_stream": "no stream takes this subject; it will be looked up, or created where that is allowed",
    "too_large": "larger than max_payload of the server: raise it, or lower STREAMGAUGE_COLLECTOR_BATCH_BYTES",
}


class Publisher:
    """Owns the queue of pending messages. All methods run on the event loop."""

    def __init__(
        self,
        bus: Bus,
        link: Link,
        pending: Pending,
        spool: Spool,
        account: Account,
        metrics: CollectorMetrics,
        failure: Failure,
        *,
        live: bool,
        ack_timeout: float,
        stop_timeout: float,
    ) -> None:
        """Set up a publisher; timeouts are in seconds.

        ``live`` chooses what a full queue does: evict the oldest, or make ``accept`` wait.
        """
        self._bus = bus
        self._link = link
        self._pending = pending
        self._spool = spool
        self._account = account
        self._metrics = metrics
        self._failure = failure
        self._live = live
        self._ack_timeout = ack_timeout
        self._stop_timeout = stop_timeout
        self._task: asyncio.Task[None] | None = None
        self._sampled = Sampled(_log)
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._ending = False
        self._drained = asyncio.Event()
        self._drained.set()

    async def start(self) -> None:
        """Begin to publish: what former boots left in the spool first, then what is accepted."""
        self._pending.add(self._spool.left)
        self._wake()
        self._task = spawn(self._run(), name="publisher", failure=self._failure)

    async def stop(self) -> None:
        """Publish what is left, for a while; then what is in the spool stays there, and the rest is lost and told."""
        self.give_way()
        try:
            async with asyncio.timeout(self._stop_timeout):
                await self._empty.wait()
        except TimeoutError:
            left = self._pending.abandon()
            lost = [entry for entry in left if entry.location is None]
            kept = len(left) - len(lost)
            if kept:
                _log.warning("batches stay in the spool until the next start", batches=kept)
            if lost:
                await self._give_up(lost)
                self._failure.set(BusError(self._obituary(lost)))
        finally:
            await cancel(self._task)

    async def accept(self, messages: Sequence[Message]) -> None:
        """Take messages over; waits for room unless the source is live, which evicts the oldest instead."""
        if not self._live:
            await self._room.wait()
        locations = await self._spool.append(messages)
        self._pending.add([entry_of(*pair) for pair in zip(messages, locations, strict=True)])
        self._account.accepted(messages)
        if self._live:
            await self._evict()
        self._wake()

    async def drained(self) -> None:
        """Wait until every accepted message is acknowledged or evicted, or until the service is told to stop."""
        await self._drained.wait()

    def give_way(self) -> None:
        """Accept without waiting for room from now on: the source ends, and what it still gives is little."""
        self._ending = self._live = True
        self._wake()

    async def _evict(self) -> None:
        evicted = self._pending.evict(time.time())
        if evicted:
            await self._give_up(evicted)
            self._sampled.warning(
                "no more room: oldest batches evicted", batches=len(evicted), bytes=self._pending.bytes
            )

    async def _give_up(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._book(entry).account.evicted(entry.envelope)
        await self._spool.evicted(entries)

    def _obituary(self, lost: Sequence[Entry]) -> str:
        packets = sum(entry.envelope.packets for entry in lost)
        reason = self._link.trouble or "it was too slow"
        return f"{packets} packets in {len(lost)} batches were not acknowledged by NATS and are lost: {reason}"

    def _book(self, entry: Entry) -> Book:
        return self._spool.books[entry.envelope.boot]

    def _wake(self) -> None:
        """Let the waiting parts see how full the queue is."""
        for event, holds in (
            (self._work, len(self._pending) > 0),
            (self._empty, len(self._pending) == 0),
            (self._room, self._live or not self._pending.full),
            (self._drained, self._ending or len(self._pending) == 0),
        ):
            if holds:
                event.set()
            else:
                event.clear()

    async def _run(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            await self._work.wait()
            await self._link.wait()
            if await self._round():
                pause = _SHORTEST_PAUSE
                continue
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _round(self) -> bool:
        """Send one window; return whether every message of it was acknowledged."""
        window = await self._loaded(self._pending.window())
        sends = [spawn(self._send(entry), name="publish") for entry in window]
        try:
            acknowledged = await asyncio.gather(*sends)
        finally:
            for send in sends:
                send.cancel()
        stored = [entry for entry, good in zip(window, acknowledged, strict=True) if good]
        self._pending.settle(stored)
        for entry in stored:
            book = self._book(entry)
            book.account.published(entry.envelope)
            if book.leftover is None:
                self._metrics.acknowledged(len(entry.payload or b""), time.time() - entry.closed_at)
            else:
                self._metrics.recovered(entry.envelope.packets)
        await self._spool.done(stored)
        self._wake()
        return len(stored) == len(window)

    async def _loaded(self, window: Sequence[Entry]) -> list[Entry]:
        """Return the messages with their payloads, read back from the spool where they are no longer in memory."""
        loaded, gone = [], []
        for entry in window:
            try:
                if entry.payload is None:
                    self._pending.load(entry, await self._spool.read(entry))
                loaded.append(entry)
            except EOFError as error:
                gone.append(entry)
                _log.error("a batch is gone from the spool", sequence=entry.envelope.sequence, error=str(error))
            except OSError as error:
                self._sampled.warning("the spool cannot be read, will be tried again", error=str(error))
                break
        if gone:
            self._pending.settle(gone)
            await self._give_up(gone)
        return loaded

    async def _send(self, entry: Entry) -> bool:
        """Publish one message; return whether the server says that it is stored."""
        assert entry.payload is not None
        try:
            # nats-py's own timeout covers the answer, not the sending, which may wait on a full socket.
            async with asyncio.timeout(self._ack_timeout * 2):
                await self._bus.jetstream.publish(
                    entry.subject,
                    entry.payload,
                    timeout=self._ack_timeout,
                    headers=entry.envelope.headers(),
                )
        except (NatsError, BusError, TimeoutError, OSError) as error:
            self._failed(entry, error)
            return False
        return True

    def _failed(self, entry: Entry, error: Exception) -> None:
        reason = reason_of(error)
        self._metrics.retried(reason)
        if reason == "no_stream":
            self._link.look_for_stream()
        hint = _HINTS.get(reason)
        self._sampled.warning(
            f"batch not acknowledged, will be sent again: {reason}",
            subject=entry.subject,
            sequence=entry.envelope.sequence,
            error=str(error) or type(error).__name__,
            **({"hint": hint} if hint else {}),
        )


def reason_of(error: Exception) -> str:
    """Return why a publish failed: one of ``metrics.RETRY_REASONS``."""
    if isinstance(error, NoStreamResponseError):
        return "no_stream"
    if isinstance(error, MaxPayloadError):
        return "too_large"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, APIError):
        return "refused"
    if isinstance(error, (ConnectionClosedError, OutboundBufferLimitError, BusError, OSError)):
        return "disconnected"
    return "refused"
