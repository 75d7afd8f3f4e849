"""The queue of pending messages: order, bounds, and what may be evicted."""

from __future__ import annotations

from services.collector.batcher import HEADER_BYTES
from services.collector.pending import Pending
from tests.unit.collector.making import entry

SIZE = HEADER_BYTES + 7
NOW = 1000.0


def numbers(entries):
    return [one.envelope.sequence for one in entries]


def test_the_window_is_the_head_in_order_and_keeps_what_is_not_acknowledged():
    """Unacknowledged messages stay first in the next window, in their order; newer ones fill up behind them."""
    pending = Pending(bound_bytes=1 << 20, in_flight=3)
    pending.add([entry(n) for n in range(1, 6)])

    window = pending.window()
    assert numbers(window) == [1, 2, 3]
    pending.settle([window[1]])

    window = pending.window()
    assert numbers(window) == [1, 3, 4]
    assert pending.settled("boot-1", 5) == 0
    pending.settle(window[:2])
    assert pending.settled("boot-1", 5) == 3
    assert pending.settled("boot-0", 9) == 9


def test_only_messages_never_sent_are_evicted_oldest_first():
    """What was sent may be stored, so it is not evicted; of the others the oldest goes first."""
    pending = Pending(bound_bytes=3 * SIZE, in_flight=1)
    pending.add([entry(n) for n in range(1, 6)])
    pending.window()

    assert numbers(pending.evict(NOW)) == [2, 3]
    assert pending.bytes == 3 * SIZE
    assert pending.full
    assert numbers(pending.window()) == [1]


def test_what_a_former_boot_may_have_sent_is_not_evicted():
    """Of a former boot the first messages may be stored already, so eviction passes them by."""
    pending = Pending(bound_bytes=SIZE, in_flight=1)
    old = [entry(n, spooled=True, boot="boot-0") for n in (1, 2)]
    old[0].may_be_stored = True
    pending.add([*old, entry(1)])

    assert [one.envelope.message_id for one in pending.evict(NOW)] == ["node-a/boot-0/2", "node-a/boot-1/1"]
    assert len(pending) == 1


def test_what_is_too_old_is_evicted():
    """A message older than the bound goes, whatever room there is."""
    pending = Pending(bound_bytes=1 << 20, in_flight=1, bound_age=60.0)
    pending.add([entry(1, closed_at=NOW - 61), entry(2, closed_at=NOW - 59)])

    assert numbers(pending.evict(NOW)) == [1]
    assert pending.oldest == NOW - 59


def test_a_payload_on_disk_leaves_memory_when_it_is_full():
    """Past the bound of memory a spooled message keeps its place and lets its payload go; the head stays in memory."""
    pending = Pending(bound_bytes=1 << 20, memory_bytes=2 * SIZE, in_flight=8)
    pending.add([entry(n, spooled=True) for n in range(1, 5)])

    window = pending.window()
    assert [one.payload is not None for one in window] == [True, True, False, False]
    assert (pending.bytes, pending.in_memory) == (4 * SIZE, 2 * SIZE)
    assert pending.evict(NOW) == []

    pending.load(window[2], b"payload")
    assert pending.in_memory == 3 * SIZE
    pending.settle(window)
    assert (pending.bytes, pending.in_memory, pending.unspooled) == (0, 0, 0)


def test_without_a_disk_memory_is_the_bound():
    """Messages that the disk refused are evicted, oldest first, when they fill the memory; those on disk stay."""
    pending = Pending(bound_bytes=1 << 20, memory_bytes=2 * SIZE, in_flight=1)
    pending.add([entry(1, spooled=True), entry(2), entry(3), entry(4)])

    assert pending.full
    assert numbers(pending.evict(NOW)) == [2]
    assert len(pending) == 3


def test_abandon_returns_everything():
    """At the end, what is left can be counted."""
    pending = Pending(bound_bytes=1 << 20, in_flight=1)
    pending.add([entry(1), entry(2)])
    pending.window()

    assert numbers(pending.abandon()) == [1, 2]
    assert len(pending) == pending.bytes == 0
