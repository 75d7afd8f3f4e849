"""`streamgauge.subscribe` as the shipped user ``consumer``: TLS, its password, and no right to change anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import streamgauge
from streamgauge.bus import Bus
from streamgauge.testing import Publisher

if TYPE_CHECKING:
    from tests.deploy.nats.conftest import Stand

pytestmark = pytest.mark.live


def login(stand: Stand) -> dict[str, Any]:
    keys = stand.keys / "consumer"
    return {"user": "consumer", "password": (keys / "nats-password").read_text(), "tls": keys / "ca.crt", "timeout": 2}


async def read(subscription: streamgauge.Subscription) -> None:
    async for _ in subscription:
        pass


async def test_live_and_replay_need_no_further_right(stand: Stand) -> None:
    """What is published now, and what the stream holds."""
    bus = Bus(stand.settings("collector"), "collector")
    await bus.start()
    node = Publisher(bus.client, "library")
    subject = "traffic.v1.library.dns"
    async with streamgauge.subscribe(stand.server.url, subject, **login(stand)) as live:
        await node.publish("dns", [{"bytes": 60}])
        async with asyncio.timeout(10):
            async for batch in live:
                assert batch.class_sequence == 1
                break
    await node.publish("dns", [{"bytes": 60}])
    await bus.stop()
    replay = streamgauge.subscribe(stand.server.url, subject, since="all", follow=False, **login(stand))

    assert [batch.class_sequence async for batch in replay] == [1, 2]


async def test_a_durable_reader_needs_a_user_of_its_own(stand: Stand) -> None:
    """The error says which rights are missing."""
    words = (
        r"consumer mine cannot be looked up or made: .*this user needs \$JS\.API\.CONSUMER\.INFO and CREATE"
        r".*\(permissions violation for publish to"
    )
    with pytest.raises(streamgauge.BusError, match=words):
        async with streamgauge.subscribe(stand.server.url, durable="mine", **login(stand)):
            pass


async def test_a_user_who_may_not_listen_is_told(stand: Stand) -> None:
    """Instead of waiting for ever."""
    collector = {**login(stand), "user": "collector", "inbox_prefix": "_INBOX_collector"}
    collector["password"] = (stand.keys / "collector" / "nats-password").read_text()
    with pytest.raises(streamgauge.BusError, match=r"refuses traffic.v1.\*.dns: permissions violation"):
        await asyncio.wait_for(read(streamgauge.subscribe(stand.server.url, "traffic.v1.*.dns", **collector)), 20)


async def test_a_wrong_password_is_told(stand: Stand) -> None:
    """At once, and without the password."""
    wrong = {**login(stand), "password": "mistaken"}
    with pytest.raises(streamgauge.BusError, match=r"cannot reach NATS at tls://localhost:\d+: Authorization") as told:
        async with streamgauge.subscribe(stand.server.url, **wrong):
            pass

    assert "mistaken" not in str(told.value)
