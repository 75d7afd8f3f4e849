"""``streamgauge drill``: restores a random window into scratch and compares it."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamgauge.drill import Outcome
    from streamgauge.settings import Settings


def drill(
    minutes: Annotated[float, typer.Option(min=0.001, max=527_040, help="Length of the window.")] = 5.0,
    seed: Annotated[int | None, typer.Option(help="Choose the same window again.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a line.")] = False,
    metrics_file: Annotated[
        Path | None, typer.Option(help="Also write the metric into a file, for node_exporter's textfile collector.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Leave no note in NATS for the backup's metrics.")] = False,
) -> int:
    """Restore a random window into a scratch file, read it again and compare it with what was stored.

    A good drill sets the metric streamgauge_restore_last_verified_timestamp_seconds: the backup shows it, from a note
    in NATS. Exit status: 0 the window came back whole, 1 it did not.

    Examples:
      streamgauge drill
      streamgauge drill --minutes 60 --json
    """
    from streamgauge import logs
    from streamgauge.settings import LogSettings, load

    settings = load(("s3",) if offline else ("nats", "s3"))
    logs.set_up(LogSettings.model_validate({"level": "error"}))
    outcome = asyncio.run(_run(settings, minutes * 60, seed, offline=offline))
    if metrics_file is not None and outcome.good:
        from streamgauge.drill import metrics_page

        part = metrics_file.with_name(metrics_file.name + ".part")
        part.write_text(metrics_page(outcome, time.time()))
        part.replace(metrics_file)
    _show(outcome, json=json)
    return 0 if outcome.good else 1


async def _run(settings: "Settings", length: float, seed: int | None, *, offline: bool) -> "Outcome":
    from streamgauge import drill as work
    from streamgauge.bus import Bus
    from streamgauge.settings import NatsSettings, S3Settings
    from streamgauge.store import Store

    store = Store(settings.section(S3Settings), threads=16)
    bus = None if offline else Bus(settings.section(NatsSettings), "restore")
    try:
        await store.start(create=False)
        if bus is not None:
            await bus.start()
        with tempfile.TemporaryDirectory(prefix="streamgauge-drill-") as scratch:
            outcome = await work.run(store, Path(scratch), length=length, seed=seed)
        if bus is not None:
            await work.publish(bus, settings.section(NatsSettings).stream, outcome)
        return outcome
    finally:
        await store.stop()
        if bus is not None:
            await bus.stop()


def _show(outcome: "Outcome", *, json: bool) -> None:
    from datetime import UTC, datetime

    if json:
        import orjson

        print(orjson.dumps(outcome.to_json()).decode())
        return
    for difference in outcome.differences:
        print(difference)
    begin = datetime.fromtimestamp(outcome.since / 1e9, UTC).isoformat(timespec="seconds")
    verdict = "came back whole" if outcome.good else "DIFFERS"
    print(
        f"the window from {begin} for {(outcome.until - outcome.since) / 1e9:g} s {verdict}: {outcome.rows:,} rows, "
        f"{outcome.packets:,} packets from {outcome.objects:,} objects in {outcome.seconds:.1f} s"
    )
