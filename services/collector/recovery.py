"""What former boots left in the spool: read once at start, before anything new is written."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from services.collector.account import Totals
from services.collector.boot_log import SUFFIX
from services.collector.pending import Entry, size_of
from services.collector.spool_records import Kind, Location, Record, Scan, envelope_of
from streamgauge.ledger import LedgerRecord
from streamgauge.logs import get

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_log = get("recovery")

#: How many messages at the head of a boot's queue may have been sent when it ended: the most that ``in_flight`` allows.
MOST_IN_FLIGHT: Final = 256
#: The name of a boot's folder. What is named otherwise is not ours, and is neither read nor removed.
_BOOT_FOLDER: Final = re.compile(r"\d{20}-.+")


@dataclass(slots=True)
class Leftover:
    """One former boot: its messages that were not acknowledged, and its account as far as it is known."""

    folder: Path
    entries: list[Entry] = field(default_factory=list)
    #: The last account it wrote, None if it wrote none.
    last: LedgerRecord | None = None
    published: int = 0
    published_rows: int = 0
    published_bytes: int = 0
    evicted: int = 0
    #: Packets of all batches up to the last one that was written.
    numbered: int = 0
    #: The highest sequence seen, and the file after the last one.
    sequence: int = 0
    next_segment: int = 0
    #: Bytes that were no whole record.
    torn: int = 0

    def totals(self) -> Totals:
        """Return the account with which the messages left go on.

        What was known to be received, or stood in a batch before one that is here, and is in no message went down with
        the process: it counts as crashed.
        """
        pending = sum(entry.envelope.packets for entry in self.entries)
        known = self.published + self.evicted + pending
        last = self.last
        received = 0 if last is None else last.kernel_received - last.kernel_dropped - last.filtered
        decoded = max(known, received, self.numbered, 0 if last is None else last.decoded)
        return Totals(
            decoded=decoded,
            crashed=decoded - known,
            pending=pending,
            published=self.published,
            published_rows=self.published_rows,
            published_bytes=self.published_bytes,
            evicted=self.evicted,
        )

    def record(self, totals: Totals, *, settled: int) -> LedgerRecord:
        """Return the ledger record of this boot as its messages are published now."""
        assert self.last is not None
        last = self.last
        return replace(
            last,
            time=time.time_ns(),
            reason="recovered",
            kernel_received=totals.decoded + last.kernel_dropped + last.filtered,
            decoded=totals.decoded,
            crashed=totals.crashed,
            published=totals.published,
            published_rows=totals.published_rows,
            published_bytes=totals.published_bytes,
            spooled=totals.spooled,
            evicted=totals.evicted,
            sequence=settled,
        )


def leftovers(folder: Path) -> list[Leftover]:
    """Return what each former boot left, the oldest first; a boot that left nothing readable is given as empty."""
    found = []
    for boot_folder in sorted(path for path in folder.iterdir() if _BOOT_FOLDER.fullmatch(path.name) and path.is_dir()):
        leftover = _read_boot(boot_folder)
        _log.info(
            "former boot found in the spool",
            folder=boot_folder.name,
            batches=len(leftover.entries),
            packets=sum(entry.envelope.packets for entry in leftover.entries),
            torn_bytes=leftover.torn,
        )
        found.append(leftover)
    return found


def _read_boot(folder: Path) -> Leftover:
    leftover = Leftover(folder)
    waiting: dict[int, Entry] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        segment = int(path.name.removesuffix(SUFFIX))
        leftover.next_segment = segment + 1
        for record in _records(path, leftover):
            _take(leftover, waiting, segment, record)
    leftover.entries = [waiting[sequence] for sequence in sorted(waiting)]
    for entry in leftover.entries[:MOST_IN_FLIGHT]:
        entry.may_be_stored = True
    return leftover


def _records(path: Path, leftover: Leftover) -> Iterator[Record]:
    scan = Scan(path.read_bytes())
    yield from scan
    leftover.torn += scan.torn


def _take(leftover: Leftover, waiting: dict[int, Entry], segment: int, record: Record) -> None:
    head = record.head
    if record.kind is Kind.MESSAGE:
        entry = _entry(head, Location(segment, record.offset, record.length))
        waiting[entry.envelope.sequence] = entry
        leftover.numbered = max(leftover.numbered, head.get("total", 0))
        leftover.sequence = max(leftover.sequence, entry.envelope.sequence)
        return
    for sequence in head.get("sequences", ()):
        waiting.pop(sequence, None)
        leftover.sequence = max(leftover.sequence, sequence)
    if record.kind is Kind.ACCOUNT:
        if not head:
            return
        leftover.last = LedgerRecord.decode(orjson.dumps(head))
        leftover.sequence = max(leftover.sequence, leftover.last.sequence)
    if record.kind is not Kind.EVICTED:
        leftover.published = head["published"]
        leftover.published_rows = head["published_rows"]
        leftover.published_bytes = head["published_bytes"]
    if record.kind is not Kind.DONE:
        leftover.evicted = head["evicted"]


def _entry(head: dict[str, Any], location: Location) -> Entry:
    return Entry(
        subject=head["subject"],
        envelope=envelope_of(head),
        size=size_of(location.length),
        payload=None,
        location=location,
        closed_at=head["closed_at"],
    )
