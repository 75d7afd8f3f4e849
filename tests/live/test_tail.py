"""`streamgauge tail` on a real server: what is published appears as lines."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from streamgauge import codec, subjects
from streamgauge.bus import Bus
from streamgauge.encode import by_class, to_arrow
from tests.support.rows import ORIGIN, decoded
from tests.support.waiting import eventually
from tests.unit.test_filter import frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamgauge.embedded import NatsServer
    from streamgauge.settings import NatsSettings

pytestmark = pytest.mark.live


@pytest.fixture(name="bus")
async def _bus(nats_settings: NatsSettings) -> AsyncIterator[Bus]:
    bus = Bus(nats_settings, "test")
    await bus.start()
    yield bus
    await bus.stop()


async def publish(bus: Bus, content_type: str = subjects.ARROW) -> None:
    """Publish one packet of every class, each on its subject, as a collector does."""
    rows = decoded(frames())
    for kind, positions in by_class(rows):
        payload = codec.encode(to_arrow(rows, ORIGIN, positions), content_type)
        await bus.client.publish(subjects.traffic(ORIGIN.node, kind), payload, headers={"Content-Type": content_type})


class Tail:
    """A running `streamgauge tail`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def end(self) -> tuple[int | None, list[str], list[str]]:
        """Wait for its end: status, lines of standard output, lines of standard error."""
        out, err = await asyncio.wait_for(self._process.communicate(), 30)
        return self._process.returncode, out.decode().splitlines(), err.decode().splitlines()

    def interrupt(self) -> None:
        self._process.send_signal(2)

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


async def tail(server: NatsServer, *arguments: str) -> Tail:
    """Start it and return when the server has its subscription."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamgauge.cli.main", "tail", "--nats", server.url, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await eventually(lambda: _subscribed(server), within=30)
    return Tail(process)


async def _subscribed(server: NatsServer) -> bool:
    import httpx

    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{server.monitor_port}/connz?subs=1")
    connections: list[dict[str, Any]] = answer.json()["connections"]
    listed = [subject for one in connections for subject in one.get("subscriptions_list", [])]
    return any(subject.startswith("traffic.v1.") for subject in listed)


@pytest.mark.parametrize("content_type", [subjects.ARROW, subjects.NDJSON])
async def test_everything_is_shown_by_default(bus: Bus, nats_server: NatsServer, content_type: str) -> None:
    """One line a packet, whatever the payload is written in; it leaves after the count."""
    running = await tail(nats_server, "--count", str(len(frames())))
    await publish(bus, content_type)
    status, out, err = await running.end()

    assert (status, err) == (0, [])
    assert out[0].startswith("TIME (UTC)")
    assert len(out) == 1 + len(frames())
    assert any("client hello a.b" in line for line in out)


async def test_filter_and_json(bus: Bus, nats_server: NatsServer) -> None:
    """Words of the filter need no quotes; each line is an object with the names of the record."""
    running = await tail(nats_server, "--json", "--count", "2", "udp", "port", "53", "or", "http")
    await publish(bus)
    status, out, _ = await running.end()
    rows = [json.loads(line) for line in out]

    assert status == 0
    assert sorted(row["app"] for row in rows) == ["dns", "http"]
    assert {row["node"] for row in rows} == {ORIGIN.node}


async def test_damaged_message_is_told_and_passed_over(bus: Bus, nats_server: NatsServer) -> None:
    """It does not end the command."""
    running = await tail(nats_server, "--count", "1", "arp")
    await bus.client.publish("traffic.v1.evil.arp", b"damaged")
    await publish(bus)
    status, out, err = await running.end()

    assert (status, len(out)) == (0, 2)
    assert len(err) == 1
    assert err[0].startswith("streamgauge: traffic.v1.evil.arp: the payload is no Arrow stream")


async def test_ctrl_c_is_a_quiet_end(nats_server: NatsServer) -> None:
    """As of any command that runs until it is told to stop."""
    running = await tail(nats_server)
    running.interrupt()

    assert await running.end() == (130, [], [])


async def test_server_that_comes_back_is_followed_again(bus: Bus, nats_server: NatsServer) -> None:
    """A restart of NATS is no reason to start anew."""
    running = await tail(nats_server, "--count", "1", "arp")
    try:
        nats_server.kill()
        await eventually(lambda: not bus.connected)
        nats_server.start()
        await eventually(lambda: bus.connected)
        await eventually(lambda: _subscribed(nats_server))
        await publish(bus)

        assert (await running.end())[0] == 0
    finally:
        running.kill()
