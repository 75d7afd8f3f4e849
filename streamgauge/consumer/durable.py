"""Batches through a durable consumer: the server remembers what was dealt with, over restarts of this program.

A batch is acknowledged when the next one is asked for. What was taken and not acknowledged comes again: to this program
after a restart, or to whoever else reads under the same name.
"""

from __future__ import annotations

import asyncio
import base64
import time
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamgauge.consumer.reread import account, dealt_with
from streamgauge.consumer.source import Message
from streamgauge.errors import BusError
from streamgauge.lifecycle import cancel, spawn

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext
    from nats.js.api import ConsumerConfig, ConsumerInfo

    from streamgauge.consumer.gaps import Tracker
    from streamgauge.consumer.replay import StreamReader

#: Messages asked for at once, and so held in memory: 4 MiB of batches as they are by default.
_FETCH: Final = 8
#: Seconds between two notes of the numbers seen, which the server keeps beside the consumer.
_NOTE_INTERVAL: Final = 5.0
_STATE: Final = "streamgauge.seen"
#: Of the note's form; another one is not understood, and read as none.
_VERSION: Final = 2
#: The server takes 128 KiB of metadata.
_LONGEST_STATE: Final = 120_000


class DurableSource:
    """Pulls through one named consumer."""

    def __init__(
        self,
        reader: StreamReader,
        subject: str,
        name: str,
        *,
        since: dt.datetime | None,
        everything: bool,
        ack_wait: float,
        tracker: Tracker,
    ) -> None:
        """Name the consumer; ``since`` and ``everything`` say where it begins if it does not exist yet.

        Args:
            reader: The stream.
            subject: What is wanted, as the stream stores it.
            name: Name of the consumer.
            since: Where a new consumer begins; None: now, or at the beginning of the stream (``everything``).
            everything: Whether a new consumer begins at the beginning of the stream.
            ack_wait: Seconds after which the server gives up on a batch that was taken and gives it again.
            tracker: What was seen.

        """
        self._reader = reader
        self._subject = subject
        self._name = name
        self._since = since
        self._everything = everything
        self._ack_wait = ack_wait
        self._tracker = tracker
        self._waiting: deque[Msg] = deque()
        self._held: dict[str, Msg] = {}
        self._pull: JetStreamContext.PullSubscription | None = None
        self._config: ConsumerConfig | None = None
        #: How many deliveries this consumer has had, over all runs.
        self._deliveries = 0
        self._noted_at = 0.0
        self._dirty = False
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look the consumer up or make it, and take over what a former run had seen.

        Raises:
            BusError: there is no stream, this user may not, or the consumer has another subject.

        """
        from nats.errors import Error as NatsError
        from nats.js.errors import APIError, NotFoundError

        stream = await self._reader.info()
        jetstream = self._reader.client.jetstream(timeout=self._reader.timeout)
        try:
            try:
                info = await jetstream.consumer_info(self._reader.name, self._name)
            except NotFoundError:
                info = await jetstream.add_consumer(self._reader.name, self._new())
            await self._take_over(info, stream.state.first_seq)
            self._pull = await jetstream.pull_subscribe_bind(self._name, self._reader.name)
        except APIError as error:
            raise BusError(f"consumer {self._name}: {error.description}") from error
        except (NatsError, TimeoutError) as error:
            raise BusError(
                f"consumer {self._name} cannot be looked up or made: {str(error) or 'no answer'}; "
                f"this user needs $JS.API.CONSUMER.INFO and CREATE on stream {self._reader.name} (docs/22-subscribe.md)"
            ) from error
        self._keeper = spawn(self._keep(), name="streamgauge durable")

    def _new(self) -> ConsumerConfig:
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

        policy = DeliverPolicy.ALL if self._everything else DeliverPolicy.NEW
        return ConsumerConfig(
            name=self._name,
            durable_name=self._name,
            description="streamgauge.subscribe",
            filter_subject=self._subject,
            deliver_policy=DeliverPolicy.BY_START_TIME if self._since else policy,
            opt_start_time=self._since,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait,
            max_ack_pending=4 * _FETCH,
        )

    async def _take_over(self, info: ConsumerInfo, first_in_stream: int) -> None:
        config = info.config
        if config.filter_subject != self._subject:
            raise BusError(
                f"consumer {self._name} exists and reads {config.filter_subject}, not {self._subject}: "
                "take another name, or delete it (nats consumer rm)"
            )
        self._config = config
        self._ack_wait = config.ack_wait or self._ack_wait
        noted = (config.metadata or {}).get(_STATE)
        state: dict[str, Any] = orjson.loads(zlib.decompress(base64.b64decode(noted))) if noted else {}
        if state.get("version") != _VERSION:
            state = {}
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        deliveries = info.delivered.consumer_seq if info.delivered else 0
        # The server moves the floor over what it discards, so only above the first message does it say what was read.
        self._reader.position = floor if floor >= first_in_stream or not state else state["stream"]
        if not deliveries:
            # A new one begins where the stream does: what was discarded before was not asked for.
            self._reader.position = max(floor, first_in_stream - 1)
        self._deliveries = deliveries
        stale = bool(state) and state["deliveries"] < deliveries
        if not state:
            # Whoever is killed before the first batch is dealt with has begun here.
            self._dirty = True
        elif not stale or floor < first_in_stream:
            self._tracker.restore(state["seen"], stale=stale)
        else:
            messages = await dealt_with(self._reader, self._subject, state["stream"], info)
            if messages is not None:
                self._tracker.restore(state["seen"], stale=False)
                for message in messages:
                    account(self._tracker, message)

    async def next(self, wait: float) -> Message | None:
        """Return the next message, None if there was none within ``wait`` seconds."""
        if not self._waiting:
            await self._fetch(wait)
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        sequence = message.metadata.sequence.stream
        return Message(message.subject, message.headers or {}, message.data, sequence, message.reply)

    async def _fetch(self, wait: float) -> None:
        from nats.errors import Error as NatsError

        assert self._pull is not None
        try:
            self._hold(await self._pull.fetch(_FETCH, timeout=max(wait, 0.05)))
        except TimeoutError:
            return
        except (NatsError, OSError):
            await self._still_there()
            await asyncio.sleep(wait)

    async def _still_there(self) -> None:
        """Make sure that a fetch failed for a reason that goes by.

        Raises:
            BusError: the consumer was deleted, or its stream.

        """
        from nats.errors import Error as NatsError
        from nats.js.errors import NotFoundError

        try:
            await self._reader.client.jetstream(timeout=self._reader.timeout).consumer_info(
                self._reader.name, self._name
            )
        except NotFoundError as error:
            raise BusError(f"consumer {self._name} was deleted, or stream {self._reader.name} was") from error
        except (NatsError, TimeoutError):
            return

    def _hold(self, messages: Sequence[Msg]) -> None:
        for message in messages:
            self._deliveries = max(self._deliveries, message.metadata.sequence.consumer)
            self._waiting.append(message)
            self._held[message.reply] = message

    async def explain(self, tracker: Tracker) -> None:
        """Ask the stream what it discarded."""
        await self._reader.explain(tracker)

    def disconnected(self) -> None:
        """Do nothing: the stream keeps what is published meanwhile."""

    async def done(self, message: Message) -> None:
        """Acknowledge a message."""
        held = self._held.pop(message.reply, None)
        if held is not None:
            await _quietly(held.ack())
            self._reader.position = max(self._reader.position, message.stream_sequence or 0)
            self._dirty = True

    async def refuse(self, message: Message) -> None:
        """Say that a message is not wanted again."""
        held = self._held.pop(message.reply, None)
        if held is not None:
            await _quietly(held.term())
            self._dirty = True

    async def stop(self) -> None:
        """Give back at once what was not dealt with, and note what was seen."""
        await cancel(self._keeper)
        for message in self._held.values():
            await _quietly(message.nak())
        self._held.clear()
        self._waiting.clear()
        if self._dirty and self._reader.client.is_connected:
            await self._note()
        if self._pull is not None and not self._reader.client.is_closed:
            await _quietly(self._pull.unsubscribe())

    async def _keep(self) -> None:
        """Tell the server that what is held is being worked on, and note what was seen now and then."""
        if self._dirty:
            await self._note()
        while True:
            await asyncio.sleep(min(self._ack_wait / 3, _NOTE_INTERVAL))
            if not self._reader.client.is_connected:
                continue
            for message in list(self._held.values()):
                await _quietly(message.in_progress())
            if self._dirty and time.monotonic() - self._noted_at >= _NOTE_INTERVAL:
                await self._note()

    async def _note(self) -> None:
        """Keep the numbers seen in the consumer's metadata; a consumer of very many nodes goes without."""
        from nats.errors import Error as NatsError

        assert self._config is not None
        self._dirty, self._noted_at = False, time.monotonic()
        note = {
            "version": _VERSION,
            "stream": self._reader.position,
            # Those that wait here may be dealt with before the next note.
            "deliveries": self._deliveries - len(self._waiting),
            "seen": self._tracker.state(),
        }
        state = base64.b64encode(zlib.compress(orjson.dumps(note))).decode()
        if len(state) > _LONGEST_STATE:
            return
        config = self._config.evolve(metadata={**(self._config.metadata or {}), _STATE: state})
        try:
            jetstream = self._reader.client.jetstream(timeout=self._reader.timeout)
            await jetstream.add_consumer(self._reader.name, config)
        except (NatsError, TimeoutError):
            # A user who may not change the consumer is told less after a restart, and loses nothing.
            return


async def _quietly(answer: Any) -> None:
    """Wait for an answer to the server that is repeated if it does not arrive."""
    from nats.errors import Error as NatsError

    try:
        await answer
    except (NatsError, OSError, TimeoutError):
        return
