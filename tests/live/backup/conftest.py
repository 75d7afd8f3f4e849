"""A backup in this process, or as a process of its own that can be killed, on fresh servers."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from streamgauge.bus import Bus
from streamgauge.store import Store
from tests.support.backup import Running, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from streamgauge.settings import NatsSettings, S3Settings


@pytest.fixture(name="run")
async def _run(nats_settings: NatsSettings, s3_settings: S3Settings) -> AsyncIterator[Any]:
    """Return a function that starts a backup in this process; what still runs at the end is stopped."""
    running: list[Running] = []

    async def start(**settings: Any) -> Running:
        running.append(Running(nats_settings, s3_settings, **settings))
        return await running[-1].start()

    yield start
    for one in running:
        await one.stop()


@pytest.fixture(name="environment")
def _environment(nats_settings: NatsSettings, s3_settings: S3Settings) -> dict[str, str]:
    """Return the environment of a backup process."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")},
        "STREAMGAUGE_NATS_URL": nats_settings.url,
        "STREAMGAUGE_NATS_MAX_BYTES": str(nats_settings.max_bytes),
        "STREAMGAUGE_NATS_CONNECT_TIMEOUT": "2",
        "STREAMGAUGE_S3_ENDPOINT": s3_settings.endpoint,
        "STREAMGAUGE_S3_SECURE": "false",
        "STREAMGAUGE_S3_ACCESS_KEY": s3_settings.access_key,
        "STREAMGAUGE_S3_SECRET_KEY": s3_settings.secret_key.get_secret_value(),
        "STREAMGAUGE_S3_BUCKET": s3_settings.bucket,
        "STREAMGAUGE_S3_TIMEOUT": "5",
        "STREAMGAUGE_BACKUP_PORT": "0",
        "STREAMGAUGE_BACKUP_ROTATE_SECONDS": "0.2",
    }


@pytest.fixture(name="processes")
def _processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Return a list; processes put into it are killed at the end."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(name="spawn_backup")
def _spawn_backup(environment: dict[str, str], processes: list[subprocess.Popen[str]]) -> Any:
    """Return a function that starts a backup as a process of its own; at a ``point`` it kills itself."""

    def start(*arguments: str, point: str = "", **settings: str) -> subprocess.Popen[str]:
        program = ["-m", "tests.support.dying_backup", point] if point else ["-m", "services.backup"]
        process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            env=environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    return start


@pytest.fixture(name="world")
async def _world(nats_settings: NatsSettings, s3_settings: S3Settings) -> AsyncIterator[World]:
    """Return the stream and the bucket as they look from outside."""
    bus, store = Bus(nats_settings, "test"), Store(s3_settings)
    await bus.start()
    await store.start()
    await bus.ensure_stream()
    yield World(bus, store)
    await store.stop()
    await bus.stop()
