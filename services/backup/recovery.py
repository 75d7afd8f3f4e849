"""Where a lane goes on: behind the object of its shard that reaches furthest. The name is the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamgauge import footers, objects
from streamgauge.errors import PayloadError, StoreError
from streamgauge.objects import ObjectName, Predecessor, Seen, SeenState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.backup.writer import Place
    from streamgauge.store import Store, StoredObject

Listing = dict[ObjectName, "StoredObject"]


class Position(NamedTuple):
    """What storage knows of a lane."""

    #: Highest stream sequence that is stored; 0 for none of this stream.
    committed: int
    seen: SeenState
    previous: Predecessor | None


async def list_objects(store: Store, kinds: tuple[objects.ObjectKind, ...] = objects.KINDS) -> Listing:
    """Return all objects of ours by their names.

    Raises:
        StoreError: the bucket cannot be listed.

    """
    found: Listing = {}
    for kind in kinds:
        for stored in await store.list_all(objects.prefix(kind)):
            name = ObjectName.parse(stored.key)
            if name is not None:
                found[name] = stored
    return found


async def recover(store: Store, listing: Mapping[ObjectName, StoredObject], place: Place) -> Position:
    """Return where a lane goes on.

    Raises:
        StoreError: the newest object cannot be read: it was damaged by someone, and going on would store twice.

    """
    newest = objects.newest(listing, kind=place.kind, shard=place.shard)
    current = newest.get(place.incarnation)
    if current is None:
        return Position(0, await _inherited(store, listing, place), None)
    stored = listing[current]
    manifest = (await _footer(store, stored)).manifest
    return Position(current.last, manifest.seen, Predecessor(stored.key, stored.size, stored.etag))


async def _inherited(store: Store, listing: Mapping[ObjectName, StoredObject], place: Place) -> SeenState:
    """Return what was seen before this stream was created: its batches may be published again into the new one.

    Another number of shards puts a node into another shard, so all shards of the stream before count.
    """
    if place.kind != "summaries":
        return {}
    before = [name.incarnation for name in listing if name.kind == place.kind]
    seen: SeenState = {}
    if not before:
        return seen
    for shard in {name.shard for name in listing if name.incarnation == max(before)}:
        name = objects.newest(listing, kind=place.kind, shard=shard).get(max(before))
        if name is not None:
            merge(seen, (await _footer(store, listing[name])).manifest.seen)
    return seen


def merge(seen: SeenState, other: SeenState) -> None:
    """Add what another footer has seen."""
    for who, found in other.items():
        mine = seen.setdefault(who, Seen(found.sequences.copy(), found.stored))
        mine.sequences.update(found.sequences)
        mine.stored = max(mine.stored, found.stored)


async def _footer(store: Store, stored: StoredObject) -> footers.Footer:
    try:
        return await footers.read(store, stored)
    except PayloadError as error:
        raise StoreError(
            f"{stored.key} is the newest object of its shard and its footer cannot be read ({error}); "
            "put the object back or move it away: what it held is stored again as far as the stream keeps it"
        ) from error
