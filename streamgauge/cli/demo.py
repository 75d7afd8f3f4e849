"""``streamgauge demo``: the whole system on this machine, on real packets."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from streamgauge.errors import ConfigurationError


def demo(
    pcap: Annotated[Path | None, typer.Option(help="Replay this capture file instead of capturing.")] = None,
    interface: Annotated[
        str | None, typer.Option("--interface", "-i", help="Capture this interface; default: lo.")
    ] = None,
    duration: Annotated[float | None, typer.Option(min=0.1, help="End after so many seconds.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Replay the file again and again.")] = False,
    stay: Annotated[
        bool | None,
        typer.Option("--stay/--no-stay", help="When the file is read, go on until Ctrl-C; default: at a terminal."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Packets per second of the traffic it makes; 0: none.")] = 1000.0,
    open_: Annotated[
        bool | None,
        typer.Option("--open/--no-open", help="Open the live page in a browser; default: on a desktop, at a terminal."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with logs, stream and bucket.")] = False,
) -> int:
    """Run the whole system on this machine, and end with an audit.

    Starts a NATS server, an S3 server, collector, backup and exporter as processes of their own, on free ports of
    loopback and in a folder that is removed afterwards, and opens the live page. Captures loopback and makes traffic
    there (DNS, HTTP, TLS, UDP, ICMP, visitors from outside); without the right to capture it replays a sample. Ctrl-C
    ends it: the collector publishes what it has, the backup stores it, and every packet is counted again at each stage.
    Exit status 1 if the stages differ.

    Examples:
      streamgauge demo --duration 20
      streamgauge demo --pcap trace.pcap
      streamgauge demo --interface eth0
    """
    from streamgauge import logs
    from streamgauge.demo.run import Options, run
    from streamgauge.settings import LogSettings

    if pcap is not None and interface is not None:
        raise ConfigurationError("--pcap replays a file and --interface captures: give one of them")
    if loop and pcap is None:
        raise ConfigurationError("--loop repeats a file: name one with --pcap FILE")
    logs.set_up(LogSettings.model_validate({"level": "error"}))
    options = Options(
        pcap=pcap,
        interface=interface,
        loop=loop,
        stay=stay,
        duration=duration,
        rate=rate,
        keep=keep,
        open_page=open_,
    )
    return 0 if asyncio.run(run(options)) else 1
