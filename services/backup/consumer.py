"""Takes the messages of one lane from JetStream: in stream order, none left out, a bounded number at a time.

nats-py's ``fetch`` has no bound in bytes, drops what arrives beyond its pending limit, and does not tell a lost request
from an idle stream. Here one pull request at a time is open, with bounds in messages and bytes and a heartbeat; the
delivery numbers of the consumer show whether anything was lost on the way, and then the consumer is made anew behind
the last message that is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

import nats.errors
import orjson
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from streamgauge import objects
from streamgauge.errors import BusError
from streamgauge.logs import get

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.js.api import StreamInfo

    from streamgauge.bus import Bus

_log = get("consumer")

#: Unacknowledged messages JetStream hands out at the most.
MAX_ACK_PENDING: Final = 65_536
#: Bounds of one pull request: what may arrive beyond what the lane takes now.
REQUEST_MESSAGES: Final = 512
REQUEST_BYTES: Final = 2 << 20
#: Seconds a pull request stays open, and between signs of life of the server while nothing arrives.
_EXPIRES: Final = 30.0
_HEARTBEAT: Final = 2.0
#: Seconds to wait for more once something has arrived.
_LINGER: Final = 0.02

_NANOSECONDS: Final = 1_000_000_000


class Delivery(NamedTuple):
    """One message as it was delivered."""

    subject: str
    data: bytes
    headers: Mapping[str, str] | None
    #: Its sequence in the stream.
    sequence: int
    #: ns UTC when JetStream took it.
    stored: int
    #: How many messages of this consumer wait behind it.
    pending: int
    #: Where the acknowledgement goes.
    reply: str


class LostError(Exception):
    """Messages or the consumer got lost: ``open`` it again behind what is stored."""


class StreamChangedError(BusError):
    """The stream is not the one whose sequences the objects name: going on would leave messages out."""


class Consumer:
    """A durable pull consumer with explicit acknowledgement; owned by one lane, for as long as the lane runs."""

    def __init__(
        self, bus: Bus, *, stream: str, incarnation: str, name: str, subject: str, ack_wait: float, timeout: float
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._incarnation = incarnation
        self._subject = subject
        self._ack_wait = ack_wait  # seconds
        self._timeout = timeout  # seconds
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._request = 0
        self._credit = 0
        self._bytes = REQUEST_BYTES
        self._last_sign = 0.0
        self._delivered = 0
        self._disconnects = 0
        self.name = name
        #: Messages that wait in the stream behind the last one delivered.
        self.pending = 0

    async def open(self, after: int) -> None:
        """(Re-)create the consumer behind stream sequence ``after``; what was delivered and not stored comes again.

        The position is ours to say, not the consumer's: storage knows what is stored.

        Raises:
            StreamChangedError: the stream was created anew, or went back in time.
            BusError: NATS is away, or refuses.

        """
        await self.close()
        jetstream = self._bus.jetstream
        config = ConsumerConfig(
            name=self.name,
            durable_name=self.name,
            description="streamgauge backup; made anew at each start",
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait,
            max_deliver=-1,
            max_ack_pending=MAX_ACK_PENDING,
            filter_subject=self._subject,
        )
        try:
            self._check(await jetstream.stream_info(self._stream), after)
            with contextlib.suppress(NotFoundError):
                await jetstream.delete_consumer(self._stream, self.name)
            info = await jetstream.add_consumer(self._stream, config)
            self._inbox = self._bus.client.new_inbox()
            self._subscription = await self._bus.client.subscribe(f"{self._inbox}.*")
        except (APIError, nats.errors.Error, TimeoutError, OSError) as error:
            raise BusError(f"cannot make consumer {self.name} of stream {self._stream}: {error}") from error
        self.pending = info.num_pending or 0
        self._delivered = self._credit = 0
        self._disconnects = self._bus.disconnects

    def _check(self, info: StreamInfo, after: int) -> None:
        assert info.created is not None
        if objects.incarnation(info.created) != self._incarnation:
            raise StreamChangedError(
                f"stream {self._stream} was deleted and created again while it was read; start the backup again"
            )
        if info.state.last_seq < after:
            raise StreamChangedError(
                f"stream {self._stream} ends at {info.state.last_seq}, but {after} is stored: it lost messages "
                "it had acknowledged (power failure without `sync_interval: always`). New messages would be taken for "
                "stored ones; delete the stream, and collectors publish again what they have"
            )

    async def close(self) -> None:
        """Stop listening; the durable consumer stays."""
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._subscription.unsubscribe()
            self._subscription = None

    async def pull(self, wait: float) -> list[Delivery]:
        """Return what arrives within ``wait`` seconds, as soon as something does; empty when nothing does.

        Raises:
            LostError: a delivery was lost, the connection was interrupted, or the consumer is gone.

        """
        if self._subscription is None or self._bus.disconnects != self._disconnects:
            raise LostError("the connection was interrupted")
        if self._credit <= 0:
            await self._ask()
        taken: list[Delivery] = []
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            remaining = deadline - loop.time()
            try:
                message = await self._subscription.next_msg(timeout=max(remaining, 0.001))
            except (nats.errors.TimeoutError, TimeoutError):
                self._check_signs()
                return taken
            except nats.errors.Error as error:
                raise LostError(str(error)) from error
            self._last_sign = loop.time()
            if self._is_status(message):
                if self._credit <= 0:
                    return taken
                continue
            taken.append(self._delivery(message))
            if self._credit <= 0:
                return taken
            deadline = min(deadline, loop.time() + _LINGER)

    async def acknowledge(self, replies: Iterable[str]) -> None:
        """Acknowledge messages, and return once the server has the last of them.

        What gets lost here is delivered again and recognised by its sequence.
        """
        client = self._bus.client
        replies = list(replies)
        with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
            for reply in replies[:-1]:
                await client.publish(reply, b"+ACK")
            if replies:
                await client.request(replies[-1], b"+ACK", timeout=self._timeout)

    async def refresh(self) -> None:
        """Ask the server how many messages wait behind those delivered; nothing is asked while it is not open."""
        if self._subscription is None:
            return
        with contextlib.suppress(APIError, nats.errors.Error, TimeoutError, OSError):
            info = await self._bus.jetstream.consumer_info(self._stream, self.name)
            self.pending = info.num_pending or 0

    async def _ask(self) -> None:
        self._request += 1
        body = {
            "batch": REQUEST_MESSAGES,
            "max_bytes": self._bytes,
            "expires": int(_EXPIRES * _NANOSECONDS),
            "idle_heartbeat": int(_HEARTBEAT * _NANOSECONDS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.name}"
        try:
            await self._bus.client.publish(subject, orjson.dumps(body), reply=f"{self._inbox}.{self._request}")
        except (nats.errors.Error, OSError) as error:
            raise LostError(str(error)) from error
        self._credit = REQUEST_MESSAGES
        self._last_sign = asyncio.get_running_loop().time()

    def _check_signs(self) -> None:
        """Notice a request that was lost with its server or connection: its heartbeats stay away."""
        if asyncio.get_running_loop().time() - self._last_sign > 3 * _HEARTBEAT:
            raise LostError("the server gives no sign of life")

    def _is_status(self, message: Msg) -> bool:
        """Handle a message that is no delivery. Statuses of requests before the present one say nothing new."""
        headers = message.headers or {}
        status = headers.get("Status")
        # Anybody may publish a header of that name; what the server says itself is not to be acknowledged.
        if message.reply or status is None:
            return False
        if status == "100" or not message.subject.endswith(f".{self._request}"):
            return True
        description = headers.get("Description", "")
        if status in ("404", "408") or description.startswith(("Message Size Exceeds", "Batch Completed")):
            self._fit(description)
            self._credit = 0  # expired, or full by bytes or messages: ask again
            return True
        raise LostError(f"{status} {description}".strip())

    def _fit(self, description: str) -> None:
        """Ask for more bytes next time if not even the first message fitted into this request."""
        if description.startswith("Message Size Exceeds") and self._credit == REQUEST_MESSAGES:
            self._bytes *= 2
        else:
            self._bytes = REQUEST_BYTES

    def _delivery(self, message: Msg) -> Delivery:
        self._credit -= 1
        # $JS.ACK.<domain>.<account>.<stream>.<consumer>.<count>.<stream seq>.<consumer seq>.<time>.<pending>[.…],
        # without domain and account from servers that use the first form.
        tokens = message.reply.split(".")
        first = 5 if len(tokens) == 9 else 7
        sequence, delivered, stored, pending = (int(token) for token in tokens[first : first + 4])
        if delivered != self._delivered + 1:
            raise LostError(f"delivery {delivered} came after {self._delivered}")
        self._delivered = delivered
        self.pending = pending
        return Delivery(message.subject, message.data, message.headers, sequence, stored, pending, message.reply)
