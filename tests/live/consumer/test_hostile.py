"""Hostile circumstances with a real server: interleaved nodes, restarts, poison, losses at the end of the stream."""

from __future__ import annotations

import asyncio
import gc
import json
import urllib.request
import warnings
from typing import TYPE_CHECKING

import pytest

import streamgauge
from streamgauge import Gap, Reason
from streamgauge.embedded import NatsServer
from streamgauge.testing import Publisher
from tests.live.consumer.conftest import ROW, publish, take
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from streamgauge.bus import Bus

pytestmark = pytest.mark.live

DNS = "traffic.v1.*.dns"


async def test_two_nodes_interleaved_are_told_apart(nats_server: NatsServer, bus: Bus) -> None:
    """Each loses other batches, one starts anew in between: numbers and packets of each, live and replayed."""
    one, two = Publisher(bus.client, "one"), Publisher(bus.client, "two")
    async with streamgauge.subscribe(nats_server.url, DNS) as live:
        for number in range(14):
            if number == 9:
                two.restart()
            await one.publish("dns", [ROW] * (number % 3 + 1), lose=number in (3, 4))
            await two.publish("dns", [ROW] * 2, lose=number in (4, 11))
        await take(live, 24)
    replay = streamgauge.subscribe(nats_server.url, DNS, since="all", follow=False)
    assert len([batch async for batch in replay]) == 24

    for subscription in (live, replay):
        told = {(gap.node, gap.first, gap.last, gap.packets) for gap in subscription.missed}
        assert told == {("one", 4, 5, 3), ("two", 5, 5, 2), ("two", 3, 3, 2)}
        assert {gap.reason for gap in subscription.missed} == {Reason.UNPUBLISHED}
        assert [gap.boot == two.boot for gap in subscription.missed if gap.node == "two"] == [False, True]


async def test_a_loss_at_the_very_end_is_told_once_it_is_over(
    nats_server: NatsServer, bus: Bus, node: Publisher
) -> None:
    """No batch comes behind it in time; who asks what was missed after the loop reads it all the same."""
    await publish(node, 3)
    await node.publish("dns", [ROW] * 7, lose=True)
    await publish(node, 1)
    replay = streamgauge.subscribe(nats_server.url, DNS, since="all", follow=False)
    batches = [batch async for batch in replay]

    assert [batch.gaps for batch in batches] == [()] * 4
    assert replay.missed == [Gap("node-a", node.boot, "dns", 4, 4, 7, Reason.UNPUBLISHED)]


async def test_a_purge_of_all_that_was_left_is_told(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """Which batches those were nobody can know; that there may have been some is said, with the first number."""
    await publish(node, 6)
    replay = streamgauge.subscribe(nats_server.url, DNS, since="all", follow=False)
    async for batch in replay:
        if batch.class_sequence == 2:
            await bus.jetstream.purge_stream("TRAFFIC")

    assert replay.missed == [Gap("node-a", node.boot, "dns", 3, None, None, Reason.DISCARDED, exact=False)]
    assert "batches of dns from 3 on may be missed: discarded" in str(replay.missed[0])


async def test_a_class_that_went_missing_from_its_beginning(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """Published for the first time while the connection was lost: at most these."""
    async with streamgauge.subscribe(nats_server.url) as subscription:
        reading = aiter(subscription)
        await publish(node, 1, "tcp")
        await asyncio.wait_for(anext(reading), 10)
        nats_server.kill()
        await eventually(lambda: not bus.connected)
        await node.publish("dns", [ROW] * 5, lose=True)
        nats_server.start()
        await eventually(lambda: bus.connected)
        await eventually(lambda: subscription._client is not None and subscription._client.is_connected)
        await publish(node, 1)
        batch = await asyncio.wait_for(anext(reading), 15)

    assert batch.gaps == (Gap("node-a", node.boot, "dns", 1, 1, 5, Reason.DISCONNECTED, exact=False),)


@pytest.mark.parametrize("way", ["durable", "replay"])
async def test_poison_is_passed_over_and_does_not_come_again(
    nats_server: NatsServer, bus: Bus, node: Publisher, way: str
) -> None:
    """A payload that is none, headers that are none, an empty one: one gap for ours, and the next run is clean."""
    await publish(node, 1)
    broken = await node.publish("dns", [ROW] * 4, lose=True)
    subject = "traffic.v1.node-a.dns"
    await bus.jetstream.publish(subject, b"\xff" * 100, headers=broken.headers())
    await bus.jetstream.publish(subject, b"")
    await bus.jetstream.publish(subject, b"x", headers={"Streamgauge-Schema": "1", "Streamgauge-Rows": "-" * 50})
    await publish(node, 2)

    def reader() -> streamgauge.Subscription:
        if way == "durable":
            return streamgauge.subscribe(nats_server.url, DNS, durable="mine", since="all")
        return streamgauge.subscribe(nats_server.url, DNS, since="all")

    subscription = reader()
    batches = await take(subscription, 3)
    assert [batch.class_sequence for batch in batches] == [1, 3, 4]
    assert subscription.missed == [Gap("node-a", node.boot, "dns", 2, 2, 4, Reason.DAMAGED)]
    assert subscription.damaged == 3
    if way == "durable":
        await publish(node, 1)
        again = reader()
        assert [batch.class_sequence for batch in await take(again, 2)] == [4, 5]
        assert (again.damaged, again.missed) == (0, [])


async def test_a_durable_reader_that_was_killed_tells_the_hole_it_had_seen(
    nats_server: NatsServer, bus: Bus, node: Publisher
) -> None:
    """Noted on the server before it was certain, told by the next run."""
    await publish(node, 2)
    await node.publish("dns", [ROW] * 7, lose=True)
    await publish(node, 1)
    first = streamgauge.subscribe(nats_server.url, DNS, durable="mine", since="all", ack_wait=1)
    reading = aiter(first)
    for _ in range(3):
        await anext(reading)
    source = first._source
    assert source is not None
    await source._note()  # type: ignore[attr-defined]
    # As a process that is killed: nothing is given back, nothing said.
    assert first._client is not None
    await first._client.close()
    await publish(node, 1)
    second = streamgauge.subscribe(nats_server.url, DNS, durable="mine")
    batches = await take(second, 2)

    assert [gap for batch in batches for gap in batch.gaps] == [
        Gap("node-a", node.boot, "dns", 3, 3, 7, Reason.UNPUBLISHED)
    ]
    await reading.aclose()  # type: ignore[attr-defined]


async def test_a_subject_that_nobody_publishes(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """A node that does not exist: a replay ends, a live reader waits; neither invents a loss."""
    await publish(node, 2)
    replay = streamgauge.subscribe(nats_server.url, "traffic.v1.nobody.dns", since="all", follow=False)

    assert [batch async for batch in replay] == []
    assert replay.missed == []


async def test_a_stream_with_a_past_is_no_loss(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """What was discarded before a reader began was not asked for; whichever way it begins."""
    await publish(node, 6)
    await publish(node, 2, "tcp")
    await bus.jetstream.purge_stream("TRAFFIC", seq=4)
    for options in ({"since": "all", "follow": False}, {"durable": "mine", "since": "all"}):
        reader = streamgauge.subscribe(nats_server.url, **options)  # type: ignore[arg-type]
        batches = await take(reader, 5)

        assert [batch.class_sequence for batch in batches] == [4, 5, 6, 1, 2]
        assert reader.missed == []


async def test_a_subscription_that_is_forgotten_says_so(nats_server: NatsServer, bus: Bus) -> None:
    """Begun and dropped without closing: a warning, as for a file, and its connection goes."""

    async def forget() -> None:
        subscription = streamgauge.subscribe(nats_server.url, DNS)
        await subscription.__aenter__()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        await forget()
        gc.collect()
        await asyncio.sleep(0)

    assert [str(one.message) for one in told if one.category is ResourceWarning][:1] == [
        f"unclosed subscription to {DNS} at {nats_server.url}: use `async with`"
    ]

    def connections() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{nats_server.monitor_port}/connz", timeout=5) as answer:
            return int(json.load(answer)["num_connections"])

    async def gone() -> bool:
        return await asyncio.to_thread(connections) == 1

    await eventually(gone, within=10)


@pytest.mark.parametrize(
    ("options", "since"),
    [({"user": "reader", "password": "wrong"}, None), ({"user": "reader", "password": "wrong"}, "all"), ({}, None)],
)
async def test_wrong_credentials_are_one_line(scratch: Path, options: dict[str, str], since: str | None) -> None:
    """Whichever way it reads; and the password is not in it."""
    users = 'authorization { users: [{user: "reader", password: "right"}] }'
    with (
        NatsServer(scratch, config=users) as server,
        pytest.raises(streamgauge.BusError, match="Authorization Violation") as caught,
    ):
        async with streamgauge.subscribe(server.url, DNS, since=since, timeout=3, **options):  # type: ignore[arg-type]
            pass

    assert "\n" not in str(caught.value)
    assert "wrong" not in str(caught.value)
