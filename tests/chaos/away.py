"""``make chaos-away``: the object storage is killed and stays away under load, then it comes back.

    python -m tests.chaos.away --minutes 10 --rate 50000

Real collectors publish all the time; the backup runs with the settings it is shipped with. Printed, every half minute:
packets stored, messages waiting in the stream, and the resident memory of each process. At the end: how many rows a
second the backup stored until it had caught up, and the account of ``make chaos``: lost, duplicated, unaccounted.

Exit status 0: all three are 0, and in the second half of the outage no service needed a tenth more memory, nor died
(within the first half the backup fills what it may hold).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamgauge import logs
from streamgauge.demo.scrape import Page, PageError, fetch
from streamgauge.embedded import free_ports
from streamgauge.errors import StreamgaugeError
from streamgauge.settings import LogSettings
from tests.chaos import evidence, oracle
from tests.chaos.__main__ import sums
from tests.chaos.run import START_TIMEOUT, UnfinishedError, drain, is_publishing, until
from tests.chaos.stand import Options, Stand

if TYPE_CHECKING:
    from tests.chaos.oracle import Verdict

_NODES: Final = 2
#: Seconds between two samples, and between two lines.
_SAMPLE, _LINE = 2.0, 30.0
#: As shipped (docs/51-settings.md): the recovery point, and how long an answer may take.
_ROTATE: Final = 60.0
_TIMEOUT: Final = 30.0
#: Bytes of the stream a packet may take at the most; 45 on the benchmark's trace.
_BYTES_A_PACKET: Final = 64
#: Growth of a service's memory that passes for noise: a tenth, and so many bytes.
_NOISE: Final = 16 << 20


@dataclass(slots=True)
class Phase:
    """What was seen in one part of the run: the most memory of each process (bytes), and the last counts."""

    peaks: dict[str, int] = field(default_factory=dict)
    stored: int = 0
    waiting: int = 0

    def note(self, memory: dict[str, int], page: Page) -> None:
        """Take a sample in."""
        for who, size in memory.items():
            self.peaks[who] = max(self.peaks.get(who, 0), size)
        self.stored = page.total("stored_rows_total")
        self.waiting = page.total("backup_pending_messages")


class Watch:
    """Takes samples of a stand and prints them."""

    def __init__(self, stand: Stand, port: int) -> None:
        """``port`` is where the backup shows its metrics."""
        self._stand = stand
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._started = time.monotonic()
        self._printed = float("-inf")

    def memory(self) -> dict[str, int]:
        """Return the resident bytes of each process."""
        stand = self._stand
        pids = {
            "backup": stand.backups[0].pid,
            **{worker.name: worker.pid for worker in stand.collectors},
            "nats-server": stand.nats.process.pid if stand.nats.process else None,
        }
        return {who: size for who, pid in pids.items() if pid is not None and (size := resident(pid))}

    async def until(self, name: str, end: float, phase: Phase, *, caught_up: bool = False) -> None:
        """Sample until the monotonic time ``end``, or until the backup has ``caught_up``.

        Raises:
            UnfinishedError: it has not caught up by then.

        """
        while time.monotonic() < end:
            memory = self.memory()
            with contextlib.suppress(PageError):
                page = Page(await asyncio.to_thread(fetch, self._url))
                phase.note(memory, page)
                self._tell(name, phase, memory)
                # What is younger than the recovery point is never stored yet.
                if caught_up and phase.waiting == 0 and page.highest("backup_oldest_unstored_seconds") < _ROTATE + 5:
                    return
            await asyncio.sleep(_SAMPLE)
        if caught_up:
            raise UnfinishedError(f"{phase.waiting} messages still wait")

    def _tell(self, name: str, phase: Phase, memory: dict[str, int]) -> None:
        now = time.monotonic()
        if now - self._printed < _LINE:
            return
        self._printed = now
        sizes = "".join(f"{who} {size >> 20} MiB  " for who, size in memory.items())
        say(f"{now - self._started:6.0f} s  {name:9} stored {phase.stored:11,}  waiting {phase.waiting:7,}  {sizes}")


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes, 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0]) << 10 if sizes else 0


async def run(folder: Path, *, minutes: float, rate: int) -> tuple[Verdict, bool]:
    """Run; return the verdict, and whether memory stayed bounded and every process alive.

    Raises:
        UnfinishedError: something did not come back, or did not catch up, in time.

    """
    (port,) = free_ports(1)
    own = {"BACKUP_ROTATE_SECONDS": str(_ROTATE), "BACKUP_ROTATE_ROWS": "1000000", "BACKUP_PORT": str(port)}
    seconds = minutes * 60
    options = Options(
        nodes=_NODES,
        rate=rate // _NODES,
        stream_bytes=int((seconds * 2 + 600) * rate * _BYTES_A_PACKET),
        backup_settings=own | {"S3_TIMEOUT": str(_TIMEOUT)},
    )
    stand = Stand(folder, options)
    before, first, rest, after = Phase(), Phase(), Phase(), Phase()
    try:
        await stand.start()
        await until(lambda: is_publishing(stand), START_TIMEOUT, "batches of every node, and a backup that reads them")
        watch = Watch(stand, port)
        await watch.until("before", time.monotonic() + 1.2 * _ROTATE, before)
        say("the object storage is killed")
        await asyncio.to_thread(stand.s3.kill)
        gone = time.monotonic()
        await watch.until("away", gone + seconds / 2, first)
        await watch.until("away", gone + seconds, rest)
        say("the object storage starts again")
        await asyncio.to_thread(stand.s3.start)
        back = time.monotonic()
        await watch.until("catching up", back + max(seconds, 300), after, caught_up=True)
        took = time.monotonic() - back
        caught_up = after.stored - rest.stored
        say(f"caught up after {took:.1f} s: {caught_up:,} rows, {caught_up / took:,.0f} rows/s, while {rate:,} came in")
        say("no more load; draining")
        await drain(stand)
        say("reading everything back")
        found = await evidence.collect(stand)
    finally:
        await stand.close()
    for who, times in stand.ended.items():
        say(f"! {who}: {times} times, by itself")
    for who in first.peaks:
        phases = {"before": before, "first half": first, "second half": rest, "catching up": after}
        sizes = ", ".join(f"{name} {phase.peaks.get(who, 0) >> 20}" for name, phase in phases.items())
        say(f"most memory of {who:12} MiB: {sizes}")
    grown = [who for who, size in rest.peaks.items() if is_more(size, first.peaks.get(who, 0)) and who != "nats-server"]
    for who in grown:
        say(f"! the memory of {who} grew while the storage was away")
    return oracle.judge(found), not grown and not stand.ended


def is_more(size: int, than: int) -> bool:
    """Return whether memory (bytes) grew by more than noise."""
    return size > than * 1.1 + _NOISE


def main() -> int:
    """Read the arguments, run, print the account."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.away", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the storage is away (default: 10)")
    parser.add_argument("--rate", type=int, default=50_000, help="packets a second of all nodes (default: 50,000)")
    arguments = parser.parse_args()
    logs.set_up(LogSettings(level="error", format="console"), service="away")
    folder, good = Path(tempfile.mkdtemp(prefix="away-")), False
    say(f"{_NODES} nodes, {arguments.rate:,} packets/s, object storage away for {arguments.minutes:g} min")
    try:
        verdict, bounded = asyncio.run(run(folder, minutes=arguments.minutes, rate=arguments.rate))
        say(sums(verdict))
        good = verdict.good and bounded
    except (UnfinishedError, StreamgaugeError) as error:
        say(f"the run did not come to its end: {error}")
    finally:
        if good:
            shutil.rmtree(folder, ignore_errors=True)
    if not good:
        say(f"FAILED; logs and data are in {folder}")
    return 0 if good else 1


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
