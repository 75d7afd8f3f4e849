"""Publishes restored rows again, under ``replay.v1.<node>.<class>``, as fast as wanted and from where it stopped.

A consumer of live summaries reads a replay alike: same payload, same headers; node, class, interface as they were. The
boot says that it is a replay and of what.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import nats.errors
import pyarrow as pa
import pyarrow.compute as pc

from streamgauge import codec, schema, subjects
from streamgauge.errors import BusError, ConfigurationError
from streamgauge.restore.read import read
from streamgauge.restore.wire import Batch, batches
from streamgauge.subjects import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamgauge.bus import Bus
    from streamgauge.restore.plan import Plan
    from streamgauge.schema import TrafficClass
    from streamgauge.store import Store

#: Batches between two notes of how far it is; each is flushed to the server first.
_NOTE_EVERY: Final = 64
#: Seconds the server may take until it has what was published.
_FLUSH_TIMEOUT: Final = 30


@dataclass(slots=True)
class Progress:
    """How far a replay is."""

    batches: int = 0
    rows: int = 0
    packets: int = 0
    #: Batches that an earlier run published.
    skipped: int = 0


class Replay:
    """One replay of a plan."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        plan: Plan,
        *,
        rate: float | None,
        resume: Path | None,
        told: Callable[[int], None],
    ) -> None:
        """Prepare.

        Args:
            bus: the connection, started.
            store: the bucket.
            plan: what is replayed.
            rate: how many times faster than it was captured; None: as fast as it goes.
            resume: file that remembers how far it is; a run with the same plan goes on from there.
            told: is told of rows published.

        """
        self._bus = bus
        self._store = store
        self._plan = plan
        self._rate = rate
        self._resume = resume
        self._told = told
        self._boot = f"replay-{plan.digest[:12]}"
        self._sequences: dict[str, int] = {}
        self._class_totals: dict[tuple[str, TrafficClass], tuple[int, int]] = {}
        self._begun: tuple[float, int] | None = None
        self._disconnects = bus.disconnects
        self.progress = Progress()

    async def run(self) -> Progress:
        """Publish all; return what was done.

        Raises:
            BusError: NATS went away for good.
            StoreError: an object cannot be read.
            ConfigurationError: the file to resume from belongs to another replay.

        """
        done = self._done_before()
        async for rows in read(self._store, self._plan):
            for batch in batches(rows):
                envelope = self._envelope(batch)
                if self.progress.skipped < done:
                    self.progress.skipped += 1
                    continue
                await self._publish(batch, envelope)
        await self._note()
        return self.progress

    def _done_before(self) -> int:
        if self._resume is None or not self._resume.exists():
            return 0
        try:
            noted = json.loads(self._resume.read_text())
            plan, done = noted["plan"], int(noted["batches"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{self._resume} is no note of a replay; name another file") from error
        if plan != self._plan.digest:
            raise ConfigurationError(
                f"{self._resume} belongs to another replay (other window, or other objects since); name another file"
            )
        return done

    async def _publish(self, batch: Batch, envelope: Envelope) -> None:
        await self._wait_for(envelope.first_time)
        subject = f"replay.v{schema.VERSION}.{subjects.node_token(batch.node)}.{batch.traffic_class.token}"
        payload = await asyncio.to_thread(codec.encode, batch.rows)
        try:
            await self._bus.client.publish(subject, payload, headers=envelope.headers())
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise self._stopped(str(error) or type(error).__name__) from error
        self.progress.batches += 1
        self.progress.rows += envelope.rows
        self.progress.packets += envelope.packets
        self._told(envelope.rows)
        if self.progress.batches % _NOTE_EVERY == 0:
            await self._note()

    def _stopped(self, reason: str) -> BusError:
        on = f"the same command goes on from {self._resume}" if self._resume else "--resume FILE lets one go on"
        return BusError(f"the replay stopped after {self.progress.batches} batches: {reason}; {on}")

    async def _note(self) -> None:
        """Note how far it is, once the server has all of it.

        Raises:
            BusError: the connection was interrupted since the replay began, and what was on its way may be lost.

        """
        try:
            await self._bus.client.flush(timeout=_FLUSH_TIMEOUT)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise self._stopped(str(error) or type(error).__name__) from error
        if self._bus.disconnects != self._disconnects:
            raise self._stopped("the connection was interrupted, and what was on its way then may be lost")
        if self._resume is not None:
            noted = {"plan": self._plan.digest, "batches": self.progress.skipped + self.progress.batches}
            part = self._resume.with_name(self._resume.name + ".part")
            part.write_text(json.dumps(noted))
            part.replace(self._resume)

    async def _wait_for(self, captured: int) -> None:
        """Wait until a capture time is due."""
        if self._rate is None:
            return
        if self._begun is None:
            self._begun = (time.monotonic(), captured)
        begun, first = self._begun
        due = begun + (captured - first) / 1e9 / self._rate
        if due > time.monotonic():
            await asyncio.sleep(due - time.monotonic())

    def _envelope(self, batch: Batch) -> Envelope:
        sequence = self._sequences[batch.node] = self._sequences.get(batch.node, 0) + 1
        ends = pc.min_max(batch.rows.column("time").view(pa.int64())).as_py()
        packets = pc.sum(batch.rows.column("packets")).as_py() or 0
        count, total = self._class_totals.get((batch.node, batch.traffic_class), (0, 0))
        self._class_totals[batch.node, batch.traffic_class] = count + 1, total + packets
        return Envelope(
            node=batch.node,
            boot=self._boot,
            sequence=sequence,
            interface=batch.interface,
            observation_point=batch.observation_point,
            rows=len(batch.rows),
            packets=packets,
            bytes=pc.sum(batch.rows.column("bytes")).as_py() or 0,
            first_time=ends["min"],
            last_time=ends["max"],
            class_sequence=count + 1,
            class_packets=total + packets,
        )
