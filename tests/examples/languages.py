"""The examples in other languages, built and run as their README says: `make test-examples`.

Not part of `make test`: npm and Go download what the examples need.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.examples.running import EXAMPLES, WANTED, publish_and_read
from tests.support import require

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamgauge.embedded import NatsServer

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

#: The version of the nats command that is tried.
NATS_CLI = "github.com/nats-io/natscli/nats@v0.5.1"
#: The version of Telegraf that is tried, with the plugins that the configuration names and no others.
TELEGRAF = "github.com/influxdata/telegraf/cmd/telegraf@v1.37.2"
PLUGINS = "custom,inputs.nats_consumer,parsers.grok,processors.parser,parsers.json_v2,outputs.file,serializers.template"


def build(command: Sequence[str], folder: Path, **environment: str) -> None:
    import os

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
