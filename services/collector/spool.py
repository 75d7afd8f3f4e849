"""The spool: every message is on disk until JetStream has acknowledged it.

A message is written (and so survives ``kill -9``) before it is accepted, and synced (and so survives the loss of power)
right behind: one ``fdatasync`` after the other covers all that was written meanwhile. Publishing waits for neither, and
takes payloads from memory; the disk is read only for what no longer fits there, and at start.

Layout: ``<folder>/<start of the boot, ns>-<boot>/<number>.spool``. One collector owns a folder (``lock``).

Without a folder the spool keeps nothing on disk, and messages live in memory alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import time
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any, Final

from services.collector.account import Account
from services.collector.boot_log import BootLog
from services.collector.recovery import Leftover, leftovers
from services.collector.reserve import RESERVE_BYTES, Reserve
from services.collector.spool_records import Kind, message_head
from streamgauge.errors import ConfigurationError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from services.collector.batcher import Message
    from services.collector.pending import Entry
    from services.collector.spool_records import Location
    from streamgauge.ledger import LedgerRecord
    from streamgauge.settings import CollectorSettings

_log = get("spool")

#: A spool has about so many files, so that what is acknowledged is removed in good time.
_SEGMENTS: Final = 8
_LEAST_SEGMENT_BYTES, _MOST_SEGMENT_BYTES = 1 << 20, 64 << 20
#: Seconds after which a disk that refused a write is tried again.
_RETRY_INTERVAL: Final = 1.0
#: Seconds between two accounts on disk while messages are written, and while none are.
_ACCOUNT_INTERVAL, _IDLE_INTERVAL = 1.0, 5.0


class Book:
    """The account of one boot, and where it is kept on disk."""

    def __init__(self, account: Account, log: BootLog | None = None, leftover: Leftover | None = None) -> None:
        self.account = account
        self.log = log
        self.leftover = leftover
        #: Sequences of messages that are settled, as the account says already, and that no record on disk speaks of
        #: yet. No more than the numbers: while the disk refuses they become many.
        self.unnoted: list[tuple[Kind, int]] = []

    def unnoted_sequences(self) -> dict[str, list[int]]:
        """Return them as a record names them."""
        return {"sequences": [sequence for _, sequence in self.unnoted]}


class Spool:
    """Owns the folder; opened before anything is captured, closed after everything is published."""

    def __init__(
        self,
        settings: CollectorSettings,
        boot: str,
        account: Account,
        failure: Failure,
        *,
        record: Callable[[], LedgerRecord],
    ) -> None:
        """Set up a spool; ``record`` returns the account of this boot as it stands."""
        self._folder: Path | None = settings.spool_dir
        self._segment_bytes = segment_bytes(settings.spool_bytes)
        self._boot = boot
        self._failure = failure
        self._record = record
        self._lock: IO[bytes] | None = None
        self._reserve: Reserve | None = None
        self._noting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._dirty = asyncio.Event()
        self._not_before = self._no_notes_before = self._next_account = 0.0
        self._sampled = Sampled(_log)
        #: Every boot that has messages here, by its name; this one is always there.
        self.books: dict[str, Book] = {boot: Book(account)}
        #: Messages of former boots, in order.
        self.left: list[Entry] = []
        #: Writes that the disk refused, times it was synced.
        self.errors = self.syncs = 0
        #: Found at start: bytes of torn records, packets that went down with former boots.
        self.torn = self.crashed = 0

    async def start(self) -> None:
        """Take the folder, read what former boots left, begin a log for this one.

        Raises:
            ConfigurationError: the folder cannot be used, or another collector uses it.

        """
        if self._folder is None:
            return
        found = await asyncio.to_thread(self._take_folder, self._folder)
        for leftover in found:
            await self._adopt(leftover)
        self._reserve = Reserve(self._folder / "reserve")
        await asyncio.to_thread(self._reserve.hold)
        folder = self._folder / f"{time.time_ns():020d}-{self._boot}"
        log = BootLog(folder, self._account, segment_bytes=self._segment_bytes)
        self.books[self._boot].log = log
        self._task = spawn(self._keep_synced(log), name="spool", failure=self._failure)

    async def stop(self) -> None:
        """Write the last account and sync."""
        await cancel(self._task)
        log = self.books[self._boot].log
        if log is not None:
            await self._write(log, [(Kind.ACCOUNT, self._account(), b"")])
        for book in self.books.values():
            if book.log is not None:
                await book.log.close()
        if self._reserve is not None:
            await asyncio.to_thread(self._reserve.give)
        if self._lock is not None:
            self._lock.close()

    async def append(self, messages: Sequence[Message]) -> list[Location | None]:
        """Write messages; return where each is, None where the disk refuses, so that it lives in memory only."""
        log = self.books[self._boot].log
        if log is None or time.monotonic() < self._not_before or not await self._has_reserve():
            return [None] * len(messages)
        records = [(Kind.MESSAGE, message_head(message), message.payload) for message in messages]
        locations = await self._write(log, records)
        return [None] * len(messages) if locations is None else list(locations)

    async def done(self, entries: Sequence[Entry]) -> None:
        """Note messages as acknowledged; their boots' accounts already say so."""
        await self._note(Kind.DONE, entries)

    async def evicted(self, entries: Sequence[Entry]) -> None:
        """Note messages as given up; their boots' accounts already say so."""
        await self._note(Kind.EVICTED, entries)

    async def read(self, entry: Entry) -> bytes:
        """Return the payload of a message that is not in memory.

        Raises:
            EOFError: it is gone.
            OSError: it cannot be read now.

        """
        log = self.books[entry.envelope.boot].log
        assert log is not None
        assert entry.location is not None
        return await log.read(entry.location)

    async def forget(self, boot: str) -> None:
        """Remove a boot whose account is closed."""
        book = self.books[boot]
        if book.log is not None:
            await book.log.remove()
            book.log = None
        if boot != self._boot:
            del self.books[boot]

    async def _note(self, kind: Kind, entries: Sequence[Entry]) -> None:
        boots = dict.fromkeys(entry.envelope.boot for entry in entries)
        for entry in entries:
            self.books[entry.envelope.boot].unnoted.append((kind, entry.envelope.sequence))
        for book in [self.books[boot] for boot in boots]:
            await self._write_notes(book)
            if book.log is not None:
                locations = [entry.location for entry in entries if self.books.get(entry.envelope.boot) is book]
                await book.log.release([location for location in locations if location is not None])

    async def _write_notes(self, book: Book) -> None:
        """Write which messages are settled, those of before as well that the disk refused."""
        async with self._noting:
            if not book.unnoted or time.monotonic() < self._no_notes_before:
                return
            told = list(book.unnoted)
            totals = book.account.totals()
            counts = {
                "published": totals.published,
                "published_rows": totals.published_rows,
                "published_bytes": totals.published_bytes,
                "evicted": totals.evicted,
            }
            records: list[tuple[Kind, dict[str, Any], bytes]] = []
            for kind in dict.fromkeys(kind for kind, _ in told):
                sequences = [sequence for other, sequence in told if other is kind]
                records.append((kind, {"sequences": sequences, **counts}, b""))
            if book.log is None or await self._write(book.log, records, note=True) is not None:
                del book.unnoted[: len(told)]
            else:
                # What grows is not put together again for each message that is acknowledged meanwhile.
                self._no_notes_before = time.monotonic() + _RETRY_INTERVAL

    async def _has_reserve(self) -> bool:
        """Return whether notes have their room; without it no message may take what the disk has left."""
        return self._reserve is None or self._reserve.held or await asyncio.to_thread(self._reserve.hold)

    async def _write(
        self, log: BootLog, records: list[tuple[Kind, dict[str, Any], bytes]], *, note: bool = False
    ) -> list[Location] | None:
        try:
            try:
                locations = await log.append(records)
            except OSError:
                if not (note and self._reserve is not None and await asyncio.to_thread(self._reserve.give)):
                    raise
                locations = await log.append(records)
        except OSError as error:
            self.errors += 1
            self._not_before = time.monotonic() + _RETRY_INTERVAL
            self._sampled.warning("the spool cannot be written; batches wait in memory", error=str(error))
            return None
        self._dirty.set()
        return locations

    async def _keep_synced(self, log: BootLog) -> None:
        while True:
            # Not wait_for: in Python 3.11 that may swallow a cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_INTERVAL):
                    await self._dirty.wait()
            if time.monotonic() >= max(self._next_account, self._not_before):
                self._next_account = time.monotonic() + _ACCOUNT_INTERVAL
                await self._write(log, [(Kind.ACCOUNT, self._account(), b"")])
            self._dirty.clear()
            for book in list(self.books.values()):
                if book.log is None:
                    continue
                if time.monotonic() >= self._not_before:
                    await self._write_notes(book)
                try:
                    await book.log.sync()
                except OSError as error:
                    self.errors += 1
                    self._sampled.warning("the spool cannot be synced", error=str(error))
            self.syncs += 1

    def _account(self) -> dict[str, Any]:
        return asdict(self._record()) | self.books[self._boot].unnoted_sequences()

    def _take_folder(self, folder: Path) -> list[Leftover]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return leftovers(folder)
        except BlockingIOError as error:
            assert self._lock is not None
            self._lock.close()
            raise ConfigurationError(
                f"STREAMGAUGE_COLLECTOR_SPOOL_DIR={folder}: another collector uses it; give each its own"
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"STREAMGAUGE_COLLECTOR_SPOOL_DIR={folder}: cannot be used: {error.strerror}; give a writable folder"
            ) from error

    async def _adopt(self, leftover: Leftover) -> None:
        """Go on with a former boot: its messages first, then its account is closed."""
        self.torn += leftover.torn
        boot = leftover.folder.name.partition("-")[2]
        account = Account(leftover.totals())
        self.crashed += account.totals().crashed
        log = BootLog(
            leftover.folder,
            lambda: asdict(leftover.record(account.totals(), settled=0)) | self.books[boot].unnoted_sequences(),
            segment_bytes=self._segment_bytes,
            first_segment=leftover.next_segment,
        )
        for entry in leftover.entries:
            assert entry.location is not None
            log.hold(entry.location.segment, 1)
        self.books[boot] = Book(account, log, leftover)
        self.left.extend(leftover.entries)
        if leftover.last is None:
            await self.forget(boot)


def segment_bytes(spool_bytes: int) -> int:
    """Return the length after which a file of the spool is closed."""
    return max(_LEAST_SEGMENT_BYTES, min(_MOST_SEGMENT_BYTES, spool_bytes // _SEGMENTS))


def bound_bytes(spool_bytes: int) -> int:
    """Return how many bytes of messages may wait, so that the folder stays within its bound.

    Two files are not wholly used: the first, whose messages are partly done, and the last.
    """
    return spool_bytes - 2 * segment_bytes(spool_bytes) - RESERVE_BYTES
