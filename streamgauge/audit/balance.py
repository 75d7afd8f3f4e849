"""Judges the accounts: what each node and boot published against what is stored, waits, or is a named loss.

Pure: takes evidence, returns accounts and findings.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from streamgauge.audit.model import Account, Evidence, Finding, Waiting, Who, Window, merged
from streamgauge.ranges import RangeSet, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.ledger import LedgerRecord


class _Book:
    """What is known of one node and boot."""

    def __init__(self, who: Who) -> None:
        self.who = who
        self.account = Account(*who)
        self.stored = RangeSet()
        self.twice = RangeSet()
        self.quarantined = RangeSet()
        self.waiting = RangeSet()
        #: Sequences that some footer claims to be stored.
        self.claimed = RangeSet()
        #: Sequences of objects that are known to be gone.
        self.named = RangeSet()
        #: Newest ledger record of each interface, within the window; and the newest before it.
        self.last: dict[str, LedgerRecord] = {}
        self.before: dict[str, LedgerRecord] = {}
        self.last_time = 0
        #: Objects of its shard that cannot be read: its packets cannot be summed.
        self.unknown = False

    @property
    def acknowledged(self) -> int:
        """Highest sequence up to which every batch was acknowledged or evicted, by the ledger."""
        return max((record.sequence for record in self.last.values()), default=0)

    @property
    def begin(self) -> int:
        """Highest sequence that lies before the window."""
        return max((record.sequence for record in self.before.values()), default=0)


def judge(evidence: Evidence, window: Window, named: list[Finding]) -> tuple[list[Account], list[Finding]]:
    """Return the account of each node and boot, and what does not fit beyond what is ``named`` already."""
    books = _books(evidence, window)
    for finding in named:
        if finding.node is not None and finding.boot is not None and (finding.node, finding.boot) in books:
            books[finding.node, finding.boot].named.update(RangeSet(finding.sequences))
    findings: list[Finding] = []
    for book in books.values():
        findings += _capture(book)
        findings += _twice(book)
        findings += _unkept(evidence, book)
        findings += _batches(evidence, book, window)
    shown = [books[who].account for who in sorted(books) if books[who].last or books[who].stored]
    return shown, findings


def _books(evidence: Evidence, window: Window) -> dict[Who, _Book]:
    books: dict[Who, _Book] = {}

    def book(node: str, boot: str) -> _Book:
        return books.setdefault((node, boot), _Book((node, boot)))

    for one in evidence.objects:
        if one.footer is None:
            continue
        for share in one.footer.manifest.shares:
            mine = book(share.node, share.boot)
            mine.twice.update(mine.stored.common(share.sequences))
            mine.stored.update(share.sequences)
            mine.account.stored += share.packets
            mine.last_time = max(mine.last_time, share.last_time)
        for node, boot, sequence, packets, _ in one.footer.manifest.quarantined:
            if node is not None and sequence not in book(node, boot).quarantined:
                book(node, boot).quarantined.add(sequence)
                book(node, boot).account.quarantined += packets or 0
    for who, waiting in evidence.waiting.items():
        _add_waiting(book(*who), waiting)
    _add_ledger(evidence, books, window)
    seen = [one.footer.manifest.seen for one in evidence.objects if one.footer] + evidence.seen_elsewhere
    for who, claimed in merged(seen).items():
        if who in books:
            books[who].claimed = claimed
    if any(one.footer is None for one in evidence.objects):
        for one_book in books.values():
            one_book.unknown = True
    return books


def _add_waiting(book: _Book, waiting: Waiting) -> None:
    book.waiting.update(waiting.sequences)
    book.account.waiting += waiting.packets


def _add_ledger(evidence: Evidence, books: dict[Who, _Book], window: Window) -> None:
    records: dict[Who, list[LedgerRecord]] = defaultdict(list)
    for record in sorted(evidence.ledger, key=_progress):
        records[record.node, record.boot].append(record)
    for who, own in records.items():
        if max(record.time for record in own) < window.since:
            continue
        mine = books.setdefault(who, _Book(who))
        for record in own:
            if record.time < window.since:
                mine.before[record.interface] = record
            if record.time < window.until:
                mine.last[record.interface] = record
        _sum(mine)


def _progress(record: LedgerRecord) -> tuple[bool, int, int, int]:
    """Order the records of a boot as they were made: counts only grow, while clocks may be stepped back.

    The collector's next start has the last word.
    """
    return record.reason == "recovered", record.decoded, record.published + record.evicted, record.time


def _sum(book: _Book) -> None:
    account, last = book.account, book.last.values()
    account.received = sum(record.kernel_received for record in last)
    account.dropped = sum(record.kernel_dropped for record in last)
    account.filtered = sum(record.filtered for record in last)
    account.decoded = sum(record.decoded for record in last)
    account.published = sum(record.published for record in last)
    account.spooled = sum(record.spooled for record in last)
    account.evicted = sum(record.evicted for record in last)
    account.crashed = sum(record.crashed for record in last)
    account.closed = bool(last) and all(record.reason in ("stop", "recovered") for record in last)


def _capture(book: _Book) -> Iterator[Finding]:
    """Check the equations of the ledger records themselves."""
    node, boot = book.who
    for record in book.last.values():
        closed = record.reason in ("stop", "recovered")
        if record.undecoded < 0 or (closed and record.undecoded > 0):
            yield Finding(
                "capture",
                f"node {node}, boot {boot}, interface {record.interface}: {record.undecoded} packets were received and "
                "neither dropped, filtered nor decoded",
                node,
                boot,
                packets=record.undecoded,
            )
        if record.unpublished:
            yield Finding(
                "collector",
                f"node {node}, boot {boot}, interface {record.interface}: {record.unpublished} packets were decoded "
                "and neither published, spooled, evicted nor lost in a crash",
                node,
                boot,
                packets=record.unpublished,
            )


def _twice(book: _Book) -> Iterator[Finding]:
    if len(book.twice):
        node, boot = book.who
        yield Finding(
            "bucket",
            f"node {node}, boot {boot}: batches {words(book.twice)} are stored twice",
            node,
            boot,
            tuple(book.twice),
        )


def _unkept(evidence: Evidence, book: _Book) -> Iterator[Finding]:
    unkept = evidence.unkept.get(book.who, RangeSet()).minus(book.named)
    if len(unkept):
        node, boot = book.who
        yield Finding(
            "bucket",
            f"node {node}, boot {boot}: batches {words(unkept)} were acknowledged as stored, and no object has them; "
            "the stream still does: the next start of the backup stores them",
            node,
            boot,
            tuple(unkept),
        )


def _batches(evidence: Evidence, book: _Book, window: Window) -> Iterator[Finding]:
    """Find batches that are nowhere, and packets that no batch explains."""
    node, boot = book.who
    account = book.account
    there = book.stored.copy()
    there.update(book.quarantined)
    there.update(book.waiting)
    # Beyond what the ledger calls acknowledged, a gap is a batch on its way; of a closed boot nothing is on its way.
    until = max(book.acknowledged, there.last if account.closed and window.is_everything else 0)
    missing = there.missing(until).minus(RangeSet([(1, book.begin)] if book.begin else []))
    lost = missing.common(book.claimed).minus(book.named)
    # What a footer knows to be stored may lie outside the window.
    if len(lost) and window.is_everything:
        yield Finding(
            "bucket",
            f"node {node}, boot {boot}: batches {words(lost)} were stored and no object has them",
            node,
            boot,
            tuple(lost),
        )
    others = missing.minus(book.claimed)
    sums = window.is_everything and not book.unknown and not len(book.named)
    short = account.difference if sums else 0
    explained = account.evicted + account.crashed > 0 and short <= 0
    if len(others) and evidence.without_nats is None and not explained:
        yield Finding(
            "jetstream",
            f"node {node}, boot {boot}: batches {words(others)} were acknowledged by JetStream, and are neither stored "
            "nor in the stream" + (f" ({short} packets)" if short > 0 else ""),
            node,
            boot,
            tuple(others),
            packets=short if short > 0 else None,
        )
    elif not len(missing) and (short > 0 or (account.closed and short < 0)) and evidence.without_nats is None:
        what = "are missing from" if short > 0 else "too many are in"
        yield Finding(
            "bucket",
            f"node {node}, boot {boot}: every batch is there, yet {abs(short)} packets {what} the objects",
            node,
            boot,
            packets=short,
        )
