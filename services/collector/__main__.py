"""Run the collector: ``python -m services.collector`` (``--check`` tries the configuration, ``--dump`` prints it).

Its own settings are options as well, as ``--interface eth0 --workers 2``; one that is given outdoes the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from typing import Literal, get_args, get_origin

from streamgauge import lifecycle, logs, settings

#: Objects made before garbage is looked for: imports make many, and none of it.
_COLLECT_AFTER = 50_000

_DESCRIPTION = "Capture packets, decode them, publish summaries to NATS."
_EPILOG = """each option is the environment variable STREAMGAUGE_COLLECTOR_… of the same name; those of NATS and the
log are variables only: `streamgauge config collector` lists all. Example:
  STREAMGAUGE_NATS_URL=nats://nats:4222 python -m services.collector --interface eth0 --workers 2"""


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting of the collector."""
    group = parser.add_argument_group("settings")
    for name, field in settings.CollectorSettings.model_fields.items():
        option = "--" + name.replace("_", "-")
        told = (field.description or "").replace("%", "%%")
        if field.annotation is bool:
            group.add_argument(option, action=argparse.BooleanOptionalAction, help=told)
        else:
            words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            group.add_argument(option, metavar="|".join(words) or "VALUE", help=told)


def _environment(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the environment with the options that were given in the place of its variables."""
    given = {name: getattr(arguments, name) for name in settings.CollectorSettings.model_fields}
    return dict(os.environ) | {
        settings.environment_name("collector", name): str(value) for name, value in given.items() if value is not None
    }


async def _run(arguments: argparse.Namespace) -> None:
    from services.collector.service import Collector, check

    loaded = settings.load(settings.PROGRAMS["collector"], _environment(arguments))
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
        allow_abbrev=False,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="validate settings, source and NATS, and leave")
    parser.add_argument("--dump", action="store_true", help="print the effective settings, secrets masked, and leave")
    _add_settings(parser)
    arguments = parser.parse_args()
    gc.set_threshold(_COLLECT_AFTER)
    return lifecycle.main(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
