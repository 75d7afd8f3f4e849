"""A server with the stream, and a node that publishes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from streamgauge.bus import Bus
from streamgauge.testing import Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamgauge import Batch, Subscription
    from streamgauge.settings import NatsSettings

ROW = {"src_ip": "10.0.0.1", "dst_ip": "10.0.0.2", "ip_protocol": 17, "bytes": 90, "dns_name": "example.com"}


@pytest.fixture(name="bus")
async def _bus(nats_settings: NatsSettings) -> AsyncIterator[Bus]:
    bus = Bus(nats_settings, "test")
    await bus.start()
    await bus.ensure_stream()
    yield bus
    await bus.stop()


@pytest.fixture(name="node")
def _node(bus: Bus) -> Publisher:
    return Publisher(bus.client)


async def publish(node: Publisher, count: int, kind: str = "dns", *, stored: bool = True) -> None:
    """Publish batches of one, two, three, … rows."""
    for number in range(count):
        await node.publish(kind, [ROW] * (number % 3 + 1), stored=stored)


async def take(subscription: Subscription, count: int, *, within: float = 15.0) -> list[Batch]:
    """Return the next batches, each but the last dealt with, and leave the subscription."""
    batches: list[Batch] = []
    async with asyncio.timeout(within):
        async for batch in subscription:
            batches.append(batch)
            if len(batches) == count:
                break
    await subscription.close()
    return batches


async def nothing(subscription: Subscription, *, for_seconds: float = 0.6) -> None:
    """Make sure that no batch comes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_seconds):
            async for batch in subscription:
                raise AssertionError(f"a batch came: {batch}")
    await subscription.close()
