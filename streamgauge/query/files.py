"""Objects as files of DuckDB: reads are counted, and the ends that were read for the footers are not read again.

DuckDB's own httpfs extension has to be downloaded, which a closed network does not allow, and it would not use the
client (certificate authority, time limits, error sentences) that all parts share. Scans are as quick through this:
DuckDB asks for whole column chunks, so there are few calls (docs/decisions/0010-how-query-reads.md).
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from fsspec.spec import AbstractFileSystem

if TYPE_CHECKING:
    from streamgauge.query.places import Place
    from streamgauge.store import StoredObject

PROTOCOL: Final = "streamgauge"
#: Bytes of footers kept; what does not fit is read again.
_KEPT: Final = 256 << 20
#: Objects are never changed, so any time will do.
_STORED: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Counted:
    """A place whose reads are counted and whose objects' ends are remembered."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._tails: dict[str, tuple[int, bytes]] = {}
        self._sizes: dict[str, int] = {}
        self._kept = 0
        self._lock = threading.Lock()
        self.folders = place.folders
        self.bytes = 0
        #: The first thing that went wrong: DuckDB tells of it in words of its own.
        self.error: Exception | None = None

    async def list_all(self, prefix: str) -> list[StoredObject]:
        """Return all objects below a prefix, in the order of their keys."""
        listed = await self._place.list_all(prefix)
        self._sizes.update((stored.key, stored.size) for stored in listed)
        return listed

    async def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        """Return an object, or ``length`` bytes of it from ``offset``."""
        data = await self._place.get(key, offset, length)
        self._count(len(data))
        if offset + len(data) == self._sizes.get(key) and self._kept + len(data) <= _KEPT:
            self._tails[key] = (offset, data)
            self._kept += len(data)
        return data

    def size(self, key: str) -> int:
        """Return the size of an object that was listed."""
        return self._sizes[key]

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Return a stretch of an object; called from the threads of DuckDB."""
        begin, tail = self._tails.get(key, (1 << 62, b""))
        if offset >= begin:
            return tail[offset - begin : offset - begin + length]
        try:
            data = self._place.read(key, offset, length)
        except Exception as error:
            self.error = self.error or error
            raise
        self._count(len(data))
        return data

    def _count(self, length: int) -> None:
        with self._lock:
            self.bytes += length


class Files(AbstractFileSystem):  # type: ignore[misc]
    """The file system that DuckDB sees: ``streamgauge://summaries/v1/…``."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, objects: Counted) -> None:
        super().__init__()
        self._objects = objects

    def open(self, path: str, _mode: str = "rb", **_: Any) -> _File:
        """Open an object."""
        return _File(self._objects, _key(path))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return size and type of an object."""
        return {"name": path, "size": self._objects.size(_key(path)), "type": "file"}

    def modified(self, _path: str) -> datetime:
        """Return when an object was stored."""
        return _STORED

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the one path: our keys hold no patterns."""
        return [_key(path)]

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether there is such an object."""
        try:
            self._objects.size(_key(path))
        except KeyError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Return whether it is an object."""
        return self.exists(path)

    def isdir(self, _path: str) -> bool:
        """Return False: there are only objects."""
        return False


class _File:
    """One open object, with a position of its own."""

    closed = False
    mode = "rb"

    def __init__(self, objects: Counted, key: str) -> None:
        self._objects = objects
        self._key = key
        self._position = 0

    def read(self, length: int = -1) -> bytes:
        rest = self._objects.size(self._key) - self._position
        length = rest if length < 0 else min(length, rest)
        data = self._objects.read(self._key, self._position, length) if length else b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, self._objects.size(self._key))[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is held."""


def _key(path: str) -> str:
    return path.removeprefix(f"{PROTOCOL}://")
