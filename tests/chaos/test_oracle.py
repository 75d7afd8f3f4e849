"""The oracle names what is wrong, and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streamgauge.demo.scrape import Page
from streamgauge.ledger import LedgerRecord
from tests.chaos import feed, oracle
from tests.chaos.evidence import Evidence, Published, Stored, contradictions

if TYPE_CHECKING:
    from collections.abc import Callable

WHO = ("node-0", "boot-0")
SIZE = 1500


def even() -> Evidence:
    """Return what a faultless run leaves: four batches, one and a half rounds of the file."""
    numbers = np.arange(4 * SIZE) % feed.PACKETS
    batches = {sequence + 1: numbers[sequence * SIZE : (sequence + 1) * SIZE] for sequence in range(4)}
    total = 4 * SIZE
    ledger = LedgerRecord(*WHO, feed.NAME, 0, "stop", kernel_received=total, decoded=total, published=total)
    stored = Stored({WHO: Counter(range(1, 5))}, {WHO: total}, {"node-0": feed.replayed(total)}, objects=2)
    return Evidence({WHO: Published(batches, ledger)}, stored)


def drop_object(evidence: Evidence) -> None:
    del evidence.stored.sequences[WHO][3]
    evidence.stored.rows["node-0"] -= feed.counts(evidence.published[WHO].batches[3])
    evidence.stored.packets[WHO] -= SIZE


def store_twice(evidence: Evidence) -> None:
    evidence.stored.sequences[WHO][2] += 1
    evidence.stored.rows["node-0"] += feed.counts(evidence.published[WHO].batches[2])
    evidence.stored.packets[WHO] += SIZE


def skip_packets(evidence: Evidence) -> None:
    batches = evidence.published[WHO].batches
    evidence.stored.rows["node-0"][batches[2][-1]] -= 1
    batches[2] = batches[2][:-1]


def skip_a_batch(evidence: Evidence) -> None:
    drop_object(evidence)
    del evidence.published[WHO].batches[3]


def leave_in_spool(evidence: Evidence) -> None:
    total = 4 * SIZE
    evidence.published[WHO].ledger = LedgerRecord(
        *WHO, feed.NAME, 0, "stop", kernel_received=total + 7, decoded=total + 7, published=total, spooled=7
    )


def test_even() -> None:
    """A run without a fault has no findings."""
    verdict = oracle.judge(even())

    assert verdict.good
    assert (verdict.fed, verdict.published, verdict.stored) == (4 * SIZE,) * 3


@pytest.mark.parametrize(
    ("change", "lost", "duplicated"),
    [
        (drop_object, SIZE, 0),
        (store_twice, 0, SIZE),
        (skip_packets, 1, 0),
        (skip_a_batch, SIZE, 0),
        (leave_in_spool, 0, 0),
    ],
)
def test_uneven(change: Callable[[Evidence], None], lost: int, duplicated: int) -> None:
    """What is missing is lost, what is there twice is duplicated, what has no name is unaccounted."""
    evidence = even()
    change(evidence)
    verdict = oracle.judge(evidence)

    assert not verdict.good
    assert (verdict.lost, verdict.duplicated) == (lost, duplicated)
    assert change is not leave_in_spool or verdict.unaccounted == 7


def captured_live(evidence: Evidence, **counts: int) -> Evidence:
    """Take a boot for one that captured live: ten packets of its second batch are not there."""
    batches = evidence.published[WHO].batches
    evidence.stored.rows["node-0"] -= feed.counts(batches[2][:10])
    batches[2] = batches[2][10:]
    total = 4 * SIZE - 10
    own = {"kernel_received": total, "decoded": total, "published": total} | counts
    evidence.published[WHO].ledger = LedgerRecord(*WHO, "eth0", 0, "stop", **own)
    evidence.stored.packets[WHO] = total
    return evidence


def test_what_the_kernel_dropped_has_a_name() -> None:
    """A live boot may begin anywhere and leave out what was dropped, or never came so far; nothing else."""
    dropped = captured_live(even(), kernel_received=4 * SIZE, kernel_dropped=10)
    undelivered = captured_live(even())
    undelivered.undelivered = 10
    begun_later = captured_live(even(), kernel_received=4 * SIZE, kernel_dropped=10)
    for boot in begun_later.published.values():
        boot.batches = {number: (numbers + 700) % feed.PACKETS for number, numbers in boot.batches.items()}
    begun_later.stored.rows["node-0"] = np.roll(begun_later.stored.rows["node-0"], 700)

    assert oracle.judge(dropped).good
    assert oracle.judge(dropped).dropped == 10
    assert oracle.judge(undelivered).good
    assert oracle.judge(begun_later).good
    assert oracle.judge(captured_live(even(), kernel_received=4 * SIZE - 3, kernel_dropped=7)).lost == 3


def test_audit_and_exporter_are_heard() -> None:
    """What either of them says is a finding; the exporter must know every node, closed and even."""
    evidence = even()
    evidence.audit = ["something"]
    assert not oracle.judge(evidence).good

    page = Page(
        'streamgauge_ledger_decoded_packets_total{node="a",interface="x"} 5\n'
        'streamgauge_ledger_imbalance_packets{node="a",interface="x"} 2'
    )
    assert contradictions(page, {"a", "b"}) == [
        "the exporter shows ledger_imbalance_packets 2 of a",
        "the exporter has no ledger of b",
    ]
