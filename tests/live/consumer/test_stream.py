"""Replay and durable subscriptions on a real server: nothing comes twice, and what the stream no longer has is told."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import pytest

import streamgauge
from streamgauge import Gap, Reason
from tests.live.consumer.conftest import ROW, nothing, publish, take
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from streamgauge.bus import Bus
    from streamgauge.embedded import NatsServer
    from streamgauge.testing import Publisher

pytestmark = pytest.mark.live

DNS = "traffic.v1.*.dns"


def numbers(batches: list[streamgauge.Batch]) -> list[int]:
    return [batch.class_sequence for batch in batches]


async def test_replay_begins_where_it_is_told(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """From the beginning, or from a time; it ends where the stream ended, or goes on."""
    await publish(node, 2)
    await publish(node, 1, "tcp")
    between = dt.datetime.now(dt.UTC)
    await publish(node, 2)
    everything = [b async for b in streamgauge.subscribe(nats_server.url, DNS, since="all", follow=False)]
    later = [b async for b in streamgauge.subscribe(nats_server.url, DNS, since=between, follow=False)]
    async with streamgauge.subscribe(nats_server.url, DNS, since=dt.timedelta(minutes=5)) as subscription:
        reading = asyncio.ensure_future(take(subscription, 5))
        await eventually(lambda: subscription._source is None or subscription._source._next == 6)  # type: ignore[attr-defined]
        await publish(node, 1)
        followed = await reading

    assert [numbers(everything), numbers(later), numbers(followed)] == [[1, 2, 3, 4], [3, 4], [1, 2, 3, 4, 5]]
    assert [batch.stream_sequence for batch in everything] == [1, 2, 4, 5]
    assert not any(batch.gaps for batch in [*everything, *later, *followed])
    assert await bus.jetstream.consumers_info("TRAFFIC") == []


async def test_replay_is_told_what_the_stream_discarded(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """A purge in the middle of reading: the exact numbers and packets, with the batch behind them."""
    await publish(node, 10)
    seen: list[streamgauge.Batch] = []
    async for batch in streamgauge.subscribe(nats_server.url, DNS, since="all", follow=False):
        seen.append(batch)
        if batch.class_sequence == 3:
            await bus.jetstream.purge_stream("TRAFFIC", seq=8)

    assert numbers(seen) == [1, 2, 3, 8, 9, 10]
    packets = sum(number % 3 + 1 for number in range(3, 7))
    assert [batch.gaps for batch in seen if batch.gaps] == [
        (Gap("node-a", node.boot, "dns", 4, 7, packets, Reason.DISCARDED),)
    ]


async def test_replay_goes_over_a_server_that_was_killed(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """It goes on behind the last batch, and nothing is missed: the stream is on disk."""
    await publish(node, 6)
    seen: list[streamgauge.Batch] = []
    async for batch in streamgauge.subscribe(nats_server.url, DNS, since="all", follow=False, timeout=2):
        seen.append(batch)
        if len(seen) == 3:
            nats_server.kill()
            await eventually(lambda: not bus.connected)
            nats_server.start()

    assert numbers(seen) == [1, 2, 3, 4, 5, 6]
    assert not any(batch.gaps for batch in seen)


async def test_a_stream_made_anew_is_followed(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """Its sequences begin again; what the former one still had is told as discarded."""
    await publish(node, 5)
    async with streamgauge.subscribe(nats_server.url, DNS, since="all") as subscription:
        reading = asyncio.ensure_future(take(subscription, 7))
        await eventually(lambda: subscription._source is not None and subscription._source._next == 6)  # type: ignore[attr-defined]
        await bus.jetstream.delete_stream("TRAFFIC")
        await node.publish("dns", [ROW] * 9, lose=True)
        await bus.ensure_stream()
        await publish(node, 2)
        batches = await reading

    assert numbers(batches) == [1, 2, 3, 4, 5, 7, 8]
    assert [(gap.first, gap.last, gap.packets) for batch in batches for gap in batch.gaps] == [(6, 6, 9)]


async def test_durable_goes_on_after_a_restart(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """The batch at which a program left comes again, every other once; what came meanwhile is there."""
    await publish(node, 4)
    one = await take(streamgauge.subscribe(nats_server.url, DNS, durable="mine", since="all"), 2)
    node.restart()
    await publish(node, 1)
    two = await take(streamgauge.subscribe(nats_server.url, DNS, durable="mine"), 4)

    assert [numbers(one), numbers(two)] == [[1, 2], [2, 3, 4, 1]]
    assert not any(batch.gaps for batch in [*one, *two])


async def test_durable_begins_now_unless_told(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """As a live subscription does, but nothing is missed from then on."""
    await publish(node, 2)
    await nothing(streamgauge.subscribe(nats_server.url, DNS, durable="mine"))
    await publish(node, 1)

    assert numbers(await take(streamgauge.subscribe(nats_server.url, DNS, durable="mine"), 1)) == [3]


async def test_durable_that_was_away_too_long_is_told_what_it_missed(
    nats_server: NatsServer, bus: Bus, node: Publisher
) -> None:
    """The limits of the stream discarded it while the program was down: numbers and packets, over the restart."""
    await publish(node, 3)
    subscription = streamgauge.subscribe(nats_server.url, DNS, durable="mine", since="all")
    async for batch in subscription:
        if batch.class_sequence == 3:
            break
    await subscription.close()
    await publish(node, 6)
    info = await bus.jetstream.stream_info("TRAFFIC")
    await bus.jetstream.update_stream(info.config, max_msgs=2)
    batches = await take(streamgauge.subscribe(nats_server.url, DNS, durable="mine"), 2)

    assert numbers(batches) == [8, 9]
    packets = sum(number % 3 + 1 for number in range(4))
    assert batches[0].gaps == (Gap("node-a", node.boot, "dns", 4, 7, packets, Reason.DISCARDED),)


async def test_durable_that_is_slow_is_told_what_was_discarded_meanwhile(
    nats_server: NatsServer, bus: Bus, node: Publisher
) -> None:
    """What it holds already is still handed on; the rest of what went is a gap."""
    await publish(node, 20)
    seen: list[streamgauge.Batch] = []
    subscription = streamgauge.subscribe(nats_server.url, DNS, durable="mine", since=dt.timedelta(hours=1))
    async for batch in subscription:
        seen.append(batch)
        if batch.class_sequence == 3:
            await bus.jetstream.purge_stream("TRAFFIC", seq=15)
        if batch.class_sequence == 20:
            break
    await subscription.close()
    (gap,) = subscription.missed

    assert numbers(seen) == [*range(1, gap.first), *range(15, 21)]
    assert (gap.last, gap.reason, gap.exact) == (14, Reason.DISCARDED, True)
    await publish(node, 1)
    again = await take(streamgauge.subscribe(nats_server.url, DNS, durable="mine"), 2)
    assert (numbers(again), [batch.gaps for batch in again]) == ([20, 21], [(), ()])


async def test_durable_is_told_of_a_boot_that_it_never_saw_the_end_of(
    nats_server: NatsServer, bus: Bus, node: Publisher
) -> None:
    """It was discarded, and the collector started anew: the end is open, the beginning of the new boot is exact."""
    await publish(node, 2)
    subscription = streamgauge.subscribe(nats_server.url, DNS, durable="mine", since="all")
    async for batch in subscription:
        if batch.class_sequence == 2:
            break
    await subscription.close()
    former = node.boot
    await publish(node, 2)
    node.restart()
    await publish(node, 3)
    await bus.jetstream.purge_stream("TRAFFIC", keep=1)
    (batch,) = await take(streamgauge.subscribe(nats_server.url, DNS, durable="mine"), 1)

    assert [(gap.boot, gap.first, gap.last, gap.reason) for gap in batch.gaps] == [
        (former, 3, None, Reason.DISCARDED),
        (node.boot, 1, 2, Reason.DISCARDED),
    ]


async def test_durable_over_a_server_that_was_killed(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """What was taken and not acknowledged comes again from the server, and once from the loop."""
    await publish(node, 12)
    seen: list[streamgauge.Batch] = []
    subscription = streamgauge.subscribe(nats_server.url, DNS, durable="mine", since="all", ack_wait=1, timeout=2)
    async with asyncio.timeout(30):
        async for batch in subscription:
            seen.append(batch)
            if len(seen) == 3:
                nats_server.kill()
                await eventually(lambda: not bus.connected)
                nats_server.start()
            if len(seen) == 12:
                break
    await subscription.close()

    assert sorted(numbers(seen)) == list(range(1, 13))
    assert not any(batch.gaps for batch in seen)


async def test_work_longer_than_the_wait_is_not_given_again(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """As long as the program lives, the server is told that it works."""
    await publish(node, 2)
    ack_wait = 0.6
    longer = 2.5 * ack_wait
    subscription = streamgauge.subscribe(nats_server.url, DNS, durable="mine", since="all", ack_wait=ack_wait)
    async for batch in subscription:
        if batch.class_sequence == 2:
            break
        await asyncio.sleep(longer)
    info = await bus.jetstream.consumer_info("TRAFFIC", "mine")
    await subscription.close()

    assert (info.num_redelivered or 0, subscription.duplicates) == (0, 0)


async def test_memory_is_bounded_by_what_is_asked_for(nats_server: NatsServer, bus: Bus, node: Publisher) -> None:
    """A slow loop leaves the batches on the server."""
    await publish(node, 40)
    subscription = streamgauge.subscribe(nats_server.url, DNS, durable="mine", since="all")
    async for _ in subscription:
        held = subscription._source._held  # type: ignore[union-attr]
        taken = len(held)
        break
    await subscription.close()

    assert 0 < taken <= 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"durable": "mine", "stream": "OTHER"}, "there is no stream OTHER; `streamgauge bootstrap`"),
        ({"since": "all", "stream": "OTHER"}, "there is no stream OTHER"),
        ({"durable": "taken"}, r"consumer taken exists and reads traffic.v1.\*.tcp.\*, not traffic.v1.\*.dns.\*"),
    ],
)
async def test_refusals_say_what_to_do(nats_server: NatsServer, bus: Bus, options: dict[str, str], words: str) -> None:
    """One line each."""
    await nothing(streamgauge.subscribe(nats_server.url, "traffic.v1.*.tcp", durable="taken"), for_seconds=0.2)
    with pytest.raises(streamgauge.BusError, match=words):
        async with streamgauge.subscribe(nats_server.url, DNS, **options):  # type: ignore[arg-type]
            pass


async def test_a_consumer_that_is_deleted_ends_the_loop(nats_server: NatsServer, bus: Bus) -> None:
    """With the reason."""
    subscription = streamgauge.subscribe(nats_server.url, DNS, durable="mine")

    async def read() -> None:
        async for _ in subscription:
            pass

    reading = asyncio.ensure_future(read())

    async def reads() -> bool:
        consumers = await bus.jetstream.consumers_info("TRAFFIC")
        return any(consumer.num_waiting for consumer in consumers)

    await eventually(reads)
    await bus.jetstream.delete_consumer("TRAFFIC", "mine")

    with pytest.raises(streamgauge.BusError, match="consumer mine was deleted"):
        await asyncio.wait_for(reading, 15)
