"""The figures of ``docs/15-operations.md``: ``python -m tests.chaos.figures`` (two minutes).

How long each part takes until it works again after ``kill -9``, how fast a backlog is stored, what a packet takes in
spool and stream, what it costs that JetStream syncs each message to disk, and how long an audit of 1,000 objects takes.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.backup import messages
from streamgauge import logs
from streamgauge.audit import take
from streamgauge.bus import Bus
from streamgauge.embedded import NatsServer, S3Server
from streamgauge.settings import LogSettings, NatsSettings, S3Settings
from streamgauge.store import Store
from tests.chaos.proxy import Mode
from tests.chaos.run import is_publishing, until
from tests.chaos.stand import Options, Stand
from tests.support.objects import write_lane

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = tuple[str, bytes, dict[str, str], int]

_ROUNDS: Final = 3
_IN_FLIGHT: Final = 8
#: A quiet node's message, and how many of them are sent.
_SMALL_BYTES, _SMALL_REPEATS = 2048, 6
_TRACE_PACKETS: Final = 200_000
_OUTAGE: Final = 30.0  # seconds
_OBJECTS: Final = 1000


class RelaxedServer(NatsServer):
    """nats-server as it is configured by default: a message is synced within two minutes of its acknowledgement."""

    def command(self) -> list[str]:
        """Return the command line, with the sync left out of the configuration."""
        command = super().command()
        path = self.folder / "nats.conf"
        path.write_text(path.read_text().replace(", sync_interval: always", ""))
        return command


_SERVERS: Final = (("always", NatsServer), ("default", RelaxedServer))


async def recovery(folder: Path) -> None:
    """Measure how long each part is gone after it was killed."""
    stand = Stand(folder, Options(nodes=1))
    bus, store = Bus(stand.nats_settings, "figures"), Store(stand.s3_settings)
    try:
        await stand.start()
        await until(lambda: is_publishing(stand), 300, "the first batch")
        await bus.start()
        store.open()
        await until(partial(_more, partial(_objects, store), 0), 60, "the first object")
        await _measure("collector", stand.collectors[0].kill, partial(_messages, bus))
        await _measure("backup", stand.backups[0].kill, partial(_objects, store))

        def nats() -> None:
            stand.nats.kill()
            stand.nats.start()

        await _measure("nats-server, and its restart", nats, partial(_messages, bus))
        await _catch_up(stand, bus)
    finally:
        await stand.close()
        await store.stop()
        await bus.stop()


async def _measure(who: str, kill: Callable[[], None], count: Callable[[], Awaitable[int]]) -> None:
    seconds = []
    for _ in range(_ROUNDS):
        before = await count()
        started = time.perf_counter()
        await asyncio.to_thread(kill)
        # What was under way may still arrive; the second one after it is of the new process.
        await until(partial(_more, count, before + 1), 120, f"the {who}")
        seconds.append(time.perf_counter() - started)
    say(f"kill -9 of {who:30} works again after {statistics.median(seconds):5.1f} s (worst {max(seconds):.1f} s)")


async def _more(count: Callable[[], Awaitable[int]], seen: int) -> bool:
    try:
        return await count() > seen
    except Exception:  # noqa: BLE001 the server is away, which is what is measured
        return False


async def _messages(bus: Bus) -> int:
    info = await bus.jetstream.stream_info("TRAFFIC", subjects_filter="traffic.>")
    return sum((info.state.subjects or {}).values())


async def _objects(store: Store) -> int:
    return len(await store.list_all("summaries/"))


async def _catch_up(stand: Stand, bus: Bus) -> None:
    """Hold the storage back, and measure how long the backlog takes afterwards."""
    stand.s3_proxy.set(Mode.HANG)
    with_backlog = time.perf_counter() + _OUTAGE
    await until(lambda: _is_past(with_backlog), _OUTAGE + 5, "the outage")
    stand.s3_proxy.set(Mode.PASS)
    started = time.perf_counter()
    consumers = "backup-shard-"

    async def caught_up() -> bool:
        infos = await bus.jetstream.consumers_info("TRAFFIC")
        return all((info.num_ack_pending or 0) < 30 for info in infos if info.name.startswith(consumers))

    await until(caught_up, 120, "the backup to catch up")
    seconds = time.perf_counter() - started
    say(f"S3 silent for {_OUTAGE:.0f} s: the backlog is stored {seconds:.1f} s after it answers again")


async def _is_past(moment: float) -> bool:
    return time.perf_counter() >= moment


async def sync_cost(folder: Path) -> None:
    """Publish the same messages to a server that syncs each one and to one that does not, in turns."""
    trace = messages(_TRACE_PACKETS)
    size, rows = sum(len(one[1]) for one in trace), sum(one[3] for one in trace)
    say(f"spool and stream: {size / rows:.1f} bytes a packet; a message has {rows / len(trace):.0f} packets")
    small = [(subject, payload[:_SMALL_BYTES], headers, 0) for subject, payload, headers, _ in trace * _SMALL_REPEATS]
    for size_name, chosen in (("whole", trace), ("small", small)):
        found: dict[str, list[float]] = {"always": [], "default": []}
        for number, (name, kind) in itertools.product(range(_ROUNDS), _SERVERS):
            with kind(folder / f"{size_name}-{name}-{number}") as server:
                found[name].append(await _publish(server, chosen))
        for name, seconds in found.items():
            median = statistics.median(seconds)
            rate = sum(len(one[1]) for one in chosen) / median / 1e6
            say(f"{size_name} messages, sync_interval {name:8}{len(chosen) / median:7.0f} messages/s {rate:7.1f} MB/s")


async def _publish(server: NatsServer, trace: list[Message]) -> float:
    """Publish as a collector does, a window at a time; return the seconds."""
    bus = Bus(NatsSettings.model_validate({"url": server.url, "max_bytes": 1 << 30}), "figures")
    await bus.start()
    await bus.ensure_stream()
    started = time.perf_counter()
    for first in range(0, len(trace), _IN_FLIGHT):
        window = itertools.islice(trace, first, first + _IN_FLIGHT)
        await asyncio.gather(*(bus.jetstream.publish(one[0], one[1], headers=one[2]) for one in window))
    seconds = time.perf_counter() - started
    await bus.stop()
    return seconds


async def audit(folder: Path) -> None:
    """Audit a thousand objects by their footers."""
    with S3Server(folder) as server:
        settings = S3Settings(
            endpoint=server.endpoint,
            secure=False,
            access_key=server.access_key,
            secret_key=server.secret_key,  # type: ignore[arg-type]
        )
        store = Store(settings, threads=16)
        await store.start()
        await write_lane(store, _OBJECTS)
        seconds = [(await take(store, None, stream="TRAFFIC")).seconds for _ in range(_ROUNDS)]
        await store.stop()
    say(f"audit of {_OBJECTS} objects: {statistics.median(seconds):.1f} s (worst {max(seconds):.1f} s)")


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure everything."""
    logs.set_up(LogSettings(level="error", format="console"), service="figures")
    folder = Path(tempfile.mkdtemp(prefix="figures-"))
    try:
        for number, part in enumerate((audit, sync_cost, recovery)):
            (folder / str(number)).mkdir()
            asyncio.run(part(folder / str(number)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
