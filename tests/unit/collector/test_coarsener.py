"""Merged windows are handed over when their time ends, when they are full, and when the granularity changes."""

from __future__ import annotations

import pytest

from services.collector.coarsener import Coarsener
from tests.unit.collector.making import TCP, UDP, rows_of

# The first test may compile the kernels.
pytestmark = pytest.mark.timeout(300)


def packets(windows):
    """Take windows as the capture does; return their interfaces and the packets of their rows."""
    return [(interface, rows.column("packets").tolist()) for interface, rows in windows]


def test_a_row_a_packet_goes_straight_through():
    """Without a window nothing is merged and nothing waits."""
    coarsener, rows = Coarsener(8), rows_of([UDP, UDP])

    assert packets(coarsener.windows("eth0", rows, 0.0, 0.0)) == [("eth0", [1, 1])]
    assert len(coarsener) == 0


def test_flows_are_merged_until_the_window_ends():
    """Rows of several windows of the capture become one, by interface."""
    coarsener = Coarsener(8)
    for interface in ("eth0", "eth0", "eth1"):
        assert packets(coarsener.windows(interface, rows_of([UDP, UDP, TCP]), 1.0, 5.0)) == []

    assert packets(coarsener.expired(5.9)) == []
    assert packets(coarsener.expired(6.0)) == [("eth0", [4, 2]), ("eth1", [2, 1])]
    assert len(coarsener) == 0


def test_a_full_block_is_handed_over_early():
    """More flows than a block holds make more blocks; no packet is lost."""
    coarsener = Coarsener(1)

    assert packets(coarsener.windows("eth0", rows_of([UDP, TCP, UDP]), 1.0, 0.0)) == [("eth0", [1]), ("eth0", [1])]
    assert packets(coarsener.rest()) == [("eth0", [1])]


def test_a_change_of_granularity_hands_over_what_waits():
    """Coming down, or climbing, ends the block of the other window first."""
    coarsener = Coarsener(8)
    assert packets(coarsener.windows("eth0", rows_of([UDP, UDP]), 1.0, 0.0)) == []

    assert packets(coarsener.windows("eth0", rows_of([UDP]), 10.0, 0.1)) == [("eth0", [2])]
    assert packets(coarsener.windows("eth0", rows_of([TCP]), 0.0, 0.2)) == [("eth0", [1]), ("eth0", [1])]
