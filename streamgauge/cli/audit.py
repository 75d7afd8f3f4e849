"""``streamgauge audit``: proves that what was published is stored, waits, or is a named loss."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamgauge.audit import Report, Window
    from streamgauge.settings import Settings


def audit(
    since: Annotated[str | None, typer.Option(help="Begin of the window: 2h, 7d, or 2026-11-25T14:00.")] = None,
    until: Annotated[str | None, typer.Option(help="End of the window, likewise.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every object whole, not only its footer.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="The bucket alone; what waits in NATS is unknown.")
    ] = False,
) -> int:
    """Prove that every packet a collector published is stored once, waits in JetStream, or is a named loss.

    Compares the ledger of each node and boot with the footers of the objects. What is missing, altered or stored twice
    is named with node, boot, batch sequence and stage. Exit status: 0 all is there, 1 something is not, 2 wrong usage.

    Examples:
      streamgauge audit
      streamgauge audit --since 2h --deep
      streamgauge audit --since 2026-11-25T14:00 --until 2026-11-25T15:00 --json
    """
    from streamgauge import logs
    from streamgauge.audit import Window
    from streamgauge.cli import times
    from streamgauge.settings import LogSettings, load

    first, last = times.window(since, until)
    window = Window(first) if last is None else Window(first, last)
    settings = load(("nats", "s3"))
    logs.set_up(LogSettings.model_validate({"level": "error"}))
    report = asyncio.run(_take(settings, window, deep=deep, offline=offline))
    if json:
        import orjson

        print(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        _show(report)
    return 0 if report.balanced else 1


async def _take(settings: "Settings", window: "Window", *, deep: bool, offline: bool) -> "Report":
    from streamgauge.audit import take
    from streamgauge.bus import Bus
    from streamgauge.cli.progress import Progress
    from streamgauge.settings import NatsSettings, S3Settings
    from streamgauge.store import Store

    nats = settings.section(NatsSettings)
    bus, store = Bus(nats, "audit"), Store(settings.section(S3Settings), threads=32)
    try:
        await store.start(create=False)
        if not offline:
            await bus.start()
        with Progress("objects") as progress:
            return await take(
                store,
                None if offline else bus,
                stream=nats.stream,
                window=window,
                read_all=deep,
                progress=progress.add,
            )
    finally:
        await store.stop()
        await bus.stop()


def _show(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    # Columns of a table that goes into a file or a pipe are not squeezed.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 250)
    table = Table(box=None, pad_edge=False)
    for name in ("node", "boot"):
        table.add_column(name, overflow="fold")
    names = ("received", "dropped", "published", "stored", "waiting", "evicted", "difference")
    for name in names:
        table.add_column(name, justify="right")
    for account in report.accounts:
        numbers = (f"{getattr(account, name):,}" for name in names)
        table.add_row(account.node, account.boot, *numbers)
    if report.accounts:
        console.print(table)
    for finding in report.findings:
        # A finding is data: it is not wrapped at the width of a terminal.
        print(f"{finding.stage}: {finding.what}")
    if report.without_nats:
        print(f"note: {report.without_nats}", file=sys.stderr)
    verdict = "all is there" if report.balanced else f"{len(report.findings)} findings"
    print(
        f"{verdict}: {report.objects:,} objects, {report.rows:,} rows, {report.bytes:,} bytes, {report.seconds:.1f} s"
    )
