"""Runs the backup: ``python -m services.backup [--check | --dump]``. Wiring only."""

from __future__ import annotations

import argparse
import sys

from services.backup.metrics import BackupMetrics
from services.backup.service import Backup
from streamgauge import lifecycle, logs, protection, settings
from streamgauge.bus import Bus
from streamgauge.http import HttpServer
from streamgauge.settings import BackupSettings, LogSettings, NatsSettings, S3Settings, Settings
from streamgauge.store import Store

_EPILOG = """settings are environment variables; `streamgauge config backup` lists them. Example:
  STREAMGAUGE_NATS_URL=nats://nats:4222 STREAMGAUGE_S3_ENDPOINT=minio:9000 python -m services.backup --check"""


class Parts:
    """The backup and what it works with, built and not started."""

    def __init__(self, configuration: Settings) -> None:
        own, nats = configuration.section(BackupSettings), configuration.section(NatsSettings)
        headers = protection.encryption_headers(own)
        self.failure = lifecycle.Failure()
        self.metrics = BackupMetrics()
        self.bus = Bus(nats, "backup")
        self.store = Store(configuration.section(S3Settings), headers=headers, lock=own.lock_days > 0)
        self.backup = Backup(self.bus, self.store, own, nats, self.metrics, self.failure)
        self.http = HttpServer(own, self.metrics.page, self.failure, ready=self.backup.ready)


async def serve(parts: Parts) -> None:
    """Run the backup until it is told to stop or fails."""
    await lifecycle.run([parts.bus, parts.store, parts.backup, parts.http], failure=parts.failure)


async def check(parts: Parts) -> None:
    """Try NATS and the object storage, and say what is there."""
    try:
        await parts.bus.start()
        await parts.store.start()
        sys.stdout.write(f"configuration is good: {await parts.backup.check()}\n")
    finally:
        await parts.store.stop()
        await parts.bus.stop()


async def _run(options: argparse.Namespace) -> None:
    configuration = settings.load(settings.PROGRAMS["backup"])
    if options.dump:
        sys.stdout.writelines(f"{name}={value}\n" for name, value in configuration.dump().items())
        return
    logs.set_up(configuration.section(LogSettings), service="backup")
    parts = Parts(configuration)
    await (check(parts) if options.check else serve(parts))


def main() -> int:
    """Read the configuration, then check, show or run."""
    parser = argparse.ArgumentParser(
        prog="python -m services.backup",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="validate settings, NATS and object storage, and leave")
    parser.add_argument("--dump", action="store_true", help="print the effective settings, secrets masked, and leave")
    options = parser.parse_args()
    return lifecycle.main(lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
