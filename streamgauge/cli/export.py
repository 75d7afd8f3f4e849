"""``streamgauge export``: flows to collectors of other makers."""

import asyncio
import os
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamgauge.errors import ConfigurationError

if TYPE_CHECKING:
    from streamgauge.export.run import Progress

_TO = re.compile(r"udp://(\[[^\]]+\]|[^:/\[\]]+)(?::(\d{1,5}))?/?")
#: The port of IPFIX over UDP (RFC 7011, 10.3.4).
_PORT = 4739


def export(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help="ipfix.")],
    to: Annotated[str, typer.Option(help="Where flows go: udp://HOST[:PORT], port 4739 by default.")],
    nats: Annotated[str | None, typer.Option(help="NATS URL, instead of STREAMGAUGE_NATS_URL.")] = None,
    subject: Annotated[str, typer.Option(help="Which summaries.")] = "traffic.v1.*.*",
    durable: Annotated[str | None, typer.Option(help="Name under which NATS remembers how far it is.")] = None,
    since: Annotated[str | None, typer.Option(help="Begin at a time of the stream: 2h, 2026-11-25T14:00, all.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Leave at the end of the stream; with --since.")] = False,
    active: Annotated[float, typer.Option(min=1, help="Seconds after which a long flow is exported.")] = 60.0,
    inactive: Annotated[float, typer.Option(min=1, help="Seconds without a packet that end a flow.")] = 15.0,
    templates: Annotated[float, typer.Option(min=1, help="Seconds between two sends of the templates.")] = 60.0,
    flows: Annotated[int, typer.Option(min=1, help="Open flows kept, of each node and interface.")] = 500_000,
    rate: Annotated[float, typer.Option(min=1, help="Messages a second at the most, 20 flows each.")] = 2000.0,
) -> int:
    """Export flows, until Ctrl-C.

    Rows of one direction with the same addresses, ports, protocol, DSCP and VLAN become a flow. Each node and interface
    is an observation domain of its own. What was missed on the way is told on standard error.

    Examples:
      streamgauge export ipfix --to udp://flows.example:4739
      streamgauge export ipfix --to udp://127.0.0.1 --durable to-akvorado
      streamgauge export ipfix --to udp://127.0.0.1:2055 --since 1h --once
    """
    from streamgauge.export.run import Export, Options

    if format_ != "ipfix":
        raise ConfigurationError(f"format {format_!r} is none of: ipfix")
    host, port = _address(to)
    options = Options(active=active, inactive=inactive, template_interval=templates, limit=flows, rate=rate)
    subscription = _subscription(nats, subject, durable, since, once)
    run = Export(host, port, options, told=lambda line: print(f"streamgauge: {line}", file=sys.stderr))
    try:
        asyncio.run(run.run(subscription))
    finally:
        _say(run.progress)
    return 0


def _address(to: str) -> tuple[str, int]:
    found = _TO.fullmatch(to)
    if found is None or int(found[2] or _PORT) not in range(1, 65536):
        raise ConfigurationError(f"--to {to!r} is no udp://HOST[:PORT]")
    return found[1].strip("[]"), int(found[2] or _PORT)


def _subscription(nats: str | None, subject: str, durable: str | None, since: str | None, once: bool) -> Any:
    import datetime as dt

    from streamgauge.cli.times import parse
    from streamgauge.consumer import subscribe
    from streamgauge.settings import NatsSettings, load

    settings = load(("nats",), {**os.environ, "STREAMGAUGE_NATS_URL": nats} if nats else os.environ).section(
        NatsSettings
    )
    begin: Any = since
    if since is not None and since != "all":
        begin = dt.datetime.fromtimestamp(parse(since, "--since") / 1e9, dt.UTC)
    if once and since is None:
        raise ConfigurationError("--once ends at the end of what the stream holds: say from when, --since all")
    return subscribe(
        settings.url,
        subject,
        durable=durable,
        since=begin,
        follow=not once,
        stream=settings.stream,
        user=settings.user,
        password=settings.password.get_secret_value() if settings.password else None,
        tls=settings.tls_ca,
        timeout=settings.connect_timeout,
        # A durable reader is a user of its own, with an inbox that no other hears: docs/22-subscribe.md.
        inbox_prefix=f"_INBOX_{settings.user}" if durable and settings.user else "_INBOX",
    )


def _say(progress: "Progress") -> None:
    print(
        f"streamgauge: {progress.flows} flows of {progress.packets - progress.not_ip} packets in {progress.messages} "
        f"messages; {progress.not_ip} packets are not IP and in no flow",
        file=sys.stderr,
    )
