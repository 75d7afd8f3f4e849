"""The stream and the backup's consumers, seen from the exporter.

The backup tells its own age metric, but not when it is down. Here the age of the oldest message that a consumer of it
has not acknowledged, so what is not stored yet, is read from the stream itself.
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

from services.exporter.puller import LostPlace, Puller
from streamgauge import bus
from streamgauge.errors import BusError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from nats.js.api import ConsumerConfig, ConsumerInfo

    from streamgauge.settings import ExporterSettings, NatsSettings

_log = get("hops")

#: Seconds between two looks at the stream.
INTERVAL: Final = 5.0
#: Seconds to wait for the message whose age is asked.
_PATIENCE: Final = 1.0
#: Consumers of the backup that are no shard; they belong to the replica that has shard 0.
_OTHERS: Final = ("backup-ledger", "backup-identity")


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
    #: Seconds since the oldest message was stored in the stream that it has not acknowledged.
    oldest_age: float
    #: Requests for messages that are open, and seconds since one was answered (None: never).
    requests: int
    quiet: float | None


class Hops:
    """Looks at the stream and the backup's consumers at an interval; a component of the service.

    What NATS does not let this user see leaves ``stream`` None and ``consumers`` empty.
    """

    def __init__(self, nats_bus: bus.Bus, settings: ExporterSettings, nats: NatsSettings, failure: Failure) -> None:
        self._bus = nats_bus
        self._settings = settings
        self._name = nats.stream
        self._failure = failure
        self._sampled = Sampled(_log)
        self._task: asyncio.Task[None] | None = None
        self._names: tuple[str, ...] = ()
        self.stream: StreamState | None = None
        self.consumers: tuple[ConsumerState, ...] = ()

    async def start(self) -> None:
        """Begin to look."""
        own = self._settings.shards_of(bus.shard_count(await self._bus.ensure_stream()))
        self._names = (*(f"backup-shard-{shard:02d}" for shard in own), *(_OTHERS if 0 in own else ()))
        self._task = spawn(self._work(), name="hops", failure=self._failure)

    async def stop(self) -> None:
        """Stop looking."""
        await cancel(self._task)

    async def _work(self) -> None:
        while True:
            try:
                self.stream = await self._look_at_stream()
                self.consumers = await self._look_at_consumers()
            except (NatsError, TimeoutError, BusError, LostPlace) as error:
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

    async def _look_at_consumers(self) -> tuple[ConsumerState, ...]:
        found = []
        for name in self._names:
            try:
                found.append(await self._look_at(await self._bus.jetstream.consumer_info(self._name, name)))
            except NotFoundError:
                continue
        return tuple(found)

    async def _look_at(self, info: ConsumerInfo) -> ConsumerState:
        pending, unacknowledged = info.num_pending or 0, info.num_ack_pending or 0
        age = 0.0
        if pending + unacknowledged and info.ack_floor is not None:
            age = await self._age_behind(info.ack_floor.stream_seq, info.config)
        active = None if info.delivered is None else info.delivered.last_active
        quiet = None if active is None else _age(active)
        return ConsumerState(info.name, pending, unacknowledged, age, info.num_waiting or 0, quiet)

    async def _age_behind(self, sequence: int, config: ConsumerConfig) -> float:
        """Return the age of the first message behind a sequence that a consumer takes.

        It is read through a consumer of our own, headers only: this user may not read single messages.
        """
        filters = config.filter_subjects or [config.filter_subject or ">"]
        puller = Puller(self._bus, self._name, filters)
        await puller.open_behind(sequence, headers_only=True)
        try:
            messages = await puller.fetch(1, _PATIENCE)
        finally:
            await puller.close()
        return _age(messages[0].metadata.timestamp) if messages else 0.0


def _age(then: datetime) -> float:
    return max(0.0, time.time() - then.timestamp())
