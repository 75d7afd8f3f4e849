"""An exporter that watches a cluster: what it publishes, what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nats.errors import Error as NatsError

from streamgauge import codec, subjects
from streamgauge.identity.events import Event
from streamgauge.schema import TrafficClass
from tests.support.traffic import envelope_of
from tests.support.workloads import batch

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

    from streamgauge.bus import Bus


class Told:
    """The identity events that were published, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def listen(self, client: Client) -> Told:
        async def take(message) -> None:
            self.events.append(Event.decode(message.data))

        await client.subscribe("identity.v1.*", cb=take)
        return self

    def changes(self, name: str) -> list:
        """Return what changes told of an object with this name."""
        return [each for event in self.events if event.snapshot is None for each in event.bindings if each.name == name]


async def stored_events(bus: Bus, stream: str) -> list[Event]:
    """Return the identity events in the stream; none while NATS is away."""
    try:
        last = (await bus.jetstream.stream_info(stream)).state.last_seq
        messages = [await bus.jetstream.get_msg(stream, sequence) for sequence in range(1, last + 1)]
    except (NatsError, TimeoutError):
        return []
    return [Event.decode(each.data) for each in messages if (each.subject or "").startswith("identity.")]


class Sender:
    """A collector's place: publishes rows as batches of a node."""

    def __init__(self, jetstream: JetStreamContext, node: str = "node-a") -> None:
        self._jetstream = jetstream
        self._node = node
        self._sequence = 0

    async def send(self, *rows, interface: str = "eth0") -> None:
        """Publish rows, given as dictionaries."""
        self._sequence += 1
        made = batch(list(rows))
        envelope = envelope_of(made, node=self._node, interface=interface, sequence=self._sequence)
        payload = codec.encode(made, subjects.ARROW)
        subject = subjects.traffic(self._node, TrafficClass.TCP)
        await self._jetstream.publish(subject, payload, headers=envelope.headers())
