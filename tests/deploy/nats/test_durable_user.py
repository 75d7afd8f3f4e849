"""The user of a durable reader as docs/22-subscribe.md tells to add one: its rights suffice, and it has no others."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import nats
import pytest

import streamgauge
from streamgauge.bus import Bus
from streamgauge.testing import Publisher
from tests.deploy.nats.detector import PAGE, detector_stand
from tests.support.query import HOUR, START

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deploy.nats.conftest import Stand

pytestmark = pytest.mark.live

NAME = "my-detector"


@pytest.fixture(name="detector", scope="module")
def _detector() -> Iterator[Stand]:
    with detector_stand() as stand:
        yield stand


def login(stand: Stand, **changed: Any) -> dict[str, Any]:
    """Return the login as the page writes it."""
    keys = stand.keys / "detector"
    password = (keys / "nats-password").read_text()
    own = {"user": "detector", "password": password, "tls": keys / "ca.crt", "inbox_prefix": "_INBOX_detector"}
    return {"durable": NAME, "timeout": 2, **own, **changed}


async def first(stand: Stand, count: int, **changed: Any) -> list[int]:
    """Return the numbers of the next batches."""
    numbers: list[int] = []
    async with (
        asyncio.timeout(20),
        streamgauge.subscribe(stand.server.url, "traffic.v1.*.dns", since="all", **login(stand, **changed)) as batches,
    ):
        async for batch in batches:
            numbers.append(batch.class_sequence)
            if len(numbers) == count + 1:
                break
    return numbers[:count]


async def test_its_rights_suffice(detector: Stand) -> None:
    """It makes its consumer, reads, acknowledges, notes what it has seen, and goes on where it was."""
    assert f'durable="{NAME}"' in PAGE
    bus = Bus(detector.settings("collector"), "collector")
    await bus.start()
    node = Publisher(bus.client, "worker-1")
    for _ in range(6):
        await node.publish("dns", [{"bytes": 60}])
    await bus.stop()

    # The batch in hand when a loop is left was not dealt with: it comes again.
    assert await first(detector, 2) == [1, 2]
    assert await first(detector, 2) == [3, 4]


async def test_its_rights_suffice_to_tell_what_was_lost_around_a_kill(detector: Stand) -> None:
    """What was acknowledged behind the last note is read again, so a number that never came is known."""
    bus = Bus(detector.settings("collector"), "collector")
    await bus.start()
    nodes = [Publisher(bus.client, f"worker-{number}") for number in (3, 4)]
    for node in nodes[:2]:
        await node.publish("dns", [{"bytes": 60}])
    await nodes[0].publish("dns", [{"bytes": 60}])
    killed = streamgauge.subscribe(detector.server.url, "traffic.v1.*.dns", since="all", **login(detector))
    reading = aiter(killed)
    async with asyncio.timeout(20):
        while str(await anext(reading)) != "worker-3 dns: batch 2, 1 rows, 1 packets":
            pass
    assert killed._client is not None
    await killed._client.close()
    await nodes[1].publish("dns", [{"bytes": 60}], lose=True)
    await nodes[1].publish("dns", [{"bytes": 60}])
    await bus.stop()
    after = streamgauge.subscribe(detector.server.url, "traffic.v1.*.dns", **login(detector))
    async with asyncio.timeout(20):
        async for batch in after:
            if batch.node == "worker-4":
                break
    await after.close()

    lost = streamgauge.Gap("worker-4", nodes[1].boot, "dns", 2, 2, 1, streamgauge.Reason.UNPUBLISHED)
    assert after.missed == [lost]
    await reading.aclose()  # type: ignore[attr-defined]


async def test_its_rights_suffice_for_export(detector: Stand) -> None:
    """`streamgauge export --durable` with the same user."""
    bus = Bus(detector.settings("collector"), "collector")
    await bus.start()
    node = Publisher(bus.client, "worker-2")
    for time in (START, START + HOUR):
        await node.publish("dns", [{"time": time, "src_ip": "10.0.0.1", "dst_ip": "10.0.0.2"}])
    await bus.stop()
    keys = detector.keys / "detector"
    environment = {
        "STREAMGAUGE_NATS_URL": detector.server.url,
        "STREAMGAUGE_NATS_USER": "detector",
        "STREAMGAUGE_NATS_PASSWORD_FILE": str(keys / "nats-password"),
        "STREAMGAUGE_NATS_TLS_CA": str(keys / "ca.crt"),
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.setblocking(False)
        to = f"udp://127.0.0.1:{collector.getsockname()[1]}"
        options = ["--durable", NAME, "--subject", "traffic.v1.*.dns", "--since", "all"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streamgauge.cli.main", "export", "ipfix", "--to", to, *options),
            env={**os.environ, **environment},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(60):
                # The flow that the second packet, an hour later, has ended.
                while b"\x0a\x00\x00\x01\x0a\x00\x00\x02" not in await receive(collector):
                    pass
        finally:
            process.send_signal(signal.SIGINT)
            said = (await process.communicate())[1].decode()

    assert process.returncode == 130, said
    assert re.search(r"[1-9]\d* flows of [1-9]", said), said


async def receive(collector: socket.socket) -> bytes:
    """Return a datagram."""
    return await asyncio.get_running_loop().sock_recv(collector, 65535)


async def test_it_has_no_other_rights(detector: Stand) -> None:
    """Neither a consumer of another name, nor what is published now, nor what others are answered."""
    with pytest.raises(streamgauge.BusError, match="permissions violation for publish"):
        await first(detector, 1, durable="another")
    with pytest.raises(streamgauge.BusError, match="permissions violation for subscription"):
        await first(detector, 1, inbox_prefix="_INBOX")
    refused: asyncio.Queue[str] = asyncio.Queue()

    async def note(error: Exception) -> None:
        await refused.put(str(error).lower())

    keys = login(detector)
    client = await nats.connect(
        detector.server.url, user="detector", password=keys["password"], tls=tls(keys["tls"]), error_cb=note
    )
    for subject in ("traffic.v1.>", "_INBOX.>", "_INBOX_backup.>"):
        await client.subscribe(subject)
    for subject in (
        "traffic.v1.worker-1.dns",
        "$JS.API.CONSUMER.DELETE.TRAFFIC.my-detector",
        "$JS.API.STREAM.PURGE.TRAFFIC",
    ):
        await client.publish(subject)
    async with asyncio.timeout(10):
        said = [await refused.get() for _ in range(6)]
    await client.close()

    assert all("permissions violation" in one for one in said)


def tls(authority: Path) -> ssl.SSLContext:
    """Return a context that trusts the stand's authority."""
    return ssl.create_default_context(cafile=authority)
