"""The connection to NATS and the stream, on a real server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamgauge import subjects
from streamgauge.bus import Bus, shard_count
from streamgauge.embedded import NatsServer, free_ports
from streamgauge.errors import BusError, ConfigurationError
from streamgauge.settings import NatsSettings
from tests.support import require
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.live


@pytest.fixture(name="bus")
async def _bus(nats_settings: NatsSettings) -> AsyncIterator[Bus]:
    bus = Bus(nats_settings, "test")
    await bus.start()
    yield bus
    await bus.stop()


async def test_stream_is_created_once_with_our_subjects(bus: Bus) -> None:
    """Asking again finds the same stream."""
    first = await bus.ensure_stream()
    second = await bus.ensure_stream()

    assert first.created == second.created
    assert set(first.config.subjects or []) == {"traffic.v1.*.*", "ledger.v1.*", "identity.v1.*"}
    assert shard_count(first) == 8


async def test_messages_of_a_node_are_stored_in_one_shard(bus: Bus) -> None:
    """The server appends the shard, the same for all classes of one node."""
    info = await bus.ensure_stream()
    shards: dict[str, set[int | None]] = {}
    for node in (f"node-{number}" for number in range(40)):
        for kind in ("tcp", "dns"):
            answer = await bus.jetstream.publish(f"traffic.v1.{node}.{kind}", b"x")
            stored = await bus.jetstream.get_msg(answer.stream, answer.seq)
            shards.setdefault(node, set()).add(subjects.parse(stored.subject or "").shard)

    assert all(len(found) == 1 for found in shards.values())
    used = set.union(*shards.values())
    assert used <= set(range(shard_count(info)))
    assert len(used) > 4


async def test_a_batch_sent_twice_is_stored_once(bus: Bus) -> None:
    """JetStream knows the identity of a batch."""
    await bus.ensure_stream()
    for _ in range(2):
        answer = await bus.jetstream.publish("traffic.v1.n.tcp", b"x", headers={"Nats-Msg-Id": "n/b/1"})

    assert answer.duplicate
    assert (await bus.ensure_stream()).state.messages == 1


async def test_missing_stream_that_may_not_be_created(nats_settings: NatsSettings) -> None:
    """The message says which command creates it."""
    bus = Bus(nats_settings.model_copy(update={"create_stream": False}), "test")
    await bus.start()
    try:
        with pytest.raises(BusError, match="`streamgauge bootstrap`"):
            await bus.ensure_stream()
    finally:
        await bus.stop()


async def test_foreign_stream_is_not_used(bus: Bus, nats_settings: NatsSettings) -> None:
    """A stream that does not take our subjects would swallow nothing and report nothing."""
    await bus.jetstream.add_stream(name=nats_settings.stream, subjects=["orders.>"])
    with pytest.raises(BusError, match=r"does not take traffic\.v1"):
        await bus.ensure_stream()


async def test_server_without_jetstream(scratch: Path) -> None:
    """JetStream that is off is named as the reason."""
    require.program("nats-server")

    class Plain(NatsServer):
        def command(self) -> list[str]:
            (self.folder / "nats.conf").write_text(f'listen: "127.0.0.1:{self.port}"\n')
            return [require.program("nats-server"), "--config", str(self.folder / "nats.conf")]

        def answers(self) -> bool:
            import socket

            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

    with Plain(scratch) as server:
        bus = Bus(NatsSettings(url=server.url, connect_timeout=2), "test")
        await bus.start()
        with pytest.raises(BusError, match="JetStream must be on"):
            await bus.ensure_stream()
        await bus.stop()


async def test_no_server() -> None:
    """A refused connection is told as such, with the settings to correct."""
    (port,) = free_ports(1)
    with pytest.raises(
        BusError, match=r"cannot reach NATS at nats://127.0.0.1:\d+: Connection refused.*STREAMGAUGE_NATS_URL"
    ):
        await Bus(NatsSettings(url=f"nats://127.0.0.1:{port}", connect_timeout=0.5), "test").start()


async def test_wrong_password(scratch: Path) -> None:
    """A refused login is told apart from an absent server."""
    require.program("nats-server")
    with NatsServer(scratch, config='authorization { users: [ {user: a, password: "right-one"} ] }') as server:
        settings = NatsSettings.model_validate(
            {"url": server.url, "user": "a", "password": "wrong-one", "connect_timeout": 4}
        )
        with pytest.raises(BusError, match="Authorization Violation"):
            await Bus(settings, "test").start()


async def test_certificate_authority_that_cannot_be_read() -> None:
    """It is a fault of the configuration."""
    with pytest.raises(ConfigurationError, match="STREAMGAUGE_NATS_TLS_CA=/no/such"):
        await Bus(NatsSettings(url="tls://127.0.0.1:4222", tls_ca=Path("/no/such")), "test").start()


async def test_connection_survives_the_server(bus: Bus, nats_server: NatsServer) -> None:
    """A lost connection is counted and repaired; what was stored is there."""
    await bus.ensure_stream()
    await bus.jetstream.publish("traffic.v1.n.tcp", b"x")
    nats_server.kill()
    await eventually(lambda: not bus.connected)
    nats_server.start()
    await eventually(lambda: bus.connected)

    assert bus.disconnects == 1
    assert (await bus.ensure_stream()).state.messages == 1


async def test_stop_is_quiet_however_far_it_got(nats_settings: NatsSettings) -> None:
    """Stopping before the start, and twice, is no error."""
    bus = Bus(nats_settings, "test")
    await bus.stop()
    await bus.start()
    await bus.stop()
    await bus.stop()

    assert not bus.connected
    assert bus.closed


def test_use_before_the_start() -> None:
    """A mistake of ours is told as one."""
    with pytest.raises(BusError, match="before it was started"):
        _ = Bus(NatsSettings(), "test").client
