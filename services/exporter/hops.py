"""How each hop does, seen from the exporter: nodes, stream, every durable consumer, the exporter, Prometheus.

The backup tells its own age metric, but not when it is down. Here the age of the oldest message that a durable
consumer has not acknowledged is read from the stream itself.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import orjson
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from streamgauge.errors import BusError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo

    from streamgauge.bus import Bus
    from streamgauge.settings import NatsSettings

_log = get("hops")

#: Seconds between two looks at the stream.
INTERVAL: Final = 5.0
#: Durable consumers looked at, at the most.
_MOST_CONSUMERS: Final = 512


@dataclass(frozen=True, slots=True)
class StreamState:
    """The stream at one moment."""

    messages: int
    bytes: int
    #: Bytes at which the oldest messages are discarded; 0: unlimited.
    most_bytes: int
    #: Seconds since the oldest and the newest message were stored.
    oldest_age: float
    newest_age: float


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """A durable consumer at one moment."""

    name: str
    #: Messages that were not delivered yet, and those delivered and not acknowledged.
    pending: int
    unacknowledged: int
    #: Seconds since the oldest message was stored that it has not acknowledged; None: the stream does not tell.
    oldest_age: float | None


class Hops:
    """Looks at the stream and its consumers at an interval; a component of the service.

    A user who may not look (a permission of NATS) leaves ``stream`` None and ``consumers`` empty.
    """

    def __init__(self, nats_bus: Bus, settings: NatsSettings, failure: Failure) -> None:
        self._bus = nats_bus
        self._name = settings.stream
        self._failure = failure
        self._sampled = Sampled(_log)
        self._task: asyncio.Task[None] | None = None
        self.stream: StreamState | None = None
        self.consumers: tuple[ConsumerState, ...] = ()

    async def start(self) -> None:
        """Begin to look."""
        self._task = spawn(self._work(), name="hops", failure=self._failure)

    async def stop(self) -> None:
        """Stop looking."""
        await cancel(self._task)

    async def _work(self) -> None:
        while True:
            try:
                self.stream = await self._look_at_stream()
                self.consumers = tuple([await self._look_at(info) for info in await self._durable_consumers()])
            except (NatsError, TimeoutError, BusError) as error:
                self.stream, self.consumers = None, ()
                self._sampled.warning("cannot look at the stream", error=str(error) or type(error).__name__)
            await asyncio.sleep(INTERVAL)

    async def _look_at_stream(self) -> StreamState:
        # Asked for by hand, since nats-py leaves the times of the first and last message out.
        answer = orjson.loads((await self._bus.client.request(f"$JS.API.STREAM.INFO.{self._name}", timeout=2)).data)
        if "error" in answer:
            raise NatsError(answer["error"].get("description", "refused"))
        state, most = answer["state"], int(answer["config"].get("max_bytes", 0))
        messages = int(state["messages"])
        return StreamState(
            messages,
            int(state["bytes"]),
            max(most, 0),
            _age(datetime.fromisoformat(state["first_ts"])) if messages else 0.0,
            _age(datetime.fromisoformat(state["last_ts"])) if messages else 0.0,
        )

    async def _durable_consumers(self) -> list[ConsumerInfo]:
        found: list[ConsumerInfo] = []
        while len(found) < _MOST_CONSUMERS:
            page = await self._bus.jetstream.consumers_info(self._name, offset=len(found))
            found += page
            if len(page) < 256:  # the server's page
                break
        return [info for info in found if info.config.durable_name]

    async def _look_at(self, info: ConsumerInfo) -> ConsumerState:
        waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
        age: float | None = 0.0
        if waiting and info.ack_floor is not None:
            subjects = info.config.filter_subjects or [info.config.filter_subject or ">"]
            ages = [await self._oldest(info.ack_floor.stream_seq + 1, subject) for subject in subjects]
            age = max((age for age in ages if age is not None), default=None)
        return ConsumerState(info.name, info.num_pending or 0, info.num_ack_pending or 0, age)

    async def _oldest(self, sequence: int, subject: str) -> float | None:
        """Return the age of the first message of a subject from a sequence on; None if the stream does not tell."""
        try:
            message = await self._bus.jetstream.get_msg(
                self._name, seq=sequence, subject=subject, direct=True, next=True
            )
        except NotFoundError:
            return 0.0
        except NatsError as error:
            self._sampled.warning("cannot read a message of the stream", error=str(error) or type(error).__name__)
            return None
        return _age(message.time) if message.time else None


def _age(then: datetime) -> float:
    return max(0.0, time.time() - then.timestamp())
