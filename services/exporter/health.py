"""What state each hop is in, in the words of ``streamgauge doctor``, which a person on call can act on."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from streamgauge.doctor import words
from streamgauge.doctor.words import Finding, age, broken, count, ok, size, some, unchecked, warning

if TYPE_CHECKING:
    from services.exporter.consumer import Consumer
    from services.exporter.hops import Hops
    from services.exporter.ledger_book import LedgerBook

#: Seconds in which losses count as recent.
_RECENT: Final = 900.0
#: Seconds past which what is not stored is no longer late but broken.
_STORED_TOO_LATE: Final = 600.0

#: The hops as doctor calls them.
CAPTURE, NATS, BACKUP, EXPORTER, PROMETHEUS = "capture", "NATS", "backup", "exporter", "Prometheus"

_LOGS: Final = "look at its log: `docker compose logs {0}`, `kubectl logs -n streamgauge {0}-0`"


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

    def judge(self, now: float) -> list[Finding]:
        """Return all hops in the order of a packet's way."""
        return [self._capture(now), self._stream(), self._backup(), self._exporter(now), self._prometheus(now)]

    def _capture(self, now: float) -> Finding:
        accounts = list(self._book.accounts(now))
        running = [(key, account) for key, account in accounts if account.latest.reason != "stop"]
        if not running:
            return unchecked(CAPTURE, "no collector reports", "start one: `python -m services.collector`")
        wrong = [key for key, account in running if account.imbalance]
        if wrong:
            return broken(CAPTURE, f"the ledger of {_some(wrong)} does not add up", "`streamgauge audit`")
        if self.lost_recently:
            return broken(
                CAPTURE,
                f"{self.lost_recently:,} packets lost in 15 minutes",
                "see the losses by node; docs/11-alerts.md, StreamgaugePacketsLost",
            )
        silent = [(key, now - account.heard) for key, account in running if now - account.heard > words.SILENT]
        if silent:
            longest = max(seconds for _, seconds in silent)
            return warning(
                CAPTURE,
                f"no word from {_some([key for key, _ in silent])} for {age(longest)}",
                "look at that node's collector: `kubectl get pods -n streamgauge-capture -o wide`, `docker compose ps`",
            )
        return ok(CAPTURE, f"{count(len(running), 'interface')} reporting, nothing lost")

    def _stream(self) -> Finding:
        stream = self._hops.stream
        if self._consumer.trouble is not None:
            return broken(NATS, self._consumer.trouble, "is nats-server running? `docker compose up -d nats`")
        if stream is None:
            return unchecked(NATS, "connected; this user may not look at the stream")
        filled = f"{count(stream.messages, 'message')}, {size(stream.bytes)}"
        if stream.messages and stream.newest_age > words.SILENT:
            return warning(
                NATS, f"{filled}; nothing came in for {age(stream.newest_age)}", "look at the collector's log"
            )
        return ok(NATS, f"{filled}, newest {age(stream.newest_age)} old")

    def _backup(self) -> Finding:
        consumers = self._hops.consumers
        if not consumers:
            return unchecked(BACKUP, "no consumer of the backup in the stream", "is it running? `docker compose ps`")
        oldest = max(each.oldest_age for each in consumers)
        unasked = [
            each for each in consumers if words.waits_unasked(each.pending, each.requests, each.oldest_age, each.quiet)
        ]
        if unasked:
            names, messages = [each.name for each in unasked], sum(each.pending for each in unasked)
            evidence = words.unasked(names, messages, max(each.oldest_age for each in unasked))
            return broken(BACKUP, evidence, words.START_BACKUP)
        evidence = words.waiting(sum(each.pending + each.unacknowledged for each in consumers), oldest)
        if not words.stored_too_late(oldest):
            return ok(BACKUP, evidence)
        return (broken if oldest > _STORED_TOO_LATE else warning)(BACKUP, evidence, _LOGS.format("backup"))

    def _exporter(self, now: float) -> Finding:
        progress = self._consumer.progress
        behind = now - progress.stored if progress.pending else 0.0
        if behind > words.BEHIND:
            return warning(EXPORTER, words.behind(behind, progress.pending), "more replicas: docs/83-scale.md")
        counted = f"{count(progress.counted, 'batch', 'es')} counted"
        if progress.skipped:
            return warning(
                EXPORTER,
                f"{counted}, {count(progress.skipped, 'batch', 'es')} skipped so far",
                "docs/11-alerts.md, StreamgaugeExporterSkipped",
            )
        return ok(EXPORTER, counted)

    def _prometheus(self, now: float) -> Finding:
        if self.scraped is None:
            return unchecked(PROMETHEUS, "nobody has read /metrics yet", _LOGS.format("prometheus"))
        since = now - self.scraped
        evidence = f"read /metrics {age(since)} ago"
        return (
            warning(PROMETHEUS, evidence, _LOGS.format("prometheus"))
            if since > words.UNREAD
            else ok(PROMETHEUS, evidence)
        )


def _some(keys: list[tuple[str, str]]) -> str:
    return some([f"{node}/{interface}" for node, interface in keys])
