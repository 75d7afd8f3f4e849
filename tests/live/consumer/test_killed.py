"""A durable reader that is killed: the next run tells what was missed around the kill, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import streamgauge
from streamgauge import Gap, Reason
from streamgauge.consumer import reread
from streamgauge.testing import Publisher
from tests.live.consumer.conftest import ROW, publish, take
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamgauge.bus import Bus
    from streamgauge.embedded import NatsServer

pytestmark = pytest.mark.live

DNS = "traffic.v1.*.dns"


def begun(nats_server: NatsServer) -> tuple[streamgauge.Subscription, AsyncIterator[streamgauge.Batch]]:
    subscription = streamgauge.subscribe(nats_server.url, DNS, durable="mine", since="all", ack_wait=1)
    return subscription, aiter(subscription)


async def kill(subscription: streamgauge.Subscription, *, note: bool = False) -> None:
    """As a process that is killed: nothing is given back, nothing said."""
    if note:
        await source_of(subscription)._note()
    assert subscription._client is not None
    await subscription._client.close()


def source_of(subscription: streamgauge.Subscription) -> Any:
    assert subscription._source is not None
    return subscription._source


async def again(nats_server: NatsServer, count: int) -> tuple[list[tuple[str, int]], list[Gap]]:
    subscription = streamgauge.subscribe(nats_server.url, DNS, durable="mine")
    batches = await take(subscription, count)
    return sorted((batch.node, batch.class_sequence) for batch in batches), subscription.missed


@pytest.mark.parametrize("noted", [0, 2, 4])
async def test_a_loss_of_another_node_than_the_one_in_hand(nats_server: NatsServer, bus: Bus, noted: int) -> None:
    """More was read than had been noted, and a node's batch never came: its numbers, exactly, and no false ones."""
    a, b = Publisher(bus.client, node="node-a"), Publisher(bus.client, node="node-b")
    first, reading = begun(nats_server)
    for number in range(6):
        await publish(b if number % 2 else a, 1)
        await anext(reading)
        if number + 1 == noted:
            await source_of(first)._note()
    await kill(first)
    await b.publish("dns", [ROW] * 7, lose=True)
    for node in (a, b):
        await publish(node, 1)

    assert await again(nats_server, 3) == (
        [("node-a", 4), ("node-b", 3), ("node-b", 5)],
        [Gap("node-b", b.boot, "dns", 4, 4, 7, Reason.UNPUBLISHED)],
    )
    await reading.aclose()  # type: ignore[attr-defined]


async def test_nothing_was_lost(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """Killed behind its note, with a hole that it has told: nothing is told once more."""
    first, reading = begun(nats_server)
    await publish(node, 4)
    for _ in range(2):
        await anext(reading)
    # Two of them wait in its memory.
    await source_of(first)._note()
    await node.publish("dns", [ROW], lose=True)
    await publish(node, 12)
    for _ in range(14):
        await anext(reading)
    await kill(first)

    assert first.missed == [Gap("node-a", node.boot, "dns", 5, 5, 1, Reason.UNPUBLISHED)]
    assert await again(nats_server, 1) == ([("node-a", 17)], [])
    await reading.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("note", [True, False])
async def test_damage_that_no_batch_came_behind(nats_server: NatsServer, bus: Bus, node: Publisher, note: bool) -> None:
    """It was refused, so it does not come again; killed before a batch could carry the gap."""
    first, reading = begun(nats_server)
    await publish(node, 2)
    for _ in range(2):
        await anext(reading)
    broken = await node.publish("dns", [ROW] * 4, lose=True)
    await bus.jetstream.publish("traffic.v1.node-a.dns", b"\xff" * 100, headers=broken.headers())
    waiting = asyncio.ensure_future(anext(reading))
    await eventually(lambda: first.damaged == 1)
    await kill(first, note=note)
    await publish(node, 1)

    assert await again(nats_server, 1) == (
        [("node-a", 4)],
        [Gap("node-a", node.boot, "dns", 3, 3, 4, Reason.DAMAGED)],
    )
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_what_the_stream_has_discarded_is_not_guessed(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """Part of what was read behind the note is gone: nothing can be known, so nothing is invented."""
    first, reading = begun(nats_server)
    await publish(node, 6)
    for number in range(6):
        await anext(reading)
        if number == 1:
            await source_of(first)._note()
    await kill(first)
    await bus.jetstream.purge_stream("TRAFFIC", seq=5)

    assert await again(nats_server, 1) == ([("node-a", 6)], [])
    await reading.aclose()  # type: ignore[attr-defined]


async def test_more_than_is_read_again_is_not_guessed(
    nats_server: NatsServer, bus: Bus, node: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start is not held up by reading again what a large cluster sent in hours: then nothing is invented either."""
    first, reading = begun(nats_server)
    await publish(node, 6)
    for _ in range(6):
        await anext(reading)
    await kill(first)
    monkeypatch.setattr(reread, "_MOST", 3)

    assert await again(nats_server, 1) == ([("node-a", 6)], [])
    await reading.aclose()  # type: ignore[attr-defined]
