"""The queue of pending messages: order, bound, and what may be evicted."""

from __future__ import annotations

from services.collector.batcher import HEADER_BYTES
from services.collector.pending import Pending
from tests.unit.collector.making import message


def ids(messages):
    return [m.envelope.sequence for m in messages]


def test_the_window_is_the_head_in_order_and_keeps_what_is_not_acknowledged():
    """Unacknowledged messages stay first in the next window, in their order; newer ones fill up behind them."""
    pending = Pending(bound_bytes=1 << 20, in_flight=3)
    pending.add([message(n) for n in range(1, 6)])

    assert ids(pending.window()) == [1, 2, 3]
    pending.acknowledge({"node-a/boot-1/2"})

    assert ids(pending.window()) == [1, 3, 4]
    assert pending.settled == 0
    pending.acknowledge({f"node-a/boot-1/{n}" for n in (1, 3)})
    assert pending.settled == 3


def test_only_messages_never_sent_are_evicted_oldest_first():
    """What was sent may be stored, so it is not evicted; of the others the oldest goes first."""
    size = HEADER_BYTES + 7
    pending = Pending(bound_bytes=3 * size, in_flight=1)
    pending.add([message(n) for n in range(1, 6)])
    pending.window()

    assert ids(pending.evict()) == [2, 3]
    assert pending.bytes == 3 * size
    assert pending.full
    assert ids(pending.window()) == [1]


def test_settled_counts_evicted_messages_too():
    """The settled sequence is that below the oldest message still here; it is the last one when none is."""
    pending = Pending(bound_bytes=0, in_flight=1)
    pending.add([message(1), message(2)])
    pending.evict()

    assert pending.settled == 2
    assert len(pending) == 0
    assert pending.bytes == 0


def test_abandon_returns_everything():
    """At the end, what is left can be counted."""
    pending = Pending(bound_bytes=1 << 20, in_flight=1)
    pending.add([message(1), message(2)])
    pending.window()

    assert ids(pending.abandon()) == [1, 2]
    assert len(pending) == 0
