"""Where objects are read from: the bucket, or a folder with the same keys below it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from streamgauge.errors import ConfigurationError, StoreError
from streamgauge.store import StoredObject

if TYPE_CHECKING:
    from pathlib import Path

    from streamgauge.store import Store


class Place(Protocol):
    """What a query asks of the place the objects lie in."""

    async def folders(self, prefix: str) -> list[str]:
        """Return the folders right below a prefix, each with its closing slash."""

    async def list_all(self, prefix: str) -> list[StoredObject]:
        """Return all objects below a prefix, in the order of their keys."""

    async def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        """Return an object, or ``length`` bytes of it from ``offset``."""

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Return a stretch of an object; called from the threads of DuckDB."""


class Bucket:
    """The bucket, through the client that every part uses; the store is started by whoever owns it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.folders = store.folders
        self.list_all = store.list_all
        self.get = store.get

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Return a stretch of an object.

        Raises:
            StoreError: it cannot be read.

        """
        client, bucket = self._store.client, self._store.bucket

        def fetch() -> bytes:
            response = client.get_object(bucket, key, offset=offset, length=length)
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

        return self._store.call(f"read {key} from bucket {bucket}", fetch)


#: Kinds of objects a folder may begin with.
_ROOTS: Final = ("summaries", "ledger", "identity")


class Folder:
    """A local folder that holds ``summaries/v1/date=…``: a copy of a bucket, or a part of one."""

    def __init__(self, folder: Path) -> None:
        """Take the folder that holds the kinds of objects.

        Raises:
            ConfigurationError: there is no such folder, or it holds none of them.

        """
        if not folder.is_dir():
            raise ConfigurationError(f"--path {folder}: no such folder")
        if not any((folder / root).is_dir() for root in _ROOTS):
            raise ConfigurationError(
                f"--path {folder} holds none of the folders {', '.join(_ROOTS)}; name the folder above them"
            )
        self.folder = folder

    async def folders(self, prefix: str) -> list[str]:
        """Return the folders right below a prefix, each with its closing slash."""
        base = self.folder / prefix
        if not base.is_dir():
            return []
        return sorted(f"{prefix}{entry.name}/" for entry in base.iterdir() if entry.is_dir())

    async def list_all(self, prefix: str) -> list[StoredObject]:
        """Return all objects below a prefix, in the order of their keys."""
        return await asyncio.to_thread(self._list, prefix)

    def _list(self, prefix: str) -> list[StoredObject]:
        found = []
        for path in sorted((self.folder / prefix).rglob("*.parquet")):
            state = path.stat()
            key = path.relative_to(self.folder).as_posix()
            found.append(StoredObject(key, state.st_size, "", datetime.fromtimestamp(state.st_mtime, UTC)))
        return found

    async def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        """Return an object, or ``length`` bytes of it from ``offset``."""
        return self.read(key, offset, length or -1)

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Return a stretch of an object.

        Raises:
            StoreError: it cannot be read.

        """
        try:
            with (self.folder / key).open("rb", buffering=0) as handle:
                handle.seek(offset)
                return handle.read(length)
        except OSError as error:
            raise StoreError(f"cannot read {self.folder / key}: {error.strerror}") from error
