"""The account: each packet is in exactly one place."""

from __future__ import annotations

from services.collector.account import Account
from tests.unit.collector.making import CUT, TCP, message, rows_of


def test_a_packet_moves_from_count_to_count():
    """Decoded packets are open, then pending, then published or evicted; the sum never changes."""
    account = Account()
    account.decoded(5)
    one, two = message(1, packets=3), message(2, packets=2)

    def balance():
        totals = account.totals()
        assert totals.decoded == totals.published + totals.spooled + totals.evicted
        return totals.open, totals.pending, totals.published, totals.evicted

    assert balance() == (5, 0, 0, 0)
    account.accepted([one, two])
    assert balance() == (0, 5, 0, 0)
    account.published(one.envelope)
    assert balance() == (0, 2, 3, 0)
    account.evicted(two.envelope)
    assert balance() == (0, 0, 3, 2)


def test_statuses_are_counted():
    """Every packet that was not read whole counts as malformed."""
    account = Account()
    account.closed(rows_of([TCP, CUT, TCP]))

    totals = account.totals()
    assert totals.malformed == 1
    assert totals.statuses[0] == 2
    assert totals.decoded_bytes == 2 * len(TCP) + len(CUT)


def test_totals_are_a_copy():
    """What a reader got does not change under its hands."""
    account = Account()
    before = account.totals()
    account.closed(rows_of([TCP]))
    account.decoded(1)

    assert before.decoded == 0
    assert sum(before.statuses) == 0
