"""Batches as they are published: a plain subscription, which leaves nothing behind on the server."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from streamgauge import subjects
from streamgauge.consumer.gaps import Reason, Tracker
from streamgauge.consumer.source import Message
from streamgauge.errors import PayloadError, SubjectError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

#: What a message is counted as beside its payload.
_HEADER_BYTES: Final = 1024


class LiveSource:
    """Holds what came and was not asked for, up to a bound; past it the oldest go, and are told as missed."""

    def __init__(self, client: Client, subject: str, tracker: Tracker, *, buffer_bytes: int) -> None:
        """``buffer_bytes`` bounds the memory of what waits."""
        self._client = client
        self._subject = subject
        self._tracker = tracker
        self._buffer_bytes = buffer_bytes
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe; return when the server knows."""
        # nats-py's own bounds would drop without saying what: ours hold before them.
        self._subscription = await self._client.subscribe(
            self._subject, cb=self._take, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        # nats-py writes the ping of a flush ahead of what still waits to be written, the subscription among it; by the
        # time that the first is answered it has been written, and the answer to the second comes after it.
        await self._client.flush()
        await self._client.flush()

    async def _take(self, message: Msg) -> None:
        self._waiting.append(Message(message.subject, message.headers or {}, message.data))
        self._bytes += len(message.data) + _HEADER_BYTES
        while self._bytes > self._buffer_bytes and len(self._waiting) > 1:
            self._drop(self._pop())
        self._more.set()

    def _pop(self) -> Message:
        message = self._waiting.popleft()
        self._bytes -= len(message.data) + _HEADER_BYTES
        return message

    def _drop(self, message: Message) -> None:
        try:
            envelope = subjects.Envelope.from_headers(message.headers)
            kind = traffic_class(message.subject)
        except (PayloadError, SubjectError):
            return
        self._tracker.drop(envelope, kind, Reason.SLOW, time.monotonic())

    async def next(self, wait: float) -> Message | None:
        """Return the next message, None if there was none within ``wait`` seconds."""
        if not self._waiting:
            self._more.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._more.wait()
            except TimeoutError:
                return None
        return self._pop() if self._waiting else None

    async def explain(self, tracker: Tracker) -> None:
        """Do nothing: what is known of a cause was told when it happened."""

    def disconnected(self) -> None:
        """Know that what is published now does not come."""
        self._tracker.doubt(Reason.DISCONNECTED)

    async def done(self, message: Message) -> None:
        """Do nothing: nobody waits for it."""

    async def refuse(self, message: Message) -> None:
        """Do nothing: it does not come again."""

    async def stop(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()


def traffic_class(subject: str) -> str:
    """Return the class in a subject, published, stored or replayed.

    Raises:
        SubjectError: it is none of ours.

    """
    if subject.startswith(f"{REPLAY}."):
        subject = f"{subjects.TRAFFIC}.{subject.removeprefix(REPLAY + '.')}"
    return subjects.parse(subject).traffic_class.token


#: Where ``streamgauge restore --to nats`` publishes.
REPLAY: Final = subjects.TRAFFIC.replace("traffic", "replay", 1)
