"""What the live page says of each hop is what a person on call needs to hear."""

from __future__ import annotations

import pytest

from services.exporter.consumer import Progress
from services.exporter.health import Health
from services.exporter.hops import ConsumerState, StreamState
from services.exporter.ledger_book import LedgerBook
from streamgauge.ledger import LedgerRecord


class Stand:
    """The parts that health looks at, as plain values."""

    def __init__(self):
        self.trouble = None
        self.progress = Progress()
        self.stream = StreamState(1200, 3 << 20, 0, 60.0, 0.4)
        self.consumers = ()


@pytest.fixture(name="stand")
def _stand():
    return Stand()


@pytest.fixture(name="book")
def _book():
    return LedgerBook()


@pytest.fixture(name="say")
def _say(stand, book):
    """Return a function that gives (state, words) of a hop at a time."""
    health = Health(book, stand, stand)

    def say(name, now=100.0):
        health.note_losses(now)
        return next((each.state, each.evidence) for each in health.judge(now) if each.hop.lower() == name.lower())

    say.health = health
    return say


def heard(book, at=100.0, **values):
    reason = values.pop("reason", "tick")
    book.take(LedgerRecord("a", "boot", "eth0", int(at * 1e9), reason, **values), at)


def test_capture_without_a_collector_says_how_to_start_one(say):
    """No ledger record is not known to be bad, and the words help."""
    assert say("Capture") == ("not checked", "no collector reports")


def test_capture_is_well_silent_or_losing(say, book):
    """A node that reports is well; silence, losses and imbalance are told apart, the worst first."""
    heard(book, kernel_received=5)
    assert say("Capture") == ("ok", "1 interface reporting, nothing lost")
    assert say("Capture", 130.0)[0] == "warning"
    assert "a/eth0" in say("Capture", 130.0)[1]
    heard(book, 131.0, kernel_received=50, kernel_dropped=7)
    assert say("Capture", 131.0) == ("broken", "7 packets lost in 15 minutes")
    heard(book, 132.0, kernel_received=50, decoded=5, published=3)
    assert say("Capture", 132.0)[0] == "broken"
    assert "does not add up" in say("Capture", 132.0)[1]


def test_whatever_is_not_well_says_what_mends_it(say, stand, book):
    """In the words of doctor; a hop that is well needs none."""
    remedies = {each.hop: each.remedy for each in say.health.judge(100.0)}
    assert remedies.pop("NATS") == remedies.pop("exporter") == ""
    assert all(remedies.values())
    assert remedies["capture"] == "start one: `python -m services.collector`"


def test_losses_are_forgotten_after_fifteen_minutes(say, book):
    """Old losses stay in the totals and leave the verdict."""
    heard(book, 100.0)
    say("Capture", 100.0)
    heard(book, 110.0, kernel_dropped=7)
    assert say("Capture", 110.0)[0] == "broken"
    heard(book, 1200.0, kernel_dropped=7)
    assert say("Capture", 1200.0)[0] == "ok"


def test_nats_is_there_unseen_or_gone(say, stand):
    """A connection that is lost is bad; one that may not look is merely unknown."""
    assert say("NATS") == ("ok", "1,200 messages, 3 MiB, newest 0.4 s old")
    stand.stream = None
    assert say("NATS")[0] == "not checked"
    stand.trouble = "not connected to NATS"
    assert say("NATS") == ("broken", "not connected to NATS")


@pytest.mark.parametrize(("age", "state"), [(30, "ok"), (200, "warning"), (700, "broken")])
def test_the_backup_is_judged_by_what_it_has_not_stored(say, stand, age, state):
    """The age of the oldest message that is not stored decides."""
    assert say("Backup")[0] == "not checked"
    stand.consumers = (
        ConsumerState("backup-shard-00", 3, 1, age, 1, 0.2),
        ConsumerState("backup-shard-01", 0, 0, 0.0, 1, None),
    )
    assert say("Backup")[0] == state
    assert say("Backup")[1].startswith("4 messages not stored yet")
    stand.consumers = stand.consumers[1:]
    assert say("Backup") == ("ok", "all is stored")


def test_a_backup_that_is_gone_is_known_before_it_is_late(say, stand):
    """Nobody asks for what waits: the doctor's words, after half a minute."""
    stand.consumers = (ConsumerState("backup-shard-00", 3, 0, 47.0, 0, 47.0), ConsumerState("x", 2, 0, 9.0, 1, 0.1))
    assert say("Backup") == (
        "broken",
        "consumer stuck: nobody asks backup-shard-00 for 3 messages, the oldest 47 s old",
    )
    stand.consumers = (ConsumerState("backup-shard-00", 3, 0, 47.0, 0, 2.0),)
    assert say("Backup")[0] == "ok"


def test_the_exporter_says_when_it_lags_or_has_skipped(say, stand):
    """Lag with a backlog is a warning; an idle stream is no lag; skipping is remembered."""
    stand.progress.counted = 1
    stand.progress.stored = 10.0
    assert say("Exporter") == ("ok", "1 batch counted")
    stand.progress.pending = 5
    assert say("Exporter") == ("warning", "90 s behind, 5 batches wait")
    stand.progress.pending = 0
    stand.progress.skipped = 2
    assert say("Exporter") == ("warning", "1 batch counted, 2 batches skipped so far")


def test_prometheus_is_known_by_its_visits(say):
    """Nobody has come, somebody came, somebody stopped coming."""
    assert say("Prometheus")[0] == "not checked"
    say.health.scraped = 95.0
    assert say("Prometheus") == ("ok", "read /metrics 5.0 s ago")
    assert say("Prometheus", 300.0)[0] == "warning"
