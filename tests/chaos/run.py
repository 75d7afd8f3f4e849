"""One run: faults by a schedule that the seed decides, then the end of all faults, the drain, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError

from streamgauge.bus import Bus
from streamgauge.errors import StreamgaugeError
from streamgauge.lifecycle import Failure, cancel, spawn
from tests.chaos import evidence, oracle
from tests.chaos.faults import KINDS, Context
from tests.chaos.stand import SHARDS, Options, Stand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.chaos.oracle import Verdict
    from tests.chaos.worker import Worker

#: Seconds until the first batches must be in the stream; kernels may have to be compiled.
START_TIMEOUT: Final = 300.0
#: Seconds everything may take to come to rest once nothing is broken any more.
_DRAIN_TIMEOUT: Final = 240.0
#: Seconds a fault may take to be undone: a server that starts, a backup that stores what it has.
_UNDO_TIMEOUT: Final = 120.0
#: Seconds between two faults, and how long one lasts.
_PAUSE, _LASTS = (0.2, 2.5), (0.3, 4.0)
_POLL: Final = 0.2


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the schedule."""

    kind: str
    #: Seconds after the one before, and how long it lasts.
    pause: float
    lasts: float
    #: Of its own chance: which process, how much.
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    injected: Counter[str]
    ended: Counter[str]
    verdict: Verdict


class UnfinishedError(Exception):
    """The run did not come to its end; says what was waited for."""


def schedule(seed: int, count: int, kinds: Sequence[str]) -> list[Fault]:
    """Return ``count`` faults: each kind once in random order, then again, so that even a short run has them all."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    while len(faults) < count:
        faults += (
            Fault(kind, chance.uniform(*_PAUSE), chance.uniform(*_LASTS), chance.getrandbits(32))
            for kind in chance.sample(list(kinds), k=len(kinds))
        )
    return faults[:count]


async def run(
    folder: Path,
    faults: Callable[[Stand], Sequence[Fault]],
    options: Options,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run and judge; ``tell`` hears of each fault.

    Raises:
        UnfinishedError: something did not come back, or did not come to rest, in time.

    """
    stand = Stand(folder, options)
    try:
        await stand.start()
        await until(
            lambda: is_publishing(stand),
            START_TIMEOUT,
            "batches of every node in the stream, and a backup that reads them",
        )
        injected = await _inject(stand, faults(stand), tell)
        tell("no more faults; draining")
        await drain(stand)
        tell("reading everything back")
        found = await evidence.collect(stand)
    finally:
        await stand.close()
    return Outcome(injected, stand.ended, oracle.judge(found))


async def _inject(stand: Stand, faults: Sequence[Fault], tell: Callable[[str], None]) -> Counter[str]:
    held = {kind.holds: asyncio.Lock() for kind in KINDS.values()}
    failure, injected = Failure(), Counter[str]()
    started = asyncio.get_running_loop().time()

    async def inject(fault: Fault, lock: asyncio.Lock) -> None:
        try:
            context = Context(stand, random.Random(fault.seed), fault.lasts)
            async with asyncio.timeout(_UNDO_TIMEOUT):
                await KINDS[fault.kind].inject(context)
        finally:
            lock.release()

    tasks = []
    for number, fault in enumerate(faults, 1):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fault.pause):
                await failure.wait()
        # What is broken already is waited for, so that the order of the faults is that of the seed.
        lock = held[KINDS[fault.kind].holds]
        async with asyncio.timeout(_UNDO_TIMEOUT):
            await lock.acquire()
        if failure.error is not None:
            break
        seconds = asyncio.get_running_loop().time() - started
        tell(f"{seconds:7.1f} s  {number:4}  {fault.kind}")
        tasks.append(spawn(inject(fault, lock), name=fault.kind, failure=failure))
        injected[fault.kind] += 1
    try:
        await asyncio.gather(*tasks)
    except (TimeoutError, StreamgaugeError) as error:
        raise UnfinishedError(f"a fault could not be undone: {error!r}") from error
    finally:
        for task in tasks:
            await cancel(task)
    return injected


async def drain(stand: Stand) -> None:
    """Let every spool and the stream run empty, then end everything in order."""
    stand.take_note(stand.collectors)
    # Live traffic goes on while the collector ends: what it has not read is none of its packets.
    await asyncio.gather(*(worker.stop() for worker in stand.collectors))
    if stand.wire is not None:
        await stand.wire.pause()
    stand.collectors = stand.closing_collectors()
    for worker in stand.collectors:
        worker.start()
    # All at once: none that is done is to be started again meanwhile.
    await asyncio.gather(*(_ended_well(worker) for worker in stand.collectors))
    await until(lambda: _is_stored(stand), _DRAIN_TIMEOUT, "the backups to store the whole stream")
    stand.take_note(stand.backups)
    for status in await asyncio.gather(*(worker.stop() for worker in stand.backups)):
        if status != 0:
            raise UnfinishedError(f"a backup ended with status {status}: {stand.backups[0].last_words()}")


async def _ended_well(worker: Worker) -> None:
    try:
        async with asyncio.timeout(_DRAIN_TIMEOUT):
            status = await worker.finished()
    except TimeoutError as error:
        raise UnfinishedError(f"{worker.name} does not get rid of its spool: {worker.last_words()}") from error
    if status != 0:
        raise UnfinishedError(f"{worker.name} ended with status {status}: {worker.last_words()}")


async def is_publishing(stand: Stand) -> bool:
    """Return whether every node has a batch in the stream, and somebody reads each shard."""
    bus = Bus(stand.nats_settings, "chaos")
    try:
        await bus.start()
        info = await bus.jetstream.stream_info(stand.nats_settings.stream, subjects_filter="traffic.>")
        consumers = await bus.jetstream.consumers_info(stand.nats_settings.stream)
        return len(info.state.subjects or {}) >= len(stand.collectors) and len(consumers) >= SHARDS
    except (NatsError, StreamgaugeError, TimeoutError):
        return False
    finally:
        await bus.stop()


async def _is_stored(stand: Stand) -> bool:
    bus = Bus(stand.nats_settings, "chaos")
    try:
        await bus.start()
        consumers = await bus.jetstream.consumers_info(stand.nats_settings.stream)
        return all(info.num_pending == 0 and info.num_ack_pending == 0 for info in consumers)
    except (NatsError, StreamgaugeError, TimeoutError):
        return False
    finally:
        await bus.stop()


async def until(probe: Callable[[], Awaitable[bool]], within: float, what: str) -> None:
    """Ask until it is true.

    Raises:
        UnfinishedError: it is not within so many seconds; says what was waited for.

    """
    try:
        async with asyncio.timeout(within):
            while not await probe():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL):
                        await asyncio.Event().wait()
    except TimeoutError as error:
        raise UnfinishedError(f"waited {within:.0f} s for {what}") from error
