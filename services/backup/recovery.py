"""Where a lane goes on: behind the object of its shard that reaches furthest. The name is the commit.

The lease's record names the last objects, which saves listing a bucket of a year. Objects are looked for beyond it all
the same, in the partitions from its date on: a record that went back in time (a server that lost its last writes) would
otherwise make what is stored come again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from streamgauge import footers, objects
from streamgauge.errors import PayloadError, StoreError
from streamgauge.objects import ObjectName, Predecessor, SeenState

if TYPE_CHECKING:
    from services.backup.writer import Place
    from streamgauge.leases import Record, Span
    from streamgauge.objects import ObjectKind
    from streamgauge.store import Store, StoredObject

Listing = dict[ObjectName, "StoredObject"]


class Position(NamedTuple):
    """Where a lane goes on."""

    #: The object of this stream that reaches furthest.
    committed: ObjectName | None
    previous: Predecessor | None
    seen: SeenState
    #: An object that was under way and is not there: it is made again, under the same name.
    unfinished: Span | None


class Catalogue:
    """Lists the bucket once for all lanes of a process, and only as far back as they need."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._days: dict[str, asyncio.Task[list[StoredObject]]] = {}

    async def since(self, kind: ObjectKind, date: str = "") -> Listing:
        """Return the objects of a kind in the partitions from a date on (all by default).

        Raises:
            StoreError: the bucket cannot be listed.

        """
        folders = await self._store.folders(objects.prefix(kind))
        wanted = [folder for folder in folders if folder >= f"{objects.prefix(kind)}date={date}"]
        for folder in wanted:
            if folder not in self._days:
                self._days[folder] = asyncio.ensure_future(self._store.list_all(folder))
        found = await asyncio.gather(*(self._days[folder] for folder in wanted))
        named = ((ObjectName.parse(stored.key), stored) for day in found for stored in day)
        return {name: stored for name, stored in named if name is not None}


async def recover(store: Store, catalogue: Catalogue, place: Place, record: Record) -> Position:
    """Return where a lane goes on.

    Raises:
        StoreError: the newest object cannot be read: it was damaged by someone, and going on would store twice.

    """
    known = await _in_bucket(store, record)
    listing = await catalogue.since(place.kind, "" if known is None else known.hour.strftime("%Y-%m-%d"))
    newest = objects.newest(listing, kind=place.kind, shard=place.shard)
    committed = newest.get(place.incarnation)
    if committed is None:
        return Position(None, None, await _inherited(store, listing, place), record.intent)
    stored = listing[committed]
    manifest = (await _footer(store, stored)).manifest
    unfinished = record.intent if record.intent is not None and record.intent.first > committed.last else None
    previous = Predecessor(stored.key, stored.size, stored.etag, manifest.rows, manifest.packets)
    return Position(committed, previous, manifest.seen, unfinished)


async def _in_bucket(store: Store, record: Record) -> ObjectName | None:
    """Return the newest object of the record that is in the bucket."""
    for span in (record.intent, record.committed):
        if span is not None and await store.stat(span.key) is not None:
            return ObjectName.parse(span.key)
    return None


async def _inherited(store: Store, listing: Listing, place: Place) -> SeenState:
    """Return what was seen before this stream was created: its batches may be published again into the new one.

    Another number of shards puts a node into another shard, so all shards of the stream before count.
    """
    seen: SeenState = {}
    if place.kind != "summaries":
        return seen
    before = max((name.incarnation for name in listing if name.incarnation != place.incarnation), default=None)
    if before is None:
        return seen
    for shard in sorted({name.shard for name in listing if name.incarnation == before}, key=str):
        name = objects.newest(listing, kind=place.kind, shard=shard)[before]
        objects.merge(seen, (await _footer(store, listing[name])).manifest.seen)
    return seen


async def _footer(store: Store, stored: StoredObject) -> footers.Footer:
    try:
        return await footers.read(store, stored)
    except PayloadError as error:
        raise StoreError(
            f"{stored.key} is the newest object of its shard and its footer cannot be read ({error}); "
            "put the object back or move it away: what it held is stored again as far as the stream keeps it"
        ) from error
