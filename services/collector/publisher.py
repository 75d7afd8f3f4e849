"""Publishes messages to JetStream and keeps each until it is acknowledged.

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

from streamgauge.errors import BusError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.collector.account import Account
    from services.collector.batcher import Message
    from services.collector.link import Link
    from services.collector.metrics import CollectorMetrics
    from services.collector.pending import Pending
    from streamgauge.bus import Bus

_log = get("publisher")

#: Seconds before a failed round is repeated: doubled from the first to the second.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

#: Seconds that publishing what is left may take when the service stops.
STOP_TIMEOUT: Final = 15.0

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
        account: Account,
        metrics: CollectorMetrics,
        failure: Failure,
        *,
        live: bool,
        ack_timeout: float,
    ) -> None:
        """Set up a publisher; ``live`` chooses what a full queue does: evict the oldest, or make ``accept`` wait."""
        self._bus = bus
        self._link = link
        self._pending = pending
        self._account = account
        self._metrics = metrics
        self._failure = failure
        self._live = live
        self._ack_timeout = ack_timeout
        self._task: asyncio.Task[None] | None = None
        self._sampled = Sampled(_log)
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self) -> None:
        """Begin to publish what is accepted."""
        self._task = spawn(self._run(), name="publisher", failure=self._failure)

    async def stop(self) -> None:
        """Publish what is left, for a while; what then remains is counted as evicted and told."""
        self.give_way()
        try:
            await asyncio.wait_for(self._empty.wait(), STOP_TIMEOUT)
        except TimeoutError:
            left = self._pending.abandon()
            self._count_evicted(left)
            packets = sum(message.envelope.packets for message in left)
            self._failure.set(
                BusError(
                    f"{packets} packets in {len(left)} batches were not acknowledged by NATS and are lost: "
                    f"{self._link.trouble or 'it was too slow'}"
                )
            )
        finally:
            await cancel(self._task)

    async def accept(self, messages: Sequence[Message]) -> None:
        """Take messages over; waits for room unless the source is live, which evicts the oldest instead."""
        if not self._live:
            await self._room.wait()
        self._pending.add(messages)
        self._account.accepted(messages)
        if self._live:
            self._evict()
        self._wake()

    async def drained(self) -> None:
        """Wait until every accepted message is acknowledged or evicted."""
        await self._empty.wait()

    def give_way(self) -> None:
        """Accept without waiting for room from now on: the source ends, and what it still gives is little."""
        self._live = True
        self._room.set()

    def _evict(self) -> None:
        evicted = self._pending.evict()
        if evicted:
            self._count_evicted(evicted)
            self._sampled.warning(
                "pending buffer full: oldest batches evicted", batches=len(evicted), bytes=self._pending.bytes
            )

    def _count_evicted(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._account.evicted(message.envelope)

    def _wake(self) -> None:
        """Let the waiting parts see how full the queue is."""
        for event, holds in (
            (self._work, len(self._pending) > 0),
            (self._empty, len(self._pending) == 0),
            (self._room, self._live or not self._pending.full),
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
        window = self._pending.window()
        sends = [spawn(self._send(message), name="publish") for message in window]
        try:
            acknowledged = await asyncio.gather(*sends)
        finally:
            for send in sends:
                send.cancel()
        now = time.monotonic()
        stored = [message for message, good in zip(window, acknowledged, strict=True) if good]
        self._pending.acknowledge({message.envelope.message_id for message in stored})
        for message in stored:
            self._account.published(message.envelope)
            self._metrics.acknowledged(len(message.payload), now - message.closed_at)
        self._wake()
        return all(acknowledged)

    async def _send(self, message: Message) -> bool:
        """Publish one message; return whether the server says that it is stored."""
        try:
            # nats-py's own timeout covers the answer, not the sending, which may wait on a full socket.
            async with asyncio.timeout(self._ack_timeout * 2):
                await self._bus.jetstream.publish(
                    message.subject,
                    message.payload,
                    timeout=self._ack_timeout,
                    headers=message.envelope.headers(),
                )
        except (NatsError, BusError, TimeoutError, OSError) as error:
            self._failed(message, error)
            return False
        return True

    def _failed(self, message: Message, error: Exception) -> None:
        reason = reason_of(error)
        self._metrics.retried(reason)
        if reason == "no_stream":
            self._link.look_for_stream()
        hint = _HINTS.get(reason)
        self._sampled.warning(
            f"batch not acknowledged, will be sent again: {reason}",
            subject=message.subject,
            sequence=message.envelope.sequence,
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
