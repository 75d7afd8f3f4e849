"""``streamgauge restore``: a window of what was stored, back out as rows, packets, or messages."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamgauge.errors import ConfigurationError

if TYPE_CHECKING:
    from streamgauge.restore.plan import Selection
    from streamgauge.settings import Settings


def restore(
    since: Annotated[str | None, typer.Option(help="Begin of the window: 2h, 7d, or 2026-11-25T14:00.")] = None,
    until: Annotated[str | None, typer.Option(help="End of the window, likewise.")] = None,
    node: Annotated[str | None, typer.Option(help="Only this node.")] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="parquet, ndjson, csv or pcap.")] = "ndjson",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File, there when it is whole; - or none: standard output.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="nats: replay into NATS instead of writing.")] = None,
    rate: Annotated[str, typer.Option(help="Of a replay: max, or times the captured pace (1x, 10x).")] = "max",
    resume: Annotated[Path | None, typer.Option(help="File that lets a replay go on where it stopped.")] = None,
    link_type: Annotated[
        str | None,
        typer.Option(
            help="Of a pcap: ethernet, raw, linux-cooked, linux-cooked-v2, loopback; by the frames by default."
        ),
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Add who had the addresses when the packets were seen, as columns.")
    ] = False,
    reach_days: Annotated[
        float,
        typer.Option(min=0, max=36_525, help="How long before the window an object may begin that reaches into it."),
    ] = 1.0,
) -> int:
    """Bring a window of what was stored back out, in time order.

    A pcap needs the frames, which are kept when STREAMGAUGE_COLLECTOR_FRAME_BYTES is set. A replay is published under
    replay.v1.NODE.CLASS with the headers of live summaries. --names adds source_namespace, source_workload,
    source_workload_kind and the same of the destination; empty where nobody is known to have had the address then.

    A file appears when all of it is written: what fails or is interrupted leaves what was there before. Standard output
    gets the rows as they come, and the exit status tells whether they were all.

    Examples:
      streamgauge restore --since 2h --format parquet --output window.parquet
      streamgauge restore --since 2026-11-25T14:00 --until 2026-11-25T14:05 --format pcap -o window.pcap
      streamgauge restore --since 1h --names --format csv --output named.csv
      streamgauge restore --since 1d --to nats --rate 10x --resume replay.json
    """
    from streamgauge import logs
    from streamgauge.cli import times
    from streamgauge.restore.outputs import FORMATS, LINK_TYPES
    from streamgauge.restore.plan import Selection
    from streamgauge.settings import LogSettings, load

    if form not in FORMATS:
        raise ConfigurationError(f"--format {form!r} is none of {', '.join(FORMATS)}")
    if to not in (None, "nats"):
        raise ConfigurationError(f"--to {to!r} is not nats")
    if link_type is not None and link_type not in LINK_TYPES:
        raise ConfigurationError(f"--link-type {link_type!r} is none of {', '.join(LINK_TYPES)}")
    pace = _pace(rate)
    if to is None and (resume is not None or pace is not None):
        raise ConfigurationError("--resume and --rate are of a replay; add --to nats")
    if to is not None and output is not None:
        raise ConfigurationError("--output is of a file, and --to nats replays into NATS; choose one")
    if link_type is not None and form != "pcap":
        raise ConfigurationError("--link-type is of a pcap; add --format pcap")
    first, last = times.window(since, until)
    selection = Selection(first, node=node, reach=timedelta(days=reach_days))
    if last is not None:
        selection = Selection(first, last, node, timedelta(days=reach_days))
    settings = load(("nats", "s3") if to else ("s3",))
    logs.set_up(LogSettings.model_validate({"level": "error"}))
    if names and (to or form == "pcap"):
        raise ConfigurationError("--names adds columns, which messages of a replay and a pcap do not have")
    if to:
        asyncio.run(_replay(settings, selection, pace, resume))
    else:
        asyncio.run(_write(settings, selection, form, output, link_type, named=names))
    return 0


def _pace(rate: str) -> float | None:
    if rate == "max":
        return None
    try:
        pace = float(rate.removesuffix("x"))
    except ValueError:
        pace = 0.0
    if not pace > 0:
        raise ConfigurationError(f"--rate {rate!r} is neither max nor times the captured pace, such as 1x or 10x")
    return pace


async def _write(
    settings: "Settings", selection: "Selection", form: str, path: Path | None, link_type: str | None, *, named: bool
) -> None:
    import sys

    from streamgauge.cli import output
    from streamgauge.cli.progress import Progress
    from streamgauge.restore import make_plan, outputs, read
    from streamgauge.restore.names import load as load_names
    from streamgauge.settings import S3Settings
    from streamgauge.store import Store

    store = Store(settings.section(S3Settings), threads=16)
    try:
        await store.start(create=False)
        with Progress("objects looked at") as progress:
            plan = await make_plan(store, selection, progress.add)
        names = await load_names(store, plan) if named else None
        with output.whole(path) as stream, Progress("rows") as progress:
            writer = outputs.open_output(form, stream, link_type)
            try:
                async for rows in read(store, plan):
                    writer.write(rows if names is None else names.add(rows))
                    progress.add(len(rows))
                writer.close()
            except BaseException:
                writer.abandon()
                raise
        if isinstance(writer, outputs.Pcap) and writer.without_frame:
            print(f"streamgauge: {writer.without_frame:,} rows have no frame and are not in the file", file=sys.stderr)
    finally:
        await store.stop()


async def _replay(settings: "Settings", selection: "Selection", pace: float | None, resume: Path | None) -> None:
    from streamgauge.bus import Bus
    from streamgauge.cli.progress import Progress
    from streamgauge.restore import make_plan
    from streamgauge.restore.replay import Replay
    from streamgauge.settings import NatsSettings, S3Settings
    from streamgauge.store import Store

    bus, store = Bus(settings.section(NatsSettings), "restore"), Store(settings.section(S3Settings), threads=16)
    try:
        await store.start(create=False)
        await bus.start()
        with Progress("objects looked at") as progress:
            plan = await make_plan(store, selection, progress.add)
        with Progress("rows") as progress:
            done = await Replay(bus, store, plan, rate=pace, resume=resume, told=progress.add).run()
        before = f", {done.skipped:,} batches were before" if done.skipped else ""
        print(f"replayed {done.rows:,} rows, {done.packets:,} packets in {done.batches:,} batches{before}")
    finally:
        await store.stop()
        await bus.stop()
