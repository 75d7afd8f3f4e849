"""The whole system for a test: backup and exporter as processes, and a collector for each capture file."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from streamgauge import objects, schema
from streamgauge.bus import Bus
from streamgauge.demo import audit
from streamgauge.demo.services import ServiceProcess
from streamgauge.embedded import free_ports
from streamgauge.store import Store
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streamgauge.demo.scrape import Page
    from streamgauge.ledger import LedgerRecord
    from streamgauge.settings import NatsSettings, S3Settings

Row = dict[str, Any]


class System:
    """One stream, one bucket, one backup, one exporter; nodes come and go."""

    def __init__(self, nats: NatsSettings, s3: S3Settings, folder: Path, **settings: str) -> None:
        """Prepare; ``settings`` are further settings of the services, without the prefix."""
        self._nats = nats
        self._folder = folder
        self.settings = {
            "STREAMGAUGE_NATS_URL": nats.url,
            "STREAMGAUGE_NATS_MAX_BYTES": str(nats.max_bytes),
            "STREAMGAUGE_S3_ENDPOINT": s3.endpoint,
            "STREAMGAUGE_S3_SECURE": "false",
            "STREAMGAUGE_S3_ACCESS_KEY": s3.access_key,
            "STREAMGAUGE_S3_SECRET_KEY": s3.secret_key.get_secret_value(),
            "STREAMGAUGE_S3_BUCKET": s3.bucket,
            "STREAMGAUGE_BACKUP_ROTATE_SECONDS": "0.3",
            "STREAMGAUGE_EXPORTER_REPLAY": "true",
            "STREAMGAUGE_EXPORTER_MAX_LAG": "86400",
            **{f"STREAMGAUGE_{name}": value for name, value in settings.items()},
        }
        self.backup = self.service("backup")
        self.exporter = self.service("exporter")
        self.bus = Bus(nats, "test")
        self.store = Store(s3)
        self._read: dict[str, list[Row]] = {}

    def service(self, name: str, **settings: str) -> ServiceProcess:
        """Prepare a service of this system."""
        (port,) = free_ports(1)
        return ServiceProcess(name, {**self.settings, **settings}, port=port, folder=self._folder)

    async def start(self) -> System:
        """Start everything but a collector."""
        await self.bus.start()
        # One creates the stream, the others find it.
        await self.bus.ensure_stream()
        for service in (self.backup, self.exporter):
            service.start()
        for service in (self.backup, self.exporter):
            await service.ready()
        await self.store.start()
        return self

    async def stop(self) -> None:
        """End everything; a service that does not end well fails the test."""
        try:
            for service in (self.exporter, self.backup):
                await service.stop()
        finally:
            for service in (self.exporter, self.backup):
                service.kill()
            await self.store.stop()
            await self.bus.stop()

    async def collect(self, capture: Path, node: str, *, status: int = 0, **settings: str) -> LedgerRecord:
        """Run a collector on a capture file to its end and return its last word."""
        own = {
            "STREAMGAUGE_COLLECTOR_NODE": node,
            "STREAMGAUGE_COLLECTOR_SOURCE": "file",
            "STREAMGAUGE_COLLECTOR_FILE": str(capture),
            **{f"STREAMGAUGE_COLLECTOR_{name.upper()}": value for name, value in settings.items()},
        }
        collector = self.service("collector", **own)
        collector.start()
        try:
            await collector.ended()
        finally:
            collector.kill()
        assert collector.exit_code == status, collector.last_words()
        return await audit.last_record(self.bus, self._nats.stream, node)

    async def stored(self, node: str, count: int) -> list[Row]:
        """Return all rows of a node in the bucket, once there are (at least) so many."""

        async def rows() -> list[Row] | None:
            found = await self.rows(node)
            return found if len(found) >= count else None

        if count == 0:
            return await self.rows(node)
        found = await eventually(rows, within=30)
        assert found is not None
        return found

    async def rows(self, node: str) -> list[Row]:
        """Return all rows of a node in the bucket, as text output would show them."""
        for item in await self.store.list_all(objects.prefix("summaries")):
            # Objects never change: each is read once.
            if item.key not in self._read:
                table = pq.read_table(pa.BufferReader(await self.store.get(item.key)))
                self._read[item.key] = readable(table)
        return [row for rows in self._read.values() for row in rows if row["node"] == node]

    async def metrics(self, service: ServiceProcess) -> Page:
        """Return the metrics of a service."""
        page = await service.page()
        assert page is not None, f"the {service.name} does not answer"
        return page


def readable(table: pa.Table) -> list[Row]:
    """Return the rows of an object as NDJSON has them: time in ns, nulls left out."""
    position = table.schema.get_field_index("time")
    whole = table.set_column(position, "time", table.column("time").cast(pa.int64()))
    return [{name: value for name, value in row.items() if value is not None} for row in whole.to_pylist()]


def decode(capture: Path) -> tuple[list[Row], int]:
    """Return the rows of ``streamgauge decode`` and its exit status; a query unanswered has a row, as live."""
    ran = subprocess.run(
        [sys.executable, "-m", "streamgauge.cli.main", "decode", "--unanswered", "--format", "ndjson", str(capture)],
        capture_output=True,
        check=False,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()], ran.returncode


def without_origin(rows: list[Row]) -> list[str]:
    """Return rows as texts to compare, without where they were captured, in one order for all."""
    names = set(schema.ORIGIN_COLUMNS)
    return sorted(json.dumps({name: row[name] for name in sorted(row) if name not in names}) for row in rows)


def total(rows: list[Row], column: str, **where: Any) -> int:
    """Return the sum of a column over the rows that have these values."""
    return sum(row[column] for row in rows if all(row.get(name) == value for name, value in where.items()))


def run(command: list[str], environment: Mapping[str, str]) -> tuple[int, list[str], list[str]]:
    """Run a program with these settings alone: status, lines of standard output, lines of standard error."""
    import os

    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")}
    ran = subprocess.run(
        command, env={**inherited, **environment}, capture_output=True, text=True, check=False, timeout=60
    )
    return ran.returncode, ran.stdout.splitlines(), ran.stderr.splitlines()
