"""A whole system that is in order, started once for this folder; each test breaks a part of it, or of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from streamgauge.demo import sample
from streamgauge.demo.services import ServiceProcess
from streamgauge.doctor import walk
from streamgauge.embedded import NatsServer, free_ports
from streamgauge.settings import DoctorSettings, NatsSettings, S3Settings, load
from tests.support import require
from tests.support.waiting import eventually, eventually_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from streamgauge.doctor import Finding, Walk
    from tests.support.servers import S3ServerWithReader

JOBS = ("collector", "backup", "exporter")


class Prometheus:
    """A real Prometheus whose targets can be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "prometheus.yml"
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}/prometheus"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def scrape(self, targets: dict[str, int]) -> None:
        """Read these ports by job from now on."""
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for job, port in targets.items()
            ],
        }
        self._file.write_text(yaml.safe_dump(configuration))
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        command = [
            *(require.program("prometheus"), f"--config.file={self._file}", f"--storage.tsdb.path={self._folder}/tsdb"),
            *(f"--web.listen-address=127.0.0.1:{self._port}", f"--web.external-url={self.url}/"),
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)


class Stand:
    """A system in order, and what the doctor finds in it."""

    def __init__(self, folder: Path, s3: S3ServerWithReader) -> None:
        self.folder = folder
        self.nats = NatsServer(folder)
        self._s3 = s3
        self.bucket = f"doctor-{uuid.uuid4().hex[:8]}"
        self.ports = dict(zip(JOBS, free_ports(3), strict=True))
        self.services = {name: self._service(name) for name in JOBS}
        self.prometheus = Prometheus(folder)

    def settings(self, **changes: str) -> dict[str, str]:
        """Return the settings of the services and, as it may only read, of the doctor."""
        return {
            "STREAMGAUGE_NATS_URL": self.nats.url,
            "STREAMGAUGE_NATS_MAX_BYTES": str(64 << 20),
            "STREAMGAUGE_NATS_SHARDS": "2",
            "STREAMGAUGE_S3_ENDPOINT": self._s3.endpoint,
            "STREAMGAUGE_S3_SECURE": "false",
            "STREAMGAUGE_S3_ACCESS_KEY": self._s3.access_key,
            "STREAMGAUGE_S3_SECRET_KEY": self._s3.secret_key,
            "STREAMGAUGE_S3_BUCKET": self.bucket,
        } | changes

    def _service(self, name: str, **changes: str) -> ServiceProcess:
        capture = self.folder / "replayed.pcap"
        own = {
            "collector": {
                "STREAMGAUGE_COLLECTOR_NODE": "node-a",
                "STREAMGAUGE_COLLECTOR_SOURCE": "file",
                "STREAMGAUGE_COLLECTOR_FILE": str(capture),
                "STREAMGAUGE_COLLECTOR_FILE_PACE": "recorded",
                "STREAMGAUGE_COLLECTOR_FILE_LOOP": "0",
            },
            "backup": {"STREAMGAUGE_BACKUP_ROTATE_SECONDS": "1"},
            "exporter": {},
        }
        settings = self.settings() if name == "backup" else self.settings_of_nats()
        return ServiceProcess(name, {**settings, **own[name], **changes}, port=self.ports[name], folder=self.folder)

    def settings_of_nats(self) -> dict[str, str]:
        return {name: value for name, value in self.settings().items() if "_NATS_" in name}

    async def start(self) -> None:
        """Start everything and wait until data has passed every hop."""
        sample.write(self.folder / "replayed.pcap", count=2_000)
        self.nats.start()
        # One creates the stream, the others find it.
        self.services["collector"].start()
        await self.services["collector"].ready()
        for name in ("backup", "exporter"):
            self.services[name].start()
        for name in ("backup", "exporter"):
            await self.services[name].ready()
        self.prometheus.scrape(self.ports)
        self.prometheus.start()

        async def in_order() -> bool:
            found = await self.look()
            assert [each for each in found.findings if each.state != "ok" and each.hop != "door"] == []
            return True

        await eventually(in_order, within=60)

    def close(self) -> None:
        self.prometheus.stop()
        for service in self.services.values():
            service.kill()
        self.nats.kill()

    async def look(self, *, everything: bool = False, capture: str | None = None, **changes: str | None) -> Walk:
        """Walk; ``changes`` are settings without the prefix, None leaves one out."""
        urls = {f"STREAMGAUGE_DOCTOR_{name.upper()}": f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        urls["STREAMGAUGE_DOCTOR_PROMETHEUS"] = self.prometheus.url
        wanted: dict[str, str | None] = {**self.settings(), **urls}
        wanted |= {
            "STREAMGAUGE_S3_ACCESS_KEY": self._s3.reader_key,
            "STREAMGAUGE_S3_SECRET_KEY": self._s3.reader_secret,
        }
        wanted |= {f"STREAMGAUGE_{name.upper()}": value for name, value in changes.items()}
        return await look({name: value for name, value in wanted.items() if value is not None}, capture, everything)


async def look(environment: dict[str, str], capture: str | None = None, everything: bool = False) -> Walk:
    """Walk with these settings."""
    has_keys = "STREAMGAUGE_S3_ACCESS_KEY" in environment
    settings = load(("nats", "doctor", *(["s3"] if has_keys else [])), environment)
    return await walk(
        settings.section(NatsSettings),
        settings.section(S3Settings) if has_keys else None,
        settings.section(DoctorSettings),
        capture=capture,
        everything=everything,
    )


def first(found: Walk) -> Finding:
    """Return the hop that is named first; it is also the first line."""
    broken = found.first_broken
    assert broken is not None, found.findings
    return broken


def finding(found: Walk, hop: str) -> Finding:
    """Return what was found of a hop."""
    return next(each for each in found.findings if each.hop == hop)


@pytest.fixture(name="stand", scope="session")
def _stand(s3_server: S3ServerWithReader) -> Iterator[Stand]:
    folder = Path(tempfile.mkdtemp(prefix="sg-doctor-"))
    for name in [name for name in os.environ if name.startswith("STREAMGAUGE_")]:
        del os.environ[name]
    stand = Stand(folder, s3_server)
    try:
        asyncio.run(stand.start())
        yield stand
    finally:
        stand.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def hung(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let a process hang, by its own id."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


__all__ = ["Stand", "eventually_sync", "finding", "hung", "look"]


@contextlib.asynccontextmanager
async def not_ready(reason: str) -> AsyncIterator[str]:
    """Serve a service's page that says why it is not ready; yield its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 503 -\r\nContent-Length: {len(reason)}\r\nConnection: close\r\n\r\n{reason}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
