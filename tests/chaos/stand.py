"""Everything a run needs: servers behind fault proxies, a collector a node with its spool, one to three backups."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from streamgauge.embedded import NatsServer, S3Server, free_ports
from streamgauge.settings import NatsSettings, S3Settings
from tests.chaos import feed
from tests.chaos.proxy import Proxy
from tests.chaos.wire import Wire
from tests.chaos.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Bytes of the small disk under each spool; the spool's own least bound is 16 MiB.
_DISK: Final = "24m"
SHARDS: Final = 4
#: Seconds after which the live node gives up a batch that was never sent.
LIVE_SPOOL_AGE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is like."""

    nodes: int = 3
    #: Packets a second of each node.
    rate: int = 800
    backup: str = "services.backup"
    collector: str = "services.collector"
    #: Also a node that captures live, where that is allowed, and an exporter.
    live: bool = False
    #: Bound of the stream, and settings of each backup beside those of a run (without the prefix).
    stream_bytes: int = 2 << 30
    backup_settings: Mapping[str, str] = field(default_factory=dict)


class Stand:
    """Owns all processes of a run; whatever it started, it ends."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder
        self.options = options
        self.nats = NatsServer(folder)
        self.s3 = S3Server(folder)
        self.nats_proxy = Proxy(self.nats.port)
        self.s3_proxy = Proxy(self.s3.port)
        self.collectors: list[Worker] = []
        self.backups: list[Worker] = []
        self.exporter: Worker | None = None
        self.exporter_url = ""
        #: The traffic of the last collector, if that captures live.
        self.wire: Wire | None = None
        self._capture = folder / feed.NAME
        self._mounted: list[Path] = []
        self._started = 0
        #: Processes that ended by themselves, by service and status; they were started again.
        self.ended: Counter[str] = Counter()

    @property
    def has_small_disks(self) -> bool:
        """Whether spools lie on disks that can be filled; it takes root."""
        return os.geteuid() == 0

    @property
    def nats_settings(self) -> NatsSettings:
        """How the run itself reaches NATS: not through the proxy."""
        return NatsSettings.model_validate(
            {"url": self.nats.url, "max_bytes": self.options.stream_bytes, "shards": SHARDS, "duplicate_window": 1.0}
        )

    @property
    def s3_settings(self) -> S3Settings:
        """How the run itself reaches the bucket: not through the proxy."""
        return S3Settings.model_validate(
            {
                "endpoint": self.s3.endpoint,
                "secure": False,
                "access_key": self.s3.access_key,
                "secret_key": self.s3.secret_key,
                "bucket": "chaos",
            }
        )

    async def start(self) -> None:
        """Start servers, proxies, collectors and one backup."""
        feed.write(self._capture, rate=self.options.rate)
        await asyncio.gather(asyncio.to_thread(self.nats.start), asyncio.to_thread(self.s3.start))
        await self.nats_proxy.start()
        await self.s3_proxy.start()
        self.backups = self.more_backups(1)
        for number in range(self.options.nodes):
            self.collectors.append(self._collector(number, loop=0, pace="recorded"))
        if self.options.live:
            self._prepare_live()
        for worker in (*self.backups, *self.collectors, *self._exporters()):
            worker.start()

    async def close(self) -> None:
        """End whatever still runs and give the small disks back."""
        running = (*self.collectors, *self.backups, *self._exporters())
        await asyncio.gather(*(worker.abandon() for worker in running))
        if self.wire is not None:
            await self.wire.close()
        await self.nats_proxy.stop()
        await self.s3_proxy.stop()
        self.nats.kill()
        self.s3.kill()
        for folder in self._mounted:
            await asyncio.to_thread(subprocess.run, ["umount", str(folder)], check=True)

    def more_backups(self, count: int) -> list[Worker]:
        """Prepare ``count`` backups that split the shards."""
        workers = []
        for replica in range(count):
            self._started += 1
            settings = {
                "S3_ENDPOINT": f"127.0.0.1:{self.s3_proxy.port}",
                "S3_SECURE": "false",
                "S3_ACCESS_KEY": self.s3.access_key,
                "S3_SECRET_KEY": self.s3.secret_key,
                "S3_BUCKET": "chaos",
                "S3_TIMEOUT": "3",
                "BACKUP_PORT": "0",
                "BACKUP_ROTATE_SECONDS": "1",
                "BACKUP_ROTATE_ROWS": "2000",
                # The stand-in of a replica waits, so old and new ones may overlap.
                "BACKUP_WHEN_TAKEN": "wait",
                "BACKUP_REPLICA": str(replica),
                "BACKUP_REPLICAS": str(count),
                **self.options.backup_settings,
            }
            workers.append(self._worker(f"backup-{self._started}", self.options.backup, settings))
        return workers

    def closing_collectors(self) -> list[Worker]:
        """Prepare a last collector for each node: it publishes what the spool holds, reads the file once, and ends."""
        return [self._collector(number, loop=1, pace="max") for number in range(len(self.collectors))]

    @property
    def live_collector(self) -> Worker:
        """The collector that captures what is on the wire."""
        assert self.wire is not None, "the fault needs a node that captures live"
        return self.collectors[-1]

    def node(self, number: int) -> str:
        """Return the name of a node."""
        return f"node-{number}"

    def disk(self, number: int) -> Path:
        """Return the small disk of a node's spool."""
        return self.folder / f"disk-{number}"

    def take_note(self, workers: list[Worker]) -> None:
        """Remember how processes ended that are about to be forgotten."""
        for worker in workers:
            for status, times in worker.ended.items():
                self.ended[f"{worker.name.partition('-')[0]} with status {status}"] += times

    def _prepare_live(self) -> None:
        """Prepare an exporter, and a node that captures live if the machine lets us."""
        (port,) = free_ports(1)
        self.exporter_url = f"http://127.0.0.1:{port}/metrics"
        self.exporter = self._worker("exporter", "services.exporter", {"EXPORTER_PORT": str(port)})
        wire = Wire(rate=self.options.rate)
        try:
            wire.open()
        except OSError:
            return
        self.wire = wire
        settings = {
            "COLLECTOR_SOURCE": "ring",
            "COLLECTOR_INTERFACE": wire.here,
            "COLLECTOR_FILTER": f"tcp dst port {feed.PORT}",
            # Small, so that it overflows when nobody reads for a moment.
            "COLLECTOR_RING_BLOCKS": "8",
            "COLLECTOR_RING_BLOCK_BYTES": str(64 << 10),
            # Each packet stays a row of its own, by which it is known again.
            "COLLECTOR_OVERLOAD": "evict",
            # Short, so that batches are given up when NATS is away.
            "COLLECTOR_SPOOL_AGE": str(LIVE_SPOOL_AGE),
        }
        self.collectors.append(self._collector_with(len(self.collectors), settings))
        wire.start()

    def _exporters(self) -> list[Worker]:
        return [] if self.exporter is None else [self.exporter]

    def _collector(self, number: int, *, loop: int, pace: str) -> Worker:
        settings = {
            "COLLECTOR_SOURCE": "file",
            "COLLECTOR_FILE": str(self._capture),
            "COLLECTOR_FILE_LOOP": str(loop),
            "COLLECTOR_FILE_PACE": pace,
        }
        return self._collector_with(number, settings)

    def _collector_with(self, number: int, source: dict[str, str]) -> Worker:
        disk = self.disk(number)
        if not disk.exists():
            disk.mkdir()
            if self.has_small_disks:
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(disk)], check=True)
                self._mounted.append(disk)
        settings = {
            "COLLECTOR_NODE": self.node(number),
            "COLLECTOR_PORT": "0",
            "COLLECTOR_BATCH_AGE": "0.1",
            "COLLECTOR_SPOOL_DIR": str(disk / "spool"),
            "COLLECTOR_SPOOL_BYTES": str(16 << 20),
            **source,
        }
        return self._worker(f"collector-{number}", self.options.collector, settings)

    def _worker(self, name: str, module: str, settings: dict[str, str]) -> Worker:
        common = {
            "NATS_URL": f"nats://127.0.0.1:{self.nats_proxy.port}",
            "NATS_CONNECT_TIMEOUT": "2",
            "NATS_MAX_BYTES": str(self.options.stream_bytes),
            "NATS_SHARDS": str(SHARDS),
            # Shorter than outages are: what is sent again then stands twice in the stream.
            "NATS_DUPLICATE_WINDOW": "1",
        }
        environment = {f"STREAMGAUGE_{key}": value for key, value in (common | settings).items()}
        return Worker(name, module, environment, self.folder)
