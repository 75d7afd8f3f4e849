"""Which objects a window needs: by partition, by when they were stored, by footer; and no row of them twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from streamgauge import footers, objects
from streamgauge.errors import PayloadError, StoreError
from streamgauge.objects import ObjectName
from streamgauge.ranges import RangeSet, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamgauge.objects import ObjectKind, Share
    from streamgauge.query.places import Place
    from streamgauge.store import StoredObject

#: Footers read at the same time.
_CONCURRENCY: Final = 32
#: An object lies in the partition of its first packet. One that begins so long before the window may still reach into
#: it: batches that waited in a spool are stored together with new ones.
REACH: Final = timedelta(days=1)
#: By how much the clock of a node may be ahead of the storage's: what was stored before the window, by more than this,
#: holds nothing of the window.
CLOCKS: Final = timedelta(hours=1)
LATEST: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of capture time, ns UTC, half open."""

    since: int = 0
    until: int = LATEST

    def meets(self, first: int, last: int) -> bool:
        """Return whether a stretch of time overlaps the window."""
        return first < self.until and last >= self.since


class Part(NamedTuple):
    """One object that is read."""

    stored: StoredObject
    name: ObjectName
    shares: tuple[Share, ...]
    #: By Parquet's own count.
    rows: int
    #: Names of its columns.
    columns: tuple[str, ...]


@dataclass(slots=True)
class Chosen:
    """The objects of one kind that are read, and what the choice came to know."""

    parts: list[Part] = field(default_factory=list)
    #: Objects in the partitions that were listed.
    listed: int = 0
    #: Sentences about rows that cannot be counted once.
    warnings: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows of all parts, within the window or not."""
        return sum(part.rows for part in self.parts)


async def choose(
    place: Place,
    kind: ObjectKind,
    window: Window,
    progress: Callable[[int], None] = lambda _count: None,
    *,
    reach: timedelta = REACH,
) -> Chosen:
    """Return the objects of one kind that hold something of a window.

    Only the days that may reach into the window are listed. Of what is listed, footers are read where neither the
    partition nor the time of storing rules the object out.

    Raises:
        StoreError: the place cannot be read, or an object is damaged.

    """
    folders = [folder for folder in await place.folders(objects.prefix(kind)) if _day_may_reach(folder, window, reach)]
    listed = [stored for day in await asyncio.gather(*map(place.list_all, folders)) for stored in day]
    gate = asyncio.Semaphore(_CONCURRENCY)

    async def look(stored: StoredObject, name: ObjectName) -> Part:
        async with gate:
            part = await _part(place, stored, name)
            progress(1)
            return part

    named = ((stored, ObjectName.parse(stored.key)) for stored in listed)
    wanted = [(stored, name) for stored, name in named if name and _may_reach(stored, name, window, reach)]
    parts = await asyncio.gather(*(look(stored, name) for stored, name in wanted))
    chosen = Chosen(listed=len(listed))
    chosen.parts, chosen.warnings = once([part for part in parts if _reaches(part, window)])
    return chosen


def once(parts: Iterable[Part]) -> tuple[list[Part], list[str]]:
    """Return parts of which no batch is stored in two, in the order of their keys, and what is left to be said.

    The writer stores each batch once; a copy of an object under another key, or an object made of several that are
    still there, holds what others hold, whole. Such an object is left out. What two objects share in part cannot be
    told apart by row: it is counted twice, and said.
    """
    taken: dict[tuple[str, str], RangeSet] = {}
    lanes: dict[tuple[str, int | None], RangeSet] = {}
    kept, warnings = [], []
    # The largest first: what was made of several stays, and its pieces go.
    for part in sorted(parts, key=lambda part: (-part.rows, part.stored.key)):
        batches = {(share.node, share.boot): share.sequences for share in part.shares if len(share.sequences)}
        if not batches:
            # Ledger and identity: known by their place in the stream alone.
            lane = lanes.setdefault((part.name.incarnation, part.name.shard), RangeSet())
            if not len(RangeSet([[part.name.first, part.name.last]]).minus(lane)):
                continue
            lane.add(part.name.first, part.name.last)
            kept.append(part)
            continue
        repeated = {who: found.common(taken[who]) for who, found in batches.items() if who in taken}
        repeated = {who: found for who, found in repeated.items() if len(found)}
        if sum(map(len, repeated.values())) == sum(map(len, batches.values())):
            continue
        warnings += [
            f"batches {words(found)} of node {node}, boot {boot} are stored twice, also in {part.stored.key}: their "
            "rows count twice here; `streamgauge audit` tells more"
            for (node, boot), found in repeated.items()
        ]
        for who, found in batches.items():
            taken.setdefault(who, RangeSet()).update(found)
        kept.append(part)
    return sorted(kept, key=lambda part: part.stored.key), warnings


def _day_may_reach(folder: str, window: Window, reach: timedelta) -> bool:
    try:
        day = datetime.strptime(folder.rstrip("/").rpartition("date=")[2], "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return window.meets(_ns(day), _ns(day + timedelta(days=1) + reach))


def _may_reach(stored: StoredObject, name: ObjectName, window: Window, reach: timedelta) -> bool:
    if not window.meets(_ns(name.hour), _ns(name.hour + timedelta(hours=1) + reach)):
        return False
    return stored.modified is None or _ns(stored.modified + CLOCKS) >= window.since


def _reaches(part: Part, window: Window) -> bool:
    shares = part.shares
    if not shares:
        return False
    return window.meets(min(share.first_time for share in shares), max(share.last_time for share in shares))


def _ns(when: datetime) -> int:
    return int(when.timestamp()) * 10**9


async def _part(place: Place, stored: StoredObject, name: ObjectName) -> Part:
    try:
        footer = await footers.read(place, stored)
    except PayloadError as error:
        raise StoreError(f"{stored.key}: {error}; `streamgauge audit` tells what it held") from error
    return Part(stored, name, tuple(footer.manifest.shares), footer.rows, footer.columns)
