"""Live subscriptions on a real server: what is published now, and exactly what was missed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING

import nats
import pytest

import streamgauge
from streamgauge import Reason
from streamgauge.subjects import NDJSON
from streamgauge.testing import Publisher
from tests.live.consumer.conftest import ROW, publish, take
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from streamgauge.bus import Bus
    from streamgauge.embedded import NatsServer

pytestmark = pytest.mark.live


async def test_batches_of_the_subject_come(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """And no others; each says where it is from."""
    async with streamgauge.subscribe(nats_server.url, "traffic.v1.*.dns") as subscription:
        await node.publish("tcp", [ROW])
        sent = await node.publish("dns", [ROW, ROW])
        (batch,) = await take(subscription, 1)

    assert (batch.node, batch.boot, batch.sequence, batch.class_sequence) == ("node-a", node.boot, 2, 1)
    assert (batch.traffic_class, len(batch), batch.packets, batch.bytes) == ("dns", 2, 2, sent.bytes)
    assert batch.to_pylist()[0]["src_ip"] == "10.0.0.1"
    assert (batch.gaps, batch.late, batch.stream_sequence) == ((), False, None)


async def test_ndjson_is_the_same_batch(nats_server: NatsServer, bus: Bus) -> None:
    """A consumer does not care how a collector was told to encode."""
    node = Publisher(bus.client, content_type=NDJSON)
    async with streamgauge.subscribe(nats_server.url) as subscription:
        await node.publish("dns", [ROW])
        (batch,) = await take(subscription, 1)

    assert batch.to_pylist()[0]["dns_name"] == "example.com"


async def test_slow_consumer_is_told_exactly_what_it_missed(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """Memory is bounded, the oldest go; numbers and packets of what went are told with the next batch."""
    async with streamgauge.subscribe(nats_server.url, "traffic.v1.*.dns", buffer_bytes=60_000) as subscription:
        await publish(node, 90, stored=False)
        await eventually(lambda: last_waiting(subscription) == "90")
        (batch,) = await take(subscription, 1)
        (gap,) = batch.gaps

    assert gap.reason is Reason.SLOW
    assert (gap.first, gap.last) == (1, batch.class_sequence - 1)
    assert 40 < (gap.batches or 0) < 90
    assert gap.packets == sum(number % 3 + 1 for number in range(batch.class_sequence - 1))
    assert subscription.missed == [gap]


async def test_what_was_published_while_the_server_was_gone_for_us_is_told(
    nats_server: NatsServer, bus: Bus, node: Publisher
) -> None:
    """The server is killed and comes back; what other clients were sent meanwhile is a gap with its numbers."""
    async with streamgauge.subscribe(nats_server.url, "traffic.v1.*.dns") as subscription:
        await publish(node, 2)
        reading = aiter(subscription)
        batches = [await asyncio.wait_for(anext(reading), 10) for _ in range(2)]
        nats_server.kill()
        await eventually(lambda: not bus.connected)
        await node.publish("dns", [ROW] * 5, lose=True)
        await node.publish("dns", [ROW] * 7, lose=True)
        nats_server.start()
        await eventually(lambda: bus.connected)
        await eventually(lambda: subscription._client is not None and subscription._client.is_connected)
        await publish(node, 1)
        (gap,) = (await asyncio.wait_for(anext(reading), 15)).gaps

    assert [one.class_sequence for one in batches] == [1, 2]
    assert (gap.first, gap.last, gap.packets, gap.reason) == (3, 4, 12, Reason.DISCONNECTED)


def last_waiting(subscription: streamgauge.Subscription) -> str:
    waiting = subscription._source._waiting  # type: ignore[union-attr]
    return waiting[-1].headers["Streamgauge-Class-Sequence"] if waiting else ""


async def test_a_restart_of_the_collector_is_no_gap(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """Nor is a duplicate handed on."""
    async with streamgauge.subscribe(nats_server.url) as subscription:
        sent = await node.publish("dns", [ROW])
        # A collector that got no answer sends the same again.
        await bus.client.publish("traffic.v1.node-a.dns", b"", headers=sent.headers())
        node.restart()
        await publish(node, 2)
        batches = await take(subscription, 3)

    assert [batch.boot == node.boot for batch in batches] == [False, True, True]
    assert all(batch.gaps == () for batch in batches)


async def test_damaged_messages_are_told_and_passed_over(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """One from somebody else is counted; a batch of ours that cannot be read is a gap with a name."""
    async with streamgauge.subscribe(nats_server.url) as subscription:
        await bus.client.publish("traffic.v1.evil.dns", b"nonsense")
        broken = await node.publish("dns", [ROW], lose=True)
        await bus.client.publish("traffic.v1.node-a.dns", b"damaged", headers=broken.headers())
        await publish(node, 1)
        (batch,) = await take(subscription, 1)

    assert [(gap.first, gap.last, gap.packets, gap.reason) for gap in batch.gaps] == [(1, 1, 1, Reason.DAMAGED)]
    assert subscription.damaged == 2


async def test_leaving_the_loop_closes(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """Also without ``async with``: nothing stays behind."""
    subscription = streamgauge.subscribe(nats_server.url)

    async def one() -> None:
        async for _ in subscription:
            break

    task = asyncio.ensure_future(one())
    await eventually(lambda: subscription._source is not None)
    client = subscription._client
    assert client is not None
    while not task.done():
        await publish(node, 1)
        await asyncio.wait([task], timeout=0.02)
    gc.collect()

    await eventually(lambda: client.is_closed)
    with pytest.raises(streamgauge.ConfigurationError, match="iterated over once"):
        await anext(subscription.__aiter__())


async def test_a_loop_that_was_left_cannot_be_gone_on_with(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """Within ``async with``, too: leaving closed it, and no word of a server that closed the connection."""
    async with streamgauge.subscribe(nats_server.url) as subscription:
        await publish(node, 1)
        async for _ in subscription:
            break
        with pytest.raises(streamgauge.ConfigurationError, match="iterated over once"):
            await anext(subscription.__aiter__())


async def test_giving_up_at_any_moment_leaves_nothing_behind(nats_server: NatsServer, bus: Bus) -> None:
    """While it connects, subscribes or waits: no connection stays, and the cancellation is not swallowed."""
    for moment in range(12):
        task = asyncio.ensure_future(anext(streamgauge.subscribe(nats_server.url).__aiter__()))
        await asyncio.wait([task], timeout=moment / 1000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
    others = [task for task in asyncio.all_tasks() if "nats" in repr(task.get_coro())]

    assert len(others) <= 4, others


async def test_a_task_that_is_cancelled_closes(nats_server: NatsServer, bus: Bus) -> None:
    """Waiting for a batch can be given up at any time."""
    subscription = streamgauge.subscribe(nats_server.url)

    async def all_of_it() -> None:
        async for _ in subscription:
            pass

    task = asyncio.ensure_future(all_of_it())
    await eventually(lambda: subscription._source is not None)
    client = subscription._client
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert client is not None
    assert client.is_closed


async def test_a_publisher_without_a_stream_says_so(nats_server: NatsServer) -> None:
    """Whoever tests against a bare server reads what is missing, with a live reader listening or not."""
    connection = await nats.connect(nats_server.url)
    node = Publisher(connection)
    with pytest.raises(streamgauge.BusError, match=r"no stream took traffic\.v1\.node-a\.dns: `streamgauge bootstrap`"):
        await node.publish("dns", [{}])
    async with streamgauge.subscribe(nats_server.url) as subscription:
        with pytest.raises(streamgauge.BusError, match="no stream took"):
            await node.publish("dns", [{}])
        await node.publish("dns", [{}], stored=False)
        async for batch in subscription:
            assert batch.traffic_class == "dns"
            break
    await connection.close()
