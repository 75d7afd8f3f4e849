"""Reads footers from the bucket: two small range reads an object at most, however large it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from streamgauge.errors import PayloadError
from streamgauge.objects import FOOTER_GUESS, Manifest, footer_length, read_footer

if TYPE_CHECKING:
    from streamgauge.store import StoredObject


class Readable(Protocol):
    """Where objects are: the store, or a folder of objects."""

    async def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        """Return an object, or ``length`` bytes of it from ``offset``."""


class Footer(NamedTuple):
    """What the end of an object says."""

    manifest: Manifest
    #: Rows by Parquet's own count, independent of the manifest.
    rows: int
    #: Names of its columns: an older version of ours had fewer.
    columns: tuple[str, ...] = ()


async def read(store: Readable, stored: StoredObject) -> Footer:
    """Return the footer of an object.

    Raises:
        PayloadError: the object is no Parquet file of ours, or damaged.
        StoreError: it cannot be read.

    """
    guess = min(FOOTER_GUESS, stored.size)
    if guess == 0:
        raise PayloadError("the object is empty")
    tail = await store.get(stored.key, stored.size - guess, guess)
    length = footer_length(tail)
    if length > len(tail):
        if length > stored.size:
            raise PayloadError(f"the footer says it takes {length} bytes of {stored.size}")
        tail = await store.get(stored.key, stored.size - length, length)
    footer = read_footer(tail)
    return Footer(Manifest.from_metadata(footer.metadata), footer.num_rows, tuple(footer.schema.names))
