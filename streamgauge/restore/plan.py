"""Which objects hold something of a window, in the order of their first packet."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from streamgauge import footers, objects
from streamgauge.errors import PayloadError, StoreError
from streamgauge.objects import ObjectName
from streamgauge.ranges import RangeSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamgauge.objects import Manifest
    from streamgauge.store import Store, StoredObject

#: Footers read at the same time.
_CONCURRENCY: Final = 32
_LATEST: Final = (1 << 63) - 1
#: An object lies in the partition of its first packet. Batches that waited in a spool make one that reaches further.
REACH: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for; times are ns UTC, by the clock of capture."""

    since: int = 0
    until: int = _LATEST
    #: None: all nodes.
    node: str | None = None
    #: How long before the window an object may begin and still reach into it.
    reach: timedelta = REACH

    def meets(self, first: int, last: int) -> bool:
        """Return whether a stretch of time overlaps the window."""
        return first < self.until and last >= self.since


class Part(NamedTuple):
    """One object of a plan."""

    stored: StoredObject
    manifest: Manifest
    #: ns UTC of its first and last packet.
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The objects that hold something of a selection."""

    selection: Selection
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of all objects: at least as many as come out."""
        return sum(part.manifest.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of all objects."""
        return sum(part.stored.size for part in self.parts)

    @property
    def digest(self) -> str:
        """A mark of exactly these objects and this selection: work that was interrupted goes on only with the same."""
        chosen = self.selection
        names = [f"{part.stored.key} {part.stored.etag}" for part in self.parts]
        return hashlib.sha256("\n".join([f"{chosen.since} {chosen.until} {chosen.node}", *names]).encode()).hexdigest()


async def make_plan(store: Store, selection: Selection, progress: Callable[[int], None] = lambda _count: None) -> Plan:
    """Return the objects that hold something of a selection, found by partition and footer.

    Raises:
        StoreError: the bucket cannot be read, or an object is none of ours.

    """
    prefix = objects.prefix("summaries")
    folders = [folder for folder in await store.folders(prefix) if _may_reach(folder, selection, timedelta(days=1))]
    listed = [stored for day in await asyncio.gather(*map(store.list_all, folders)) for stored in day]
    gate = asyncio.Semaphore(_CONCURRENCY)

    async def look(stored: StoredObject) -> Part | None:
        async with gate:
            part = await _part(store, stored)
            progress(1)
            if part is None:
                return None
            chosen = selection.node is None or any(share.node == selection.node for share in part.manifest.shares)
            return part if chosen and selection.meets(part.first, part.last) else None

    wanted = [stored for stored in listed if _hour_may_reach(stored, selection)]
    parts = [part for part in await asyncio.gather(*map(look, wanted)) if part is not None]
    return Plan(selection, tuple(sorted(_without_copies(parts), key=lambda part: (part.first, part.stored.key))))


def _without_copies(parts: list[Part]) -> Iterator[Part]:
    """Leave out objects whose batches are all in others: someone copied them, and rows come back once."""
    taken: dict[tuple[str, str], RangeSet] = {}
    # The largest first: what was made of several stays, and its pieces go.
    for part in sorted(parts, key=lambda part: (-part.manifest.rows, part.stored.key)):
        shares = part.manifest.shares
        fresh = (share.sequences.minus(taken.get((share.node, share.boot), RangeSet())) for share in shares)
        if any(map(len, fresh)) or not any(len(share.sequences) for share in shares):
            yield part
        for share in shares:
            taken.setdefault((share.node, share.boot), RangeSet()).update(share.sequences)


def _may_reach(folder: str, selection: Selection, length: timedelta) -> bool:
    day = objects.folder_day(folder)
    return day is not None and selection.meets(_ns(day), _ns(day + length + selection.reach))


def _hour_may_reach(stored: StoredObject, selection: Selection) -> bool:
    name = ObjectName.parse(stored.key)
    if name is None:
        return False
    return selection.meets(_ns(name.hour), _ns(name.hour + timedelta(hours=1) + selection.reach))


def _ns(when: datetime) -> int:
    return int(when.timestamp()) * 10**9


async def _part(store: Store, stored: StoredObject) -> Part | None:
    """Return an object; None when it has no rows (all it covers is in quarantine, or was stored before)."""
    try:
        manifest = (await footers.read(store, stored)).manifest
    except PayloadError as error:
        raise StoreError(f"{stored.key}: {error}; `streamgauge audit` tells what it held") from error
    shares = [share for share in manifest.shares if share.rows]
    if not shares:
        return None
    return Part(stored, manifest, min(share.first_time for share in shares), max(share.last_time for share in shares))
