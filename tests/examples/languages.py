"""The examples in other languages, built and run as their README says: `make test-examples`.

Not part of `make test`: npm and Go download what the examples need.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from streamgauge.bus import Bus
from streamgauge.subjects import NDJSON
from streamgauge.testing import Publisher
from tests.deploy.nats.detector import detector_stand
from tests.examples.running import EXAMPLES, ROWS, WANTED, publish_and_read
from tests.support import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from streamgauge.embedded import NatsServer
    from tests.deploy.nats.conftest import Stand

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

#: The version of the nats command that is tried.
NATS_CLI = "github.com/nats-io/natscli/nats@v0.5.1"
#: The version of Telegraf that is tried, with the plugins that the configuration names and no others.
TELEGRAF = "github.com/influxdata/telegraf/cmd/telegraf@v1.37.2"
PLUGINS = "custom,inputs.nats_consumer,parsers.grok,processors.parser,parsers.json_v2,outputs.file,serializers.template"


def build(command: Sequence[str], folder: Path, **environment: str) -> None:
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("encoding", ["arrow", "ndjson"])
async def test_typescript(nats_server: NatsServer, encoding: str) -> None:
    """Compressed Arrow and JSON alike; a lost batch is told, and one that came twice is no loss."""
    folder = EXAMPLES / "typescript"
    build([require.program("npm"), "ci", "--no-audit", "--no-fund"], folder)
    build([require.program("npm"), "run", "build"], folder)
    command = [require.program("node"), str(folder / "build" / "main.js"), nats_server.url]
    out, err = await publish_and_read(nats_server, command, encoding)

    assert out == WANTED
    assert err.count("missed: worker-1: batches ") == 1
    assert err.count("late, or a second time: worker-1: batch ") == 1


@pytest.mark.parametrize("encoding", ["arrow", "ndjson"])
async def test_go(nats_server: NatsServer, tmp_path: Path, encoding: str) -> None:
    """Compressed Arrow and JSON alike; a lost batch is told, and one that came twice is no loss."""
    build([require.program("go"), "build", "-o", str(tmp_path / "dns"), "."], EXAMPLES / "go")
    out, err = await publish_and_read(nats_server, [str(tmp_path / "dns"), nats_server.url], encoding)

    assert out == WANTED
    assert err.count("missed: worker-1: batches ") == 1
    assert err.count("late, or a second time: worker-1: batch ") == 1


@pytest.fixture(name="detector")
def _detector() -> Iterator[Stand]:
    """Return the shipped server with the user that docs/22-subscribe.md adds."""
    with detector_stand() as stand:
        yield stand


async def test_durable_go(detector: Stand, tmp_path: Path) -> None:
    """With no other rights than the page gives: what came while it was away, and nothing twice."""
    program = tmp_path / "durable"
    build([require.program("go"), "build", "-o", str(program), "./durable"], EXAMPLES / "go")
    keys = detector.keys / "detector"
    environment = {**os.environ, "NATS_PASSWORD": (keys / "nats-password").read_text()}
    command = [str(program), detector.server.url, "detector", str(keys / "ca.crt")]
    bus = Bus(detector.settings("collector"), "collector")
    await bus.start()
    node = Publisher(bus.client, "worker-1")
    found = []
    for _ in range(2):
        for _ in range(3):
            await node.publish("dns", ROWS[:2])
            await node.publish("tcp", [{"src_ip": "10.9.9.9"}])
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
        assert process.stdout is not None
        async with asyncio.timeout(60):
            found += [(await process.stdout.readline()).decode().split() for _ in range(3)]
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
    await bus.stop()

    assert found == [[f"worker-1/{node.boot}/{number}", "2"] for number in (1, 3, 5, 7, 9, 11)]


@pytest.mark.parametrize("language", ["python", "typescript", "go", "nats-cli"])
async def test_login(detector: Stand, tmp_path: Path, language: str) -> None:
    """As the shipped user ``consumer``, over TLS, with what `make secrets` has made."""
    if language == "typescript":
        build([require.program("npm"), "ci", "--no-audit", "--no-fund"], EXAMPLES / "typescript")
        build([require.program("npm"), "run", "build"], EXAMPLES / "typescript")
    elif language == "go":
        build([require.program("go"), "build", "-o", str(tmp_path / "dns"), "."], EXAMPLES / "go")
    elif language == "nats-cli":
        build([require.program("go"), "install", NATS_CLI], tmp_path, GOBIN=str(tmp_path))
    program = {
        "python": [sys.executable, str(EXAMPLES / "python" / "dns.py")],
        "typescript": [require.program("node"), str(EXAMPLES / "typescript" / "build" / "main.js")],
        "go": [str(tmp_path / "dns")],
        "nats-cli": [str(EXAMPLES / "nats-cli" / "dns.sh")],
    }[language]
    keys = detector.keys / "consumer"
    login = {"NATS_USER": "consumer", "NATS_PASSWORD": (keys / "nats-password").read_text()}
    environment = {
        **os.environ,
        **login,
        "NATS_CA": str(keys / "ca.crt"),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }
    process = await asyncio.create_subprocess_exec(
        *program, detector.server.url, "1", stdout=asyncio.subprocess.PIPE, env=environment, start_new_session=True
    )
    bus = Bus(detector.settings("collector"), "collector")
    await bus.start()
    node = Publisher(bus.client, "worker-1", content_type=NDJSON)
    reading = asyncio.ensure_future(process.communicate())
    try:
        async with asyncio.timeout(60):
            while not reading.done():
                await node.publish("dns", ROWS[:1])
                await asyncio.wait([reading], timeout=0.2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out = (await reading)[0].decode()
        await bus.stop()

    assert out.splitlines() == WANTED[:1]


async def test_nats_command(nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of JSON, through jq."""
    require.program("jq")
    build([require.program("go"), "install", NATS_CLI], tmp_path, GOBIN=str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("HOME", str(tmp_path))
    command = [str(EXAMPLES / "nats-cli" / "dns.sh"), nats_server.url]

    assert (await publish_and_read(nats_server, command, "ndjson"))[0] == WANTED


async def test_telegraf(nats_server: NatsServer, tmp_path: Path) -> None:
    """Lines of JSON become metrics with time, tags and fields."""
    build([require.program("go"), "install", "-tags", PLUGINS, TELEGRAF], tmp_path, GOBIN=str(tmp_path))
    command = [str(tmp_path / "telegraf"), "--config", str(EXAMPLES / "telegraf" / "dns.conf")]
    out, err = await publish_and_read(nats_server, command, "ndjson", environment={"NATS_URL": nats_server.url})

    assert out == WANTED
    assert " E! " not in err
