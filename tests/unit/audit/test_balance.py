"""What the accounts of killed collectors, and of nodes whose clock was stepped, come to."""

from __future__ import annotations

import itertools

import pytest

from streamgauge.audit import balance
from streamgauge.audit.model import Evidence, Window
from streamgauge.ledger import LedgerRecord

SECOND = 10**9


def record(time, reason="tick", **counts):
    return LedgerRecord("node-a", "boot-1", "eth0", time, reason, **counts)


def judged(*records):
    """Return the only account, and the findings."""
    (account,), findings = balance.judge(Evidence(ledger=list(records)), Window(), [])
    return account, findings


TICK = record(100 * SECOND, kernel_received=100, decoded=95, published=60, spooled=35)
RECOVERED = {"kernel_received": 100, "decoded": 100, "crashed": 5}


@pytest.mark.parametrize("step", [60, -7200])
def test_a_killed_boot_is_closed_by_the_next_start(step):
    """``recovered`` has the last word, whatever the clock says; what went down with the process is a named loss."""
    told = [
        TICK,
        record((100 + step) * SECOND, "recovered", published=60, spooled=35, **RECOVERED),
        record((101 + step) * SECOND, "recovered", published=95, **RECOVERED),
    ]
    for order in itertools.permutations(told):
        account, _ = judged(*order)
        assert account.closed
        assert (account.received, account.decoded, account.crashed, account.spooled) == (100, 100, 5, 0)


def test_a_crash_that_was_not_booked_is_found():
    """A closed boot must come out even: without ``crashed`` the same record is a finding of stage collector."""
    _, findings = judged(TICK, record(200 * SECOND, "recovered", kernel_received=100, decoded=100, published=95))

    assert [(finding.stage, finding.packets) for finding in findings if finding.stage == "collector"] == [
        ("collector", 5)
    ]


def test_a_clock_stepped_back_within_a_boot():
    """The newest record is the one that counted most, not the one with the latest time."""
    later = record(10 * SECOND, kernel_received=200, decoded=200, published=200)
    account, _ = judged(later, TICK)

    assert (account.decoded, account.spooled) == (200, 0)
