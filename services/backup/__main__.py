"""Runs the backup: ``python -m services.backup [--check | --dump]``. Wiring only."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from services.backup.metrics import BackupMetrics
from services.backup.service import Backup
from streamgauge import lifecycle, logs, protection, settings
from streamgauge.bus import Bus
from streamgauge.errors import StreamgaugeError
from streamgauge.http import HttpServer
from streamgauge.settings import BackupSettings, LogSettings, NatsSettings, S3Settings, Settings
from streamgauge.store import Store


async def serve(configuration: Settings) -> None:
    """Run the backup until it is told to stop or fails."""
    failure = lifecycle.Failure()
    metrics = BackupMetrics()
    own = configuration.section(BackupSettings)
    nats = configuration.section(NatsSettings)
    bus = Bus(nats, "backup")
    headers = protection.encryption_headers(own)
    store = Store(configuration.section(S3Settings), headers=headers, lock=own.lock_days > 0)
    backup = Backup(bus, store, own, nats, metrics, failure)
    http = HttpServer(own, metrics.page, failure, ready=backup.ready)
    await lifecycle.run([bus, store, backup, http], failure=failure)


def main() -> int:
    """Read the configuration, then check, show or run."""
    parser = argparse.ArgumentParser(prog="python -m services.backup", description=__doc__)
    parser.add_argument("--check", action="store_true", help="validate the configuration and leave")
    parser.add_argument("--dump", action="store_true", help="print the effective configuration, secrets masked")
    options = parser.parse_args()
    try:
        configuration = settings.load(settings.PROGRAMS["backup"])
    except StreamgaugeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if options.dump:
        sys.stdout.writelines(f"{name}={value}\n" for name, value in configuration.dump().items())
    if options.check or options.dump:
        return 0
    logs.set_up(configuration.section(LogSettings), service="backup")
    return lifecycle.main(partial(serve, configuration))


if __name__ == "__main__":
    sys.exit(main())
