"""What state each hop is in, in words a person on call can act on."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from services.exporter.consumer import Consumer
    from services.exporter.hops import Hops
    from services.exporter.ledger_book import LedgerBook

State = Literal["ok", "warn", "bad", "unknown"]

#: Seconds in which losses count as recent.
_RECENT: Final = 900.0
#: Seconds without a ledger record after which a node is called silent; it sends one every five.
_SILENT: Final = 20.0
#: Seconds a batch may wait for the backup: it stores every minute, then verifies.
_STORED_LATE: Final = 180.0
_STORED_TOO_LATE: Final = 600.0
#: Seconds the exporter may lag.
_BEHIND: Final = 15.0
#: Seconds without a scrape; Prometheus comes every fifteen.
_UNREAD: Final = 90.0


class Hop(NamedTuple):
    """One hop on the way of a packet."""

    name: str
    state: State
    words: str


class Health:
    """Judges the hops; lives as long as the service."""

    def __init__(self, book: LedgerBook, hops: Hops, consumer: Consumer) -> None:
        self._book = book
        self._hops = hops
        self._consumer = consumer
        self._losses: deque[tuple[float, int]] = deque()
        #: Seconds of the wall clock when /metrics was read last.
        self.scraped: float | None = None

    def note_scrape(self) -> None:
        """Remember that somebody read /metrics."""
        self.scraped = time.time()

    def note_losses(self, now: float) -> None:
        """Remember the losses of this moment; called every second."""
        lost = sum(account.lost for _, account in self._book.accounts(now))
        if not self._losses or lost != self._losses[-1][1]:
            self._losses.append((now, lost))
        while len(self._losses) > 1 and self._losses[1][0] < now - _RECENT:
            self._losses.popleft()

    @property
    def lost_recently(self) -> int:
        """Packets lost in the last fifteen minutes, as far as the exporter has run."""
        return max(0, self._losses[-1][1] - self._losses[0][1]) if self._losses else 0

    def judge(self, now: float) -> list[Hop]:
        """Return all hops in the order of a packet's way."""
        return [self._capture(now), self._stream(), self._backup(), self._exporter(now), self._prometheus(now)]

    def _capture(self, now: float) -> Hop:
        accounts = list(self._book.accounts(now))
        running = [(key, account) for key, account in accounts if account.latest.reason != "stop"]
        if not running:
            return Hop("Capture", "unknown", "no collector reports; start one: python -m services.collector")
        wrong = [key for key, account in running if account.imbalance]
        if wrong:
            return Hop("Capture", "bad", f"the ledger of {_some(wrong)} does not add up; run streamgauge audit")
        if self.lost_recently:
            return Hop("Capture", "bad", f"{self.lost_recently:,} packets lost in 15 minutes; see the losses by node")
        silent = [key for key, account in running if now - account.heard > _SILENT]
        if silent:
            words = f"no word from {_some(silent)} for {_SILENT:.0f} s; is the collector running?"
            return Hop("Capture", "warn", words)
        return Hop("Capture", "ok", f"{_count(len(running), 'interface')} reporting, nothing lost")

    def _stream(self) -> Hop:
        stream = self._hops.stream
        if self._consumer.trouble is not None:
            return Hop("NATS", "bad", f"{self._consumer.trouble}; is nats-server running?")
        if stream is None:
            return Hop("NATS", "unknown", "connected; this user may not look at the stream")
        size = f"{_count(stream.messages, 'message')}, {_bytes(stream.bytes)}"
        return Hop("NATS", "ok", f"{size}, newest {_age(stream.newest_age)} old")

    def _backup(self) -> Hop:
        consumers = self._hops.consumers
        if not consumers:
            return Hop("Backup", "unknown", "no consumer of the backup in the stream; is it running?")
        pending = sum(each.pending + each.unacknowledged for each in consumers)
        oldest = max(each.oldest_age for each in consumers)
        state: State = "bad" if oldest > _STORED_TOO_LATE else "warn" if oldest > _STORED_LATE else "ok"
        waiting = f"{_count(pending, 'message')} not stored yet, the oldest {_age(oldest)}"
        return Hop("Backup", state, waiting if pending else "all is stored")

    def _exporter(self, now: float) -> Hop:
        progress = self._consumer.progress
        behind = now - progress.stored if progress.pending else 0.0
        if behind > _BEHIND:
            return Hop("Exporter", "warn", f"{_age(behind)} behind, {_count(progress.pending, 'batch', 'es')} wait")
        counted = f"{_count(progress.counted, 'batch', 'es')} counted"
        if progress.skipped:
            return Hop("Exporter", "warn", f"{counted}, {_count(progress.skipped, 'batch', 'es')} skipped so far")
        return Hop("Exporter", "ok", counted)

    def _prometheus(self, now: float) -> Hop:
        if self.scraped is None:
            return Hop("Prometheus", "unknown", "nobody has read /metrics yet")
        age = now - self.scraped
        return Hop("Prometheus", "warn" if age > _UNREAD else "ok", f"read /metrics {_age(age)} ago")


def _some(keys: list[tuple[str, str]]) -> str:
    names = [f"{node}/{interface}" for node, interface in keys]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{'' if number == 1 else plural}"


def _age(seconds: float) -> str:
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200)):
        if seconds < most:
            return f"{seconds / length:.{1 if seconds < 10 else 0}f} {unit}"
    return f"{seconds / 3600:.0f} h"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
