"""The user of a durable reader as docs/22-subscribe.md tells to add one: its rights suffice, and it has no others."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import pytest

import streamgauge
from streamgauge.bus import Bus
from streamgauge.secrets.__main__ import main as make_secrets
from streamgauge.testing import Publisher
from tests.deploy.nats.conftest import Stand, bootstrap
from tests.support import require
from tests.support.nats_stand import ShippedNats

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.live

PAGE = (Path(__file__).parents[3] / "docs" / "22-subscribe.md").read_text(encoding="utf-8")
NAME = "my-detector"


class NatsWithDetector(ShippedNats):
    """The shipped configuration with the page's user in its list."""

    def command(self) -> list[str]:
        """Put the user in front of the others, and return the command line."""
        command = super().command()
        (user,) = re.findall(r"```\n( +\{\n +user: detector\n.*?)```", PAGE, re.DOTALL)
        file = self.folder / "root" / "etc" / "nats" / "users.conf"
        text = file.read_text()
        assert text.count("users: [\n") == 1
        file.write_text(text.replace("users: [\n", f"users: [\n{user}"))
        return command


@pytest.fixture(name="detector", scope="module")
def _detector() -> Iterator[Stand]:
    """Return a server that knows the user, with keys as `make secrets` makes them."""
    require.program("nats-server")
    folder = Path(tempfile.mkdtemp(prefix="sg-nats-"))
    try:
        # As on the page: the user comes to an installation that is there.
        assert make_secrets(["--folder", str(folder / "keys")]) == 0
        (arguments,) = re.findall(r'\$ make secrets ARGS="(--nats-user .*)"', PAGE)
        assert make_secrets(["--folder", str(folder / "keys"), *arguments.split()]) == 0
        with NatsWithDetector(folder, folder / "keys") as server:
            stand = Stand(server, folder / "keys")
            asyncio.run(bootstrap(stand))
            yield stand
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
