"""The spool of one boot: a folder of numbered files, appended to, synced, removed from the front."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

import aiofiles

from services.collector.spool_records import Kind, Location, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SUFFIX: Final = ".spool"


class BootLog:
    """Appends records and knows which file still holds messages that are needed.

    A file is removed once it is not the last and no message in it, nor in one before it, is needed: so a record that
    tells of a message's end always outlives the message.
    """

    def __init__(
        self, folder: Path, account: Callable[[], dict[str, Any]], *, segment_bytes: int, first_segment: int = 0
    ) -> None:
        """Set up a log in ``folder``; nothing is written before the first ``append``.

        Args:
            folder: The boot's own; made when it is needed.
            account: Returns the account of the boot, with which every file begins.
            segment_bytes: Length after which a file is closed.
            first_segment: Number of the first file.

        """
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._lock = asyncio.Lock()
        #: Messages that are needed, by file, in order of the files.
        self._needed: dict[int, int] = {}
        self._segment = first_segment - 1
        #: The last file with an account in it: a later one may be empty still, on a full disk.
        self._told = first_segment - 1
        self._handle: Any = None
        self._length = 0
        self._synced = True
        self._removed = False
        self._account = account

    async def append(self, records: Sequence[tuple[Kind, dict[str, Any], bytes]]) -> list[Location]:
        """Write records in one piece; return where their payloads are. A log that was removed takes no more.

        Raises:
            OSError: the disk refuses; nothing of this piece counts.

        """
        async with self._lock:
            if self._removed:
                return []
            if self._handle is None or self._length >= self._segment_bytes:
                await self._next_segment()
            chunk, locations = bytearray(), []
            if not self._length:
                chunk += pack(Kind.ACCOUNT, self._account())
            for kind, head, payload in records:
                chunk += pack(kind, head, payload)
                locations.append(Location(self._segment, self._length + len(chunk) - len(payload), len(payload)))
            await self._write(chunk)
            self._needed[self._segment] += sum(kind is Kind.MESSAGE for kind, _, _ in records)
            return locations

    async def sync(self) -> None:
        """Put everything written so far on disk.

        Raises:
            OSError: the disk refuses.

        """
        handle = self._handle
        if handle is None or self._synced:
            return
        self._synced = True
        try:
            await asyncio.to_thread(os.fdatasync, handle.fileno())
        except (OSError, ValueError):
            # Closed meanwhile by the next segment, which synced it: that is as good.
            if handle is self._handle:
                self._synced = False
                raise

    def hold(self, segment: int, messages: int) -> None:
        """Say that a file from before the start holds messages that are needed."""
        self._needed[segment] = self._needed.get(segment, 0) + messages

    async def release(self, locations: Sequence[Location]) -> None:
        """Say that messages are no longer needed; removes the files that no longer are."""
        for location in locations:
            self._needed[location.segment] -= 1
        done = []
        for segment, needed in self._needed.items():
            if needed or segment >= self._told:
                break
            done.append(segment)
        for segment in done:
            del self._needed[segment]
            await asyncio.to_thread(self._path(segment).unlink, missing_ok=True)

    async def read(self, location: Location) -> bytes:
        """Return a payload.

        Raises:
            EOFError: the file is gone, or shorter than it was.
            OSError: it cannot be read now.

        """
        path = self._path(location.segment)
        try:
            async with aiofiles.open(path, "rb") as handle:
                await handle.seek(location.offset)
                payload: bytes = await handle.read(location.length)
        except FileNotFoundError as error:
            raise EOFError(f"{path} is gone") from error
        if len(payload) != location.length:
            raise EOFError(f"{path} is shorter than it was")
        return payload

    async def close(self) -> None:
        """Sync and close; the files stay."""
        if self._handle is not None:
            await self.sync()
            await self._handle.close()
            self._handle = None

    async def remove(self) -> None:
        """Close and remove everything: nothing in it is needed any more."""
        async with self._lock:
            self._removed = True
            if self._handle is not None:
                await self._handle.close()
                self._handle = None
            await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def _path(self, segment: int) -> Path:
        return self.folder / f"{segment:010d}{SUFFIX}"

    async def _next_segment(self) -> None:
        """Close the file in use, synced, and open the next."""
        if self._handle is not None:
            self._synced = False
            await self.sync()
            await self._handle.close()
            self._handle = None
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
        self._segment += 1
        self._length = 0
        self._handle = await aiofiles.open(self._path(self._segment), "xb", buffering=0)
        self._needed[self._segment] = 0
        await asyncio.to_thread(_sync_folder, self.folder)

    async def _write(self, chunk: bytes | bytearray) -> None:
        try:
            view = memoryview(chunk)
            while view:
                view = view[await self._handle.write(view) :]
        except OSError:
            # A part may have been written: take it back, or else leave the file, whose torn end is known as such.
            try:
                await self._handle.truncate(self._length)
                await self._handle.seek(self._length)
            except OSError:
                self._length = self._segment_bytes
            raise
        self._length += len(chunk)
        self._told = self._segment
        self._synced = False


def _sync_folder(folder: Path) -> None:
    for path in (folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
