"""Everything a demo starts, and how it ends: servers, services, the traffic, and a folder for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from streamgauge import settings
from streamgauge.bus import Bus
from streamgauge.demo import audit, traffic
from streamgauge.demo.reaper import Reaper
from streamgauge.demo.services import CHECKOUT, ServiceProcess
from streamgauge.embedded import NatsServer, S3Server, free_ports
from streamgauge.errors import StreamgaugeError
from streamgauge.settings import NatsSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

#: The node's name in the demo.
NODE: Final = "demo"

_SERVICES: Final = ("collector", "backup", "exporter")

#: Seconds the traffic may take to end; it holds nothing that would be lost.
_TRAFFIC_PATIENCE: Final = 5.0


class Stand:
    """All processes of one demo; ``close`` ends what is left of them, however far the start got."""

    def __init__(self, scratch: Path, *, keep: bool) -> None:
        """Prepare; nothing runs yet. With ``keep`` the folder stays."""
        self.scratch = scratch
        self._keep = keep
        self._network = traffic.network()
        self._labels = scratch / "labels.csv"
        self._labels.write_text("".join(f"{','.join(line)}\n" for line in traffic.names(self._network)))
        self.nats = NatsServer(scratch)
        self.s3 = S3Server(scratch)
        ports = dict(zip(_SERVICES, free_ports(len(_SERVICES)), strict=True))
        self.services = {name: self._service(name, port) for name, port in ports.items()}
        self.traffic: subprocess.Popen[bytes] | None = None
        self._reaper = Reaper(None if keep else scratch)

    def _service(self, name: str, port: int) -> ServiceProcess:
        return ServiceProcess(name, self._settings(name), port=port, folder=self.scratch / "logs")

    @property
    def own_ports(self) -> set[int]:
        """Ports of the demo itself."""
        return {self.nats.port, self.nats.monitor_port, *self.s3.ports, *(one.port for one in self.services.values())}

    @property
    def live_page(self) -> str:
        """Where the exporter shows what happens."""
        return f"http://127.0.0.1:{self.services['exporter'].port}/"

    @property
    def storage(self) -> dict[str, str]:
        """The settings of the object storage."""
        return {
            "STREAMGAUGE_S3_ENDPOINT": self.s3.endpoint,
            "STREAMGAUGE_S3_SECURE": "false",
            "STREAMGAUGE_S3_ACCESS_KEY": self.s3.access_key,
            "STREAMGAUGE_S3_SECRET_KEY": self.s3.secret_key,
        }

    @property
    def bus(self) -> dict[str, str]:
        """The settings of NATS."""
        # Half the disk: the stream must not overtake the backup when a large file is replayed at full speed.
        room = shutil.disk_usage(self.scratch.parent).free // 2
        return {"STREAMGAUGE_NATS_URL": self.nats.url, "STREAMGAUGE_NATS_MAX_BYTES": str(min(room, 64 << 30))}

    def write_settings(self, *, lasting: Iterable[str] = _SERVICES) -> Path:
        """Write what a shell beside the demo must read for the operator's commands to find it; return the file.

        Args:
            lasting: The services that run until the demo ends: the doctor may take the silence of these for a fault.

        """
        pages = {
            f"STREAMGAUGE_DOCTOR_{name.upper()}": self.services[name].url.removesuffix("/metrics") for name in lasting
        }
        path = self.scratch / "settings.sh"
        path.touch(mode=0o600)
        values = {"STREAMGAUGE_NATS_URL": self.nats.url, **self.storage, **pages}
        path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items()))
        return path

    def _settings(self, name: str) -> dict[str, str]:
        own: dict[str, dict[str, str]] = {
            # Who has asked to hide something is not shown it in the clear because this is the demo.
            "collector": {
                "STREAMGAUGE_COLLECTOR_NODE": NODE,
                **{name: text for name, text in os.environ.items() if name.startswith("STREAMGAUGE_PRIVACY_")},
            },
            # A short recovery point: what is captured can be seen in the bucket two seconds later.
            "backup": {"STREAMGAUGE_BACKUP_ROTATE_SECONDS": "2", **self.storage},
            # All packets count, also those published before the exporter was ready.
            "exporter": {
                "STREAMGAUGE_EXPORTER_REPLAY": "true",
                "STREAMGAUGE_EXPORTER_MAX_LAG": "86400",
                # Names as of a cluster, whoever runs this where.
                "STREAMGAUGE_EXPORTER_IDENTITY": "none",
                "STREAMGAUGE_EXPORTER_LABELS": str(self._labels),
            },
        }
        return self.bus | own[name]

    async def start(self, collector: Mapping[str, str]) -> None:
        """Start servers and services, side by side where they do not need each other, until all are ready."""
        await asyncio.to_thread(self.nats.start)
        self._watch(self.nats.process)
        await self._create_stream()
        self.services["collector"].configure(collector)
        for name in ("collector", "exporter"):
            self._launch(name)
        await asyncio.to_thread(self.s3.start)
        self._watch(self.s3.process)
        self._launch("backup")
        try:
            await asyncio.gather(*(service.ready() for service in self.services.values()))
        except StreamgaugeError:
            # A short file that breaks off may be read before anyone asked: what was good in it is worth an audit.
            if not self.services["collector"].exit_code or not await self._has_captured():
                raise
            await asyncio.gather(*(self.services[name].ready() for name in _SERVICES if name != "collector"))

    async def _has_captured(self) -> bool:
        """Tell whether the collector's account, if it wrote one, counts packets."""
        nats = settings.load(("nats",), self.bus).section(NatsSettings)
        bus = Bus(nats, "demo")
        try:
            await bus.start()
            return (await audit.last_record(bus, nats.stream, NODE)).decoded > 0
        except StreamgaugeError:
            return False
        finally:
            await bus.stop()

    async def _create_stream(self) -> None:
        """Create the stream before the services would: two that do it at once reserve its room on disk twice."""
        bus = Bus(settings.load(("nats",), self.bus).section(NatsSettings), "demo")
        try:
            await bus.start()
            await bus.ensure_stream()
        finally:
            await bus.stop()

    def _launch(self, name: str) -> None:
        self.services[name].start()
        self._watch(self.services[name].process)

    def start_traffic(self, rate: float) -> None:
        """Begin to make traffic on loopback."""
        self.traffic = subprocess.Popen(
            [sys.executable, "-m", "streamgauge.demo.traffic", f"--rate={rate}", f"--network={self._network}"],
            cwd=CHECKOUT,
            # Its certificate goes with the folder, even if it is killed.
            env={**os.environ, "TMPDIR": str(self.scratch)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._watch(self.traffic)

    async def stop_traffic(self) -> None:
        """End the traffic and wait until it is gone."""
        if self.traffic is not None:
            self.traffic.terminate()
            try:
                await asyncio.to_thread(self.traffic.wait, _TRAFFIC_PATIENCE)
            except subprocess.TimeoutExpired:
                self.traffic.kill()
                await asyncio.to_thread(self.traffic.wait)
            self._forget(self.traffic)
            self.traffic = None

    async def stop(self, name: str) -> None:
        """Ask a service to end, and wait until it has finished its work."""
        service = self.services[name]
        await service.stop()
        self._forget(service.process)

    def failed(self, name: str) -> str | None:
        """Return why a service has ended by itself with an error; None when it has not."""
        service = self.services[name]
        return service.how_it_ended() if service.exit_code else None

    async def close(self) -> None:
        """End what is left, services before the servers they use, and remove the folder."""
        with contextlib.suppress(StreamgaugeError):
            await self.stop_traffic()
        for service in self.services.values():
            service.kill()
            self._forget(service.process)
        for server in (self.nats, self.s3):
            # What is thrown away need not be ended in order.
            await asyncio.to_thread(server.stop if self._keep else server.kill)
        for process in (self.nats.process, self.s3.process):
            self._forget(process)
        self._reaper.close()
        if not self._keep:
            await asyncio.to_thread(shutil.rmtree, self.scratch, ignore_errors=True)

    def _watch(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            self._reaper.watch(process.pid)

    def _forget(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            self._reaper.forget(process.pid)
