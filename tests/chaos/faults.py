"""The kinds of faults: what is done, and what is undone after a while.

A fault holds what it breaks, so that no two of them break the same thing at once; of different things, several are
broken at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig

from streamgauge.bus import Bus
from streamgauge.errors import StreamgaugeError
from tests.chaos.proxy import Mode, Proxy
from tests.chaos.stand import LIVE_SPOOL_AGE, SHARDS, Stand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from nats.js import JetStreamContext

    from tests.chaos.worker import Worker

_FILL_INTERVAL: Final = 0.2  # seconds
#: Seconds by which clocks are stepped at the most, in either direction.
_CLOCK_STEP: Final = 7200
#: Frames that certainly do not fit into the ring of the live node.
_OVERFLOW: Final = 6000


class Context(NamedTuple):
    """What a fault may use: the stand, its own chance, and how long it lasts (seconds)."""

    stand: Stand
    chance: Random
    lasts: float

    async def wait(self, seconds: float | None = None) -> None:
        """Let the fault last."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.lasts if seconds is None else seconds):
                await asyncio.Event().wait()

    def collector(self) -> Worker:
        """Choose a collector."""
        return self.chance.choice(self.stand.collectors)

    def backup(self) -> Worker:
        """Choose a backup."""
        return self.chance.choice(self.stand.backups)


async def kill_collector(context: Context) -> None:
    context.collector().kill()


async def restart_collector(context: Context) -> None:
    context.collector().restart()


async def hang_collector(context: Context) -> None:
    worker = context.collector()
    worker.hang()
    await context.wait()
    worker.wake()


async def overflow_ring(context: Context) -> None:
    """Halt the live collector and send more than its ring holds: the kernel drops, and must have counted it."""
    worker, wire = context.stand.live_collector, context.stand.wire
    assert wire is not None
    await wire.watched()
    worker.hang()
    await wire.burst(_OVERFLOW)
    await context.wait()
    worker.wake()


async def step_clock(context: Context) -> None:
    worker = context.chance.choice([*context.stand.collectors, *context.stand.backups])
    worker.step_clock(context.chance.randint(-_CLOCK_STEP, _CLOCK_STEP))


async def fill_disk(context: Context) -> None:
    """Keep the disk of a spool full for a while."""
    disk = context.stand.disk(context.chance.randrange(context.stand.options.nodes))
    filler = disk / "filler"
    deadline = asyncio.get_running_loop().time() + context.lasts
    with filler.open("wb", buffering=0) as handle:
        while asyncio.get_running_loop().time() < deadline:
            try:
                while True:
                    handle.write(bytes(4096))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            await context.wait(_FILL_INTERVAL)
    filler.unlink()


async def kill_backup(context: Context) -> None:
    context.backup().kill()


async def restart_backup(context: Context) -> None:
    context.backup().restart()


async def hang_backup(context: Context) -> None:
    """Halt a backup; another one may take over meanwhile, and then the first one wakes up."""
    stand, hung = context.stand, context.backup()
    hung.hang()
    if context.chance.random() < 0.5:
        stand_ins = stand.more_backups(len(stand.backups))
        chosen = stand_ins[stand.backups.index(hung)]
        chosen.start()
        await context.wait(context.lasts + 5.0)
        stand.backups[stand.backups.index(hung)] = chosen
        hung.wake()
        await hung.stop()
        stand.take_note([hung])
    else:
        await context.wait()
        hung.wake()


async def scale_backup(context: Context) -> None:
    """Go from one backup to three or back, while the old ones may still run."""
    stand, old = context.stand, context.stand.backups
    stand.backups = stand.more_backups(1 if len(old) == 3 else 3)
    for worker in stand.backups:
        worker.start()
    await asyncio.gather(*(worker.stop() for worker in old))
    stand.take_note(old)


async def kill_exporter(context: Context) -> None:
    assert context.stand.exporter is not None
    context.stand.exporter.kill()


async def restart_nats(context: Context) -> None:
    await asyncio.to_thread(context.stand.nats.stop)
    await context.wait()
    await asyncio.to_thread(context.stand.nats.start)


async def kill_nats(context: Context) -> None:
    await asyncio.to_thread(context.stand.nats.kill)
    await context.wait()
    await asyncio.to_thread(context.stand.nats.start)


async def outlast_spool(context: Context) -> None:
    """Keep NATS away for longer than the live node keeps batches: it gives the oldest up, and must count them."""
    proxy, wire = context.stand.nats_proxy, context.stand.wire
    assert wire is not None
    await wire.watched()
    proxy.set(Mode.REFUSE)
    proxy.cut()
    await context.wait(LIVE_SPOOL_AGE + 2.0 + context.lasts)
    proxy.set(Mode.PASS)


async def kill_s3(context: Context) -> None:
    await asyncio.to_thread(context.stand.s3.kill)
    await context.wait()
    await asyncio.to_thread(context.stand.s3.start)


async def restart_s3(context: Context) -> None:
    await asyncio.to_thread(context.stand.s3.stop)
    await context.wait()
    await asyncio.to_thread(context.stand.s3.start)


async def cut_nats(context: Context) -> None:
    context.stand.nats_proxy.cut()


async def half_close_nats(context: Context) -> None:
    context.stand.nats_proxy.half_close()


async def cut_s3(context: Context) -> None:
    context.stand.s3_proxy.cut()
    await _through(context, context.stand.s3_proxy, Mode.REFUSE)


def mode(which: str, what: Mode, *, then_cut: bool = False) -> Callable[[Context], Awaitable[None]]:
    """Return the fault in which a proxy (``nats`` or ``s3``) does something for a while."""

    async def fault(context: Context) -> None:
        proxy = context.stand.nats_proxy if which == "nats" else context.stand.s3_proxy
        proxy.delay = context.chance.uniform(0.02, 0.2)
        await _through(context, proxy, what)
        if then_cut:
            proxy.cut()

    return fault


async def _through(context: Context, proxy: Proxy, what: Mode) -> None:
    proxy.set(what)
    await context.wait()
    proxy.set(Mode.PASS)


async def publish_again(context: Context) -> None:
    """Publish batches again that are in the stream, under identifiers that JetStream does not know."""
    stream = context.stand.nats_settings.stream

    async def work(jetstream: JetStreamContext) -> None:
        state = (await jetstream.stream_info(stream)).state
        for _ in range(10):
            sequence = context.chance.randint(state.first_seq, max(state.last_seq, state.first_seq))
            message = await jetstream.get_msg(stream, sequence)
            if (message.subject or "").startswith("traffic."):
                # Published subjects have no shard at their end, stored ones have.
                subject = (message.subject or "").rpartition(".")[0]
                headers = dict(message.headers or {}) | {"Nats-Msg-Id": f"again/{context.chance.random()}"}
                await jetstream.publish(subject, message.data or b"", headers=headers)

    await _with_jetstream(context.stand, work)


async def delete_consumer(context: Context) -> None:
    name = f"backup-shard-{context.chance.randrange(SHARDS):02}"

    async def work(jetstream: JetStreamContext) -> None:
        await jetstream.delete_consumer(context.stand.nats_settings.stream, name)

    await _with_jetstream(context.stand, work)


async def rewind_consumer(context: Context) -> None:
    """Put another consumer in the place of a backup's own: it delivers everything from the beginning."""
    stream, shard = context.stand.nats_settings.stream, context.chance.randrange(SHARDS)
    name = f"backup-shard-{shard:02}"

    async def work(jetstream: JetStreamContext) -> None:
        anew = ConsumerConfig(
            durable_name=name, filter_subject=f"traffic.v1.*.*.{shard}", ack_policy=AckPolicy.EXPLICIT
        )
        # Both at once, to be faster than the backup, which makes its own again.
        deleted, added = jetstream.delete_consumer(stream, name), jetstream.add_consumer(stream, anew)
        await asyncio.gather(deleted, added, return_exceptions=True)

    await _with_jetstream(context.stand, work)


async def _with_jetstream(stand: Stand, work: Callable[[JetStreamContext], Awaitable[None]]) -> None:
    """Work over a connection of the fault's own; what the server refuses now (no stream yet) is no fault then."""
    bus = Bus(stand.nats_settings, "chaos")
    with contextlib.suppress(NatsError, StreamgaugeError, TimeoutError):
        await bus.start()
        await work(bus.jetstream)
    await bus.stop()


class Kind(NamedTuple):
    """A kind of fault: what it holds meanwhile, and what it does."""

    holds: str
    inject: Callable[[Context], Awaitable[None]]


KINDS: Final[dict[str, Kind]] = {
    "collector: kill -9": Kind("collectors", kill_collector),
    "collector: restart": Kind("collectors", restart_collector),
    "collector: hangs": Kind("collectors", hang_collector),
    "collector: disk full": Kind("disks", fill_disk),
    "clock step": Kind("clocks", step_clock),
    "backup: kill -9": Kind("backups", kill_backup),
    "backup: restart": Kind("backups", restart_backup),
    "backup: hangs": Kind("backups", hang_backup),
    "backup: 1 to 3, 3 to 1": Kind("backups", scale_backup),
    "exporter: kill -9": Kind("exporter", kill_exporter),
    "ring: overflows": Kind("collectors", overflow_ring),
    "nats: restart": Kind("nats", restart_nats),
    "nats: kill -9": Kind("nats", kill_nats),
    "nats: connections cut": Kind("nats way", cut_nats),
    "nats: half closed": Kind("nats way", half_close_nats),
    "nats: slow": Kind("nats way", mode("nats", Mode.SLOW)),
    "nats: silent": Kind("nats way", mode("nats", Mode.HANG)),
    "nats: answers lost": Kind("nats way", mode("nats", Mode.DEAF, then_cut=True)),
    "nats: refuses": Kind("nats way", mode("nats", Mode.REFUSE)),
    "nats: away, spool too old": Kind("nats way", outlast_spool),
    "s3: kill -9": Kind("s3", kill_s3),
    "s3: restart": Kind("s3", restart_s3),
    "s3: connections cut": Kind("s3 way", cut_s3),
    "s3: slow": Kind("s3 way", mode("s3", Mode.SLOW)),
    "s3: silent": Kind("s3 way", mode("s3", Mode.HANG)),
    "s3: answers 503": Kind("s3 way", mode("s3", Mode.BUSY)),
    "s3: cut mid-upload": Kind("s3 way", mode("s3", Mode.CUT_UPLOAD)),
    "s3: stored, answer lost": Kind("s3 way", mode("s3", Mode.LOSE_ANSWER)),
    "batches published again": Kind("nats", publish_again),
    "consumer deleted": Kind("nats", delete_consumer),
    "consumer rewound": Kind("nats", rewind_consumer),
}


def possible(stand: Stand) -> list[str]:
    """Return the kinds of faults that can be had on this machine, with this stand."""
    needs = {
        "collector: disk full": stand.has_small_disks,
        "exporter: kill -9": stand.exporter is not None,
        "ring: overflows": stand.wire is not None,
        "nats: away, spool too old": stand.wire is not None,
    }
    return [kind for kind in KINDS if needs.get(kind, True)]
