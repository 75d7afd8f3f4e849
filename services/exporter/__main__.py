"""Runs the exporter: ``python -m services.exporter``; ``--check`` validates settings and NATS, and leaves."""

from __future__ import annotations

import argparse
import sys

from services.exporter import door, networks
from streamgauge import lifecycle, logs, settings
from streamgauge.errors import ConfigurationError

_EXAMPLE = "example: STREAMGAUGE_NATS_URL=nats://nats:4222 python -m services.exporter"


async def _run(configuration: settings.Settings) -> None:
    from services.exporter.service import Exporter

    failure = lifecycle.Failure()
    await lifecycle.run(Exporter(configuration, failure).components, failure=failure)


async def _check(configuration: settings.Settings) -> None:
    from services.exporter.check import check

    sys.stdout.write(f"{await check(configuration)}\n")


def main() -> int:
    """Read the configuration and run until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m services.exporter", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--check", action="store_true", help="validate settings and NATS, and leave")
    parser.add_argument("--dump", action="store_true", help="print the effective configuration, secrets masked")
    arguments = parser.parse_args()
    from services.exporter import identity

    try:
        configuration = settings.load(settings.PROGRAMS["exporter"])
        own = configuration.section(settings.ExporterSettings)
        networks.parse(own.inside)
        door.parse(own.door)
        identity.check(own)
    except ConfigurationError as error:
        sys.stderr.write(f"streamgauge: {error}\n")
        return error.exit_code
    if arguments.dump:
        sys.stdout.writelines(f"{name}={value}\n" for name, value in configuration.dump().items())
        return 0
    logs.set_up(configuration.section(settings.LogSettings), service="exporter")
    return lifecycle.main(lambda: _check(configuration) if arguments.check else _run(configuration))


if __name__ == "__main__":
    sys.exit(main())
