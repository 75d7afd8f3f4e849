"""``streamgauge doctor``: walks the way of a packet and names the first broken hop."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamgauge.doctor import Walk
    from streamgauge.settings import S3Settings


def doctor(
    nats: Annotated[str | None, typer.Option(help="NATS URL, instead of STREAMGAUGE_NATS_URL.")] = None,
    interface: Annotated[
        str | None,
        typer.Option("--interface", "-i", help="Look at this machine's interfaces as well: a name, eth0,veth* or any."),
    ] = None,
    collector: Annotated[str | None, typer.Option(metavar="URL", help="A collector: http://node:9101.")] = None,
    backup: Annotated[str | None, typer.Option(metavar="URL", help="A backup: http://backup:9102.")] = None,
    exporter: Annotated[str | None, typer.Option(metavar="URL", help="An exporter: http://exporter:9103.")] = None,
    prometheus: Annotated[str | None, typer.Option(metavar="URL", help="http://host:9090/prometheus.")] = None,
    door: Annotated[str | None, typer.Option(metavar="URL", help="The door: https://localhost:8443.")] = None,
    door_ca: Annotated[Path | None, typer.Option(help="Authority of the door: secrets/authority/ca.crt.")] = None,
    late: Annotated[float | None, typer.Option(min=1, help="Seconds a batch may wait to be stored.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Do not stop at the first broken hop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="Look at the cluster of your kubeconfig.")] = False,
    context: Annotated[str | None, typer.Option(help="With --kubernetes: context of the kubeconfig.")] = None,
    namespace: Annotated[
        str, typer.Option(help="With --kubernetes: namespace; the collectors' has -capture behind it.")
    ] = "streamgauge",
) -> int:
    """Walk the way of a packet: capture, NATS, stream, backup, S3, exporter, Prometheus, door.

    Each hop is ok, broken or not checked, with the evidence and the command that mends it. The walk ends at the first
    broken hop, which is named first; exit status 1. Reads the settings of the services (STREAMGAUGE_NATS_..., _S3_...)
    and writes nothing, so the operator's keys do. Pages whose URL is not given, here or as STREAMGAUGE_DOCTOR_..., are
    not checked. With --kubernetes it asks kubectl: pods, claims, secrets, jobs, services, and then the same pages.

    Examples:
      streamgauge doctor
      streamgauge doctor --interface eth0 --all
      streamgauge doctor --exporter http://localhost:9103 --prometheus http://localhost:9090/prometheus --json
      streamgauge doctor --kubernetes --context production
    """
    from streamgauge import logs
    from streamgauge.doctor import report
    from streamgauge.errors import ConfigurationError
    from streamgauge.settings import LogSettings

    # What goes wrong is told by the findings, once.
    logs.set_up(LogSettings.model_validate({"level": "error"}))
    if kubernetes:
        from streamgauge.doctor.kubernetes import examine

        found = examine(context=context, namespace=namespace, everything=all_)
    elif context is not None:
        raise ConfigurationError("--context needs --kubernetes")
    else:
        options = {
            "STREAMGAUGE_NATS_URL": nats,
            "STREAMGAUGE_DOCTOR_COLLECTOR": collector,
            "STREAMGAUGE_DOCTOR_BACKUP": backup,
            "STREAMGAUGE_DOCTOR_EXPORTER": exporter,
            "STREAMGAUGE_DOCTOR_PROMETHEUS": prometheus,
            "STREAMGAUGE_DOCTOR_DOOR": door,
            "STREAMGAUGE_DOCTOR_DOOR_CA": door_ca,
            "STREAMGAUGE_DOCTOR_LATE": late,
        }
        given = {name: str(value) for name, value in options.items() if value is not None}
        found = asyncio.run(_walk(given, interface, everything=all_))
    print(report.as_json(found) if json else report.as_text(found, colour=sys.stdout.isatty()))
    broken = found.first_broken
    if broken is not None and broken.hop == "NATS" and not (json or kubernetes):
        from streamgauge.demo import beside

        if hint := beside.hint():
            print(f"\n{hint}")
    return 0 if broken is None else 1


async def _walk(given: dict[str, str], interface: str | None, *, everything: bool) -> "Walk":
    from streamgauge.doctor import walk
    from streamgauge.settings import DoctorSettings, NatsSettings, load

    environment = {**os.environ, **given}
    settings = load(("nats", "doctor"), environment)
    return await walk(
        settings.section(NatsSettings),
        _storage(environment),
        settings.section(DoctorSettings),
        # Beside a collector its own settings say what it captures.
        capture=interface or environment.get("STREAMGAUGE_COLLECTOR_INTERFACE"),
        everything=everything,
    )


def _storage(environment: dict[str, str]) -> "S3Settings | None":
    """Return the storage's settings; None when nothing was said about keys for it."""
    from streamgauge.settings import CONFIG_FILE, S3Settings, load

    if not any(name.startswith("STREAMGAUGE_S3_ACCESS_KEY") or name == CONFIG_FILE for name in environment):
        return None
    return load(("s3",), environment).section(S3Settings)
