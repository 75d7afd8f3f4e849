"""What nats-py leaves to its caller: each pitfall, and the test that shows it is handled.

- an acknowledgement that was lost never comes: test_publisher.py: given up, sent again; test_outages.py
- what was sent while away may arrive all the same: test_bus.py, test_publisher.py: stored once
- the first publish after a reconnect may fail: test_outages.py: a restart loses nothing
- 2 MiB are buffered while away, then it raises: here; test_publisher.py: disconnected
- 60 attempts, then the connection is closed for good: here
- ``drain`` raises while reconnecting: here
- ``close`` raises when bytes are left and nobody is there: here
- callbacks must be coroutine functions: test_bus.py: a lost connection is counted
- ``fetch`` raises when a stream is idle: here; tests/live/exporter
- ``fetch`` does not tell a lost request from an idle stream: here
- messages beyond a limit are dropped by the client: here
- ``pull_subscribe`` ignores the config of a durable: test_backup_exactly_once.py: made anew by someone else
- without ``stream=`` it asks for all streams: tests/deploy/nats: nobody may, nobody needs to
- a pull subscription may stop after a restart: test_backup_exactly_once.py: killed and started again
- ``publish`` writes into the headers it is given: here
- acknowledged is not yet synced: here
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import nats
import pytest
import urllib3
from nats.errors import OutboundBufferLimitError

from services.backup import consumer
from services.backup.consumer import Consumer, LostError
from streamgauge import objects
from streamgauge.bus import Bus
from streamgauge.demo.services import CHECKOUT
from tests.support.summaries import batch, envelope, publish
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.client import Client

    from streamgauge.embedded import NatsServer
    from streamgauge.settings import NatsSettings

pytestmark = pytest.mark.live

MIB = 1 << 20


@pytest.fixture(name="bus")
async def _bus(nats_settings: NatsSettings) -> AsyncIterator[Bus]:
    bus = Bus(nats_settings, "test")
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture(name="reader")
async def _reader(bus: Bus) -> AsyncIterator[Consumer]:
    """Return an opened consumer of everything."""
    info = await bus.ensure_stream()
    assert info.created is not None
    incarnation = objects.incarnation(info.created)
    reader = Consumer(
        bus, stream="TRAFFIC", incarnation=incarnation, name="test", subject="traffic.>", ack_wait=30, timeout=5
    )
    await reader.open(0)
    yield reader
    await reader.close()


async def send(client: Client) -> None:
    """Send as much as a collector has in flight."""
    for _ in range(4):
        await client.publish("x", bytes(MIB))


async def test_more_than_the_usual_buffer_waits_while_the_server_is_away(bus: Bus, nats_server: NatsServer) -> None:
    """A window of batches (8 of 512 KiB) fits, and does not hinder ``stop``; a plain client refuses, and raises."""
    plain = await nats.connect(nats_server.url, allow_reconnect=True)
    nats_server.kill()
    await eventually(lambda: not bus.connected and not plain.is_connected)
    await send(bus.client)
    with pytest.raises(OutboundBufferLimitError):
        await send(plain)
    with pytest.raises(ConnectionError):
        await plain.close()
    await bus.stop()


async def test_a_connection_is_never_given_up(bus: Bus) -> None:
    """The client would close it after 60 attempts, two minutes."""
    assert bus.client.options["max_reconnect_attempts"] == -1


async def test_stop_while_the_server_is_away(bus: Bus, nats_server: NatsServer) -> None:
    """``drain`` would raise; stopping is quick and quiet."""
    nats_server.kill()
    await eventually(lambda: not bus.connected)
    await bus.stop()

    assert bus.closed


async def test_an_idle_stream_is_no_error(bus: Bus, reader: Consumer) -> None:
    """Nothing within the time gives nothing, again and again, and then what comes."""
    assert [await reader.pull(0.1) for _ in range(3)] == [[], [], []]
    await publish(bus.jetstream, 1)
    (delivery,) = await eventually(lambda: reader.pull(1.0))
    assert delivery.sequence == 1


async def test_a_server_that_gives_no_sign_is_told_from_an_idle_one(
    reader: Consumer, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeats of a request stay away: the place in the stream counts as lost."""
    monkeypatch.setattr(consumer, "_HEARTBEAT", 0.2)
    assert await reader.pull(0.5) == []
    assert nats_server.process is not None
    nats_server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(LostError, match="no sign of life"):
            await reader.pull(2.0)
    finally:
        nats_server.process.send_signal(signal.SIGCONT)


async def test_a_message_the_client_dropped_is_noticed(bus: Bus, reader: Consumer) -> None:
    """Delivery numbers have no gaps: what is behind one is not taken, and comes again after another ``open``."""
    await reader.pull(0.01)  # asks
    for sequence in (1, 2, 3):
        await publish(bus.jetstream, sequence)
    subscription = reader._subscription
    assert subscription is not None
    await eventually(lambda: subscription.pending_msgs >= 3)
    await subscription.next_msg()
    with pytest.raises(LostError, match="delivery 2 came after 0"):
        await reader.pull(1.0)

    await reader.open(0)
    again = []
    while len(again) < 3:
        again += await reader.pull(1.0)
    assert [delivery.sequence for delivery in again] == [1, 2, 3]


async def test_headers_are_made_for_each_message(bus: Bus) -> None:
    """What the client writes into the headers of one message is not in those of the next."""
    await bus.ensure_stream()
    one = envelope(batch(1), 1)
    given = one.headers()
    before = dict(given)
    await bus.jetstream.publish("traffic.v1.node-a.tcp", b"x", headers=given, stream="TRAFFIC")

    assert given != before
    assert one.headers() == before


async def test_a_single_server_syncs_before_it_acknowledges(nats_server: NatsServer) -> None:
    """Unless told so it acknowledges up to two minutes before the disk has it."""
    url = f"http://127.0.0.1:{nats_server.monitor_port}/jsz?config=true"
    answer = urllib3.PoolManager(retries=False).request("GET", url).json()

    assert answer["config"]["sync_always"] is True
    assert "\n  sync_interval: always\n" in (CHECKOUT / "nats" / "nats.conf").read_text()
