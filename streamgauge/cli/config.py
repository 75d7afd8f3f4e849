"""``streamgauge config``: the effective configuration, secrets masked, or a list of all settings."""

from typing import Annotated

import typer

from streamgauge.errors import ConfigurationError


def config(
    service: Annotated[str | None, typer.Argument(help="collector, backup, exporter, doctor; default: all.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List all settings with defaults and descriptions.")] = False,
) -> int:
    """Show the effective configuration of a service as NAME=VALUE, secrets masked, or all faults in it.

    Settings come from the environment and, before it, from the TOML file that STREAMGAUGE_CONFIG names.

    Examples:
      streamgauge config collector
      streamgauge config --list
    """
    from streamgauge import reference
    from streamgauge.settings import PROGRAMS, SECTIONS, load

    if service is not None and service not in PROGRAMS:
        raise ConfigurationError(f"{service!r} is no service; services: {', '.join(PROGRAMS)}")
    sections = tuple(SECTIONS) if service is None else PROGRAMS[service]
    if list_:
        for setting in reference.settings(sections):
            print(f"{setting.name}={setting.default}\n    {setting.meaning}")
        return 0
    for name, value in load(sections).dump().items():
        print(f"{name}={value}")
    return 0
