"""The restore drill: brings a random window back into a scratch file, reads that again, and compares its totals.

What is compared with is found another way: of objects wholly inside the window by their footers, of the others by
counting their rows one by one. A backup that was never restored is a hope.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from nats.js.errors import APIError, KeyNotFoundError

from streamgauge import leases, objects
from streamgauge.errors import BusError, StoreError
from streamgauge.objects import ObjectName
from streamgauge.restore.outputs import Parquet, span, totals
from streamgauge.restore.plan import Plan, Selection, make_plan
from streamgauge.restore.read import read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.js.kv import KeyValue

    from streamgauge.bus import Bus
    from streamgauge.store import Store

#: Key under which the outcome of the last drill lies beside the notes of the backup, which shows it as a metric.
NOTE: Final = "drill"

Totals = dict[str, tuple[int, int, int]]


@dataclass(slots=True)
class Outcome:
    """What a drill found."""

    since: int
    until: int
    objects: int
    rows: int
    packets: int
    seconds: float
    #: Sentences; empty when what came back is what was stored.
    differences: list[str]

    @property
    def good(self) -> bool:
        """Whether the window came back whole."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """Return the outcome."""
        return {name: getattr(self, name) for name in self.__slots__} | {"good": self.good}


async def run(store: Store, scratch: Path, *, length: float, seed: int | None = None) -> Outcome:
    """Restore a random window of ``length`` seconds into a file in ``scratch`` and compare.

    Raises:
        StoreError: the bucket holds nothing, or cannot be read.

    """
    began = time.monotonic()
    selection = await _choose(store, int(length * 1e9), random.Random(seed))  # noqa: S311 no secret
    plan = await make_plan(store, selection)
    path = scratch / "drill.parquet"
    await _restore(store, plan, path)
    found, first, last, ordered = await asyncio.to_thread(_read_back, path)
    wanted, differences = await _count(store, plan)
    differences += [
        f"node {node}: {found.get(node, (0, 0, 0))} came back instead of {wanted.get(node, (0, 0, 0))} "
        "(rows, packets, bytes)"
        for node in sorted(set(found) | set(wanted))
        if found.get(node) != wanted.get(node)
    ]
    if found and not (selection.since <= first and last < selection.until):
        differences.append("rows outside the window came back")
    if not ordered:
        differences.append("the rows are not in time order")
    return Outcome(
        since=selection.since,
        until=selection.until,
        objects=len(plan.parts),
        rows=sum(rows for rows, _, _ in found.values()),
        packets=sum(packets for _, packets, _ in found.values()),
        seconds=time.monotonic() - began,
        differences=differences,
    )


async def _choose(store: Store, length: int, chance: random.Random) -> Selection:
    """Return a window that begins at a random place of a random object."""
    async for name in _objects(store, chance):
        hour = int(name.hour.timestamp()) * 10**9
        around = await make_plan(store, Selection(hour, hour + 3600 * 10**9))
        if around.parts:  # else it has no rows
            part = chance.choice(around.parts)
            since = chance.randint(part.first, part.last)
            return Selection(since, since + length)
    raise StoreError(f"bucket {store.bucket} holds no summaries: there is nothing to restore")


async def _objects(store: Store, chance: random.Random) -> AsyncIterator[ObjectName]:
    """Yield all objects, days and objects of a day at random; folders that hold nothing (any more) are passed over."""
    folders = [folder for folder in await store.folders(objects.prefix("summaries")) if objects.folder_day(folder)]
    for folder in chance.sample(folders, k=len(folders)):
        named = [ObjectName.parse(stored.key) for stored in await store.list_all(folder)]
        ours = [name for name in named if name is not None]
        for name in chance.sample(ours, k=len(ours)):
            yield name


async def _restore(store: Store, plan: Plan, path: Path) -> None:
    handle = await asyncio.to_thread(path.open, "wb")
    with handle:
        output = Parquet(handle)
        try:
            async for rows in read(store, plan):
                await asyncio.to_thread(output.write, rows)
            await asyncio.to_thread(output.close)
        except BaseException:
            output.abandon()
            raise


def _read_back(path: Path) -> tuple[Totals, int, int, bool]:
    table = pq.read_table(path, columns=["time", "node", "packets", "bytes"])
    times = table["time"].cast(pa.int64()).to_numpy()
    return totals(table), *span(table), bool((times[1:] >= times[:-1]).all())


async def _count(store: Store, plan: Plan) -> tuple[Totals, list[str]]:
    """Return what should come back, and what is wrong with objects by themselves."""
    counted: Totals = {}
    wrong: list[str] = []

    def add(node: str, rows: int, packets: int, size: int) -> None:
        before = counted.get(node, (0, 0, 0))
        counted[node] = (before[0] + rows, before[1] + packets, before[2] + size)

    for part in plan.parts:
        if plan.selection.since <= part.first and part.last < plan.selection.until:
            for share in part.manifest.shares:
                add(share.node, share.rows, share.packets, share.bytes)
            continue
        data = await store.get(part.stored.key)
        table = pq.read_table(pa.BufferReader(data), columns=["time", "node", "packets", "bytes"])
        if len(table) != part.manifest.rows:
            wrong.append(f"{part.stored.key} has {len(table)} rows, its footer says {part.manifest.rows}")
        for node, numbers in (await asyncio.to_thread(_count_inside, table, plan.selection)).items():
            add(node, *numbers)
    return counted, wrong


def _count_inside(table: pa.Table, selection: Selection) -> Totals:
    """Count the rows of an object that lie in the window with plain Python, as the slow twin of the restore."""
    times = table["time"].cast(pa.int64()).to_pylist()
    columns = (table[name].to_pylist() for name in ("node", "packets", "bytes"))
    counted: Totals = {}
    for when, node, packets, size in zip(times, *columns, strict=True):
        if selection.since <= when < selection.until:
            before = counted.get(node, (0, 0, 0))
            counted[node] = (before[0] + 1, before[1] + packets, before[2] + size)
    return counted


def metrics_page(outcome: Outcome, now: float) -> str:
    """Return a page for the textfile collector of node_exporter, or a push gateway."""
    lines = [
        "# HELP streamgauge_restore_last_verified_timestamp_seconds When a restore drill was last good, Unix time.",
        "# TYPE streamgauge_restore_last_verified_timestamp_seconds gauge",
    ]
    if outcome.good:
        lines.append(f"streamgauge_restore_last_verified_timestamp_seconds {now:.3f}")
    return "\n".join(lines) + "\n"


async def publish(bus: Bus, stream: str, outcome: Outcome) -> None:
    """Leave the time of a good drill where the backup finds it and shows it as a metric.

    Raises:
        BusError: the note cannot be left.

    """
    if not outcome.good:
        return
    try:
        notes = await bus.jetstream.key_value(leases.bucket_name(stream))
        await notes.put(NOTE, orjson.dumps({"verified": time.time(), **outcome.to_json()}))
    except (APIError, nats.errors.Error, TimeoutError, OSError) as error:
        raise BusError(
            f"the drill was good, but key-value bucket {leases.bucket_name(stream)} does not take its note: {error}; "
            "the metric streamgauge_restore_last_verified_timestamp_seconds stays as it was"
        ) from error


async def last_verified(notes: KeyValue) -> float:
    """Return when a drill was last good, Unix time; 0 for never, and for a note that nobody can read."""
    try:
        entry = await notes.get(NOTE)
    except KeyNotFoundError:
        return 0.0
    try:
        return float(orjson.loads(entry.value or b"")["verified"])
    except (ValueError, TypeError, KeyError):
        return 0.0
