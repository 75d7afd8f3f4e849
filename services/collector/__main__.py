"""Run the collector: ``python -m services.collector`` (``--check`` tries the configuration, ``--dump`` prints it)."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys

from streamgauge import lifecycle, logs, settings

#: Objects made before garbage is looked for: imports make many, and none of it.
_COLLECT_AFTER = 50_000

_DESCRIPTION = "Capture packets, decode them, publish summaries to NATS."
_EPILOG = """settings are environment variables; `streamgauge config collector` lists them. Example:
  STREAMGAUGE_COLLECTOR_INTERFACE=eth0 STREAMGAUGE_NATS_URL=nats://nats:4222 python -m services.collector"""


async def _run(arguments: argparse.Namespace) -> None:
    from services.collector.service import Collector, check

    loaded = settings.load(settings.PROGRAMS["collector"])
    if arguments.dump:
        sys.stdout.writelines(f"{name}={value}\n" for name, value in loaded.dump().items())
        return
    collector = loaded.section(settings.CollectorSettings)
    logs.set_up(loaded.section(settings.LogSettings), service="collector", node=collector.node)
    if arguments.check:
        sys.stdout.write(f"{await check(loaded)}\n")
        return
    service = Collector(loaded)
    # An interface or a file that is not there is one line, before anything is started and says so.
    await asyncio.to_thread(service.source.check)
    await service.run()


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(
        prog="collector",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="validate settings, source and NATS, and leave")
    parser.add_argument("--dump", action="store_true", help="print the effective settings, secrets masked, and leave")
    arguments = parser.parse_args()
    gc.set_threshold(_COLLECT_AFTER)
    return lifecycle.main(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
