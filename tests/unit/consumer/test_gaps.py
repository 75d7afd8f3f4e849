"""Which batches a consumer is told to have missed, from numbers alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.consumer.gaps import Gap, Reason, Tracker, Verdict
from streamgauge.subjects import Envelope


@dataclass
class Node:
    """Numbers batches as a collector does; each of ``n`` packets."""

    name: str = "node-a"
    boot: str = "b1"
    sequence: int = 0
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)

    def batch(self, kind: str = "dns", packets: int = 10) -> Envelope:
        self.sequence += 1
        count, total = self.totals.get(kind, (0, 0))
        self.totals[kind] = count + 1, total + packets
        return Envelope(
            *(self.name, self.boot, self.sequence, "eth0", "interface", 1, packets, 0, 0, 0),
            class_sequence=count + 1,
            class_packets=total + packets,
        )

    def batches(self, count: int, kind: str = "dns") -> list[Envelope]:
        return [self.batch(kind) for _ in range(count)]


def take(tracker: Tracker, *batches: Envelope, kind: str = "dns", now: float = 0.0) -> list[Verdict]:
    return [tracker.take(batch, kind, now) for batch in batches]


def test_whoever_joins_late_missed_nothing() -> None:
    """The first batch of a node is where it begins, whatever its number."""
    tracker = Tracker()
    _, *later = Node().batches(5)

    assert take(tracker, *later) == [Verdict.NEW] * 4
    assert tracker.due(99.0) == []


def test_batches_of_other_classes_are_no_gap() -> None:
    """A subscription to one class sees holes in the numbers of the node, and none in those of the class."""
    tracker, node = Tracker(), Node()
    for _ in range(5):
        node.batches(3, "tcp")
        take(tracker, node.batch())

    assert tracker.due(99.0) == []


def test_a_hole_is_told_once_with_its_packets() -> None:
    """Numbers, and how many packets were in them: the difference of what the headers count."""
    tracker, node = Tracker(grace=2.0), Node()
    one, two, three, four = node.batches(4)
    take(tracker, one, four)
    assert tracker.due(1.9) == []

    assert tracker.due(2.0) == [Gap("node-a", "b1", "dns", 2, 3, two.packets + three.packets, Reason.UNPUBLISHED)]
    assert tracker.due(99.0) == []


def test_a_batch_that_was_sent_again_fills_its_hole() -> None:
    """It comes after its successors, and nothing was missed."""
    tracker = Tracker()
    one, two, three = Node().batches(3)

    assert take(tracker, one, three, two) == [Verdict.NEW] * 3
    assert tracker.due(99.0) == []


def test_a_hole_around_a_late_batch_is_two() -> None:
    """Each with its own packets."""
    tracker, node = Tracker(), Node()
    batches = node.batches(6)
    take(tracker, batches[0], batches[5], batches[2])

    assert [(gap.first, gap.last, gap.packets) for gap in tracker.due(99.0)] == [(2, 2, 10), (4, 5, 20)]


def test_a_node_that_went_on_far_enough_makes_it_certain() -> None:
    """A collector sends no more than a few batches before the first of them is acknowledged."""
    tracker, node = Tracker(grace=1e9), Node()
    one, _, three = node.batches(3)
    take(tracker, one, three, *node.batches(8))

    assert [(gap.first, gap.last) for gap in tracker.due(0.0)] == [(2, 2)]


def test_a_batch_after_its_gap_was_told_is_late() -> None:
    """It is handed on all the same."""
    tracker = Tracker()
    one, two, three = Node().batches(3)
    take(tracker, one, three)
    tracker.due(99.0)

    assert take(tracker, two, two) == [Verdict.LATE, Verdict.DUPLICATE]


def test_what_comes_twice_is_known() -> None:
    """By node, boot and number; also from a collector that numbers no classes."""
    tracker = Tracker()
    batch, old = Node().batch(), Envelope("node-a", "b0", 7, "eth0", "interface", 1, 1, 0, 0, 0)

    assert take(tracker, batch, batch, old, old) == [Verdict.NEW, Verdict.DUPLICATE] * 2


def test_a_restart_of_the_collector_is_no_gap() -> None:
    """Its numbers begin anew."""
    tracker = Tracker()
    take(tracker, *Node().batches(3), *Node(boot="b2").batches(3))

    assert tracker.due(99.0) == []


def test_the_beginning_of_a_boot_can_be_missed() -> None:
    """Whoever knew the node before sees every class of the new boot from 1."""
    tracker = Tracker()
    take(tracker, Node().batch())
    _, _, third = Node(boot="b2").batches(3)
    take(tracker, third)

    assert [(gap.boot, gap.first, gap.last, gap.packets) for gap in tracker.due(99.0)] == [("b2", 1, 2, 20)]


def test_the_end_of_a_boot_that_nobody_saw_is_open() -> None:
    """While the connection was lost the collector started anew: how far it had come is not known."""
    tracker = Tracker()
    take(tracker, *Node().batches(3))
    tracker.doubt(Reason.DISCONNECTED)
    take(tracker, Node(boot="b2").batch())
    gap, *more = tracker.due(0.0)

    assert (gap.boot, gap.first, gap.last, gap.packets, gap.reason) == ("b1", 4, None, None, Reason.DISCONNECTED)
    assert (gap.batches, gap.exact, more) == (None, False, [])
    assert str(gap) == "node-a: batches of dns from 4 on may be missed: disconnected"


def test_a_known_cause_is_told_at_once() -> None:
    """And only for what was missed since."""
    tracker, node, other = Tracker(), Node(), Node("node-b")
    take(tracker, node.batch(), other.batch())
    tracker.doubt(Reason.DISCARDED)
    node.batches(2)
    take(tracker, node.batch(), other.batch())

    assert [(gap.node, gap.batches, gap.reason) for gap in tracker.due(0.0)] == [("node-a", 2, Reason.DISCARDED)]
    _, late = node.batches(2)
    take(tracker, late)
    assert [gap.reason for gap in tracker.due(99.0)] == [Reason.UNPUBLISHED]


def test_dropped_batches_are_told_as_one_run() -> None:
    """With the exact numbers and packets, before the next batch."""
    tracker, node = Tracker(), Node()
    for batch in node.batches(4):
        tracker.drop(batch, "dns", Reason.SLOW, 0.0)

    assert tracker.due(0.0) == [Gap("node-a", "b1", "dns", 1, 4, 40, Reason.SLOW)]


def test_dropped_batches_of_many_nodes_are_one_run_each() -> None:
    """However they are interleaved and however long nobody asks: memory grows with the nodes, not with the batches."""
    tracker, nodes = Tracker(), [Node(f"node-{number}") for number in range(3)]
    for _ in range(50):
        for node in nodes:
            tracker.drop(node.batch(), "dns", Reason.SLOW, 0.0)

    told = [Gap(f"node-{number}", "b1", "dns", 1, 50, 500, Reason.SLOW) for number in range(3)]
    assert tracker.due(0.0) == told
    tracker.drop(nodes[0].batch(), "dns", Reason.SLOW, 0.0)
    assert tracker.due(0.0) == [Gap("node-0", "b1", "dns", 51, 51, 10, Reason.SLOW)]


def test_state_goes_over_a_restart_of_the_consumer() -> None:
    """What was missed between is told with its exact numbers."""
    former, node = Tracker(), Node()
    take(former, *node.batches(3))
    tracker = Tracker()
    tracker.restore(former.state(), stale=False)
    node.batches(5)
    late = node.batch()
    assert tracker.surprising(late, "dns")
    tracker.doubt(Reason.DISCARDED)
    take(tracker, late)

    assert tracker.due(0.0) == [Gap("node-a", "b1", "dns", 4, 8, 50, Reason.DISCARDED)]


@pytest.mark.parametrize(("discarded", "told"), [(False, []), (True, [(4, 8, False)])])
def test_state_that_is_older_than_what_was_read(discarded: bool, told: list[tuple[int, int, bool]]) -> None:
    """A consumer that was killed had read more than it had noted: without a loss there is nothing to tell."""
    former, node = Tracker(), Node()
    take(former, *node.batches(3))
    tracker = Tracker()
    tracker.restore(former.state(), stale=True)
    node.batches(5)
    if discarded:
        tracker.doubt(Reason.DISCARDED)
    take(tracker, node.batch())

    assert [(gap.first, gap.last, gap.exact) for gap in tracker.due(0.0)] == told


def test_a_class_that_is_first_heard_of_behind_a_loss() -> None:
    """What was published before may be missed, or older than the subscription: at most that is told."""
    tracker, node, other = Tracker(), Node(), Node("node-b")
    take(tracker, node.batch("tcp"), kind="tcp")
    tracker.doubt(Reason.DISCONNECTED)
    node.batches(2)
    other.batches(4)
    dns, unheard = node.batch(), other.batch()

    assert tracker.surprising(dns, "dns")
    assert tracker.surprising(unheard, "dns")
    take(tracker, dns, unheard)
    told = tracker.due(0.0)
    assert told == [
        Gap("node-a", "b1", "dns", 1, 2, 20, Reason.DISCONNECTED, exact=False),
        Gap("node-b", "b1", "dns", 1, 4, 40, Reason.DISCONNECTED, exact=False),
    ]
    assert str(told[0]) == "node-a: up to 2 batches of dns (1 to 2, 20 packets) missed: disconnected"


def test_what_is_not_told_yet_is_told_in_the_end() -> None:
    """A hole that might still have been filled, and the ends that nobody heard of after a loss."""
    tracker, node, other = Tracker(), Node(), Node("node-b")
    take(tracker, node.batch(), other.batch())
    node.batch()
    take(tracker, node.batch())
    assert tracker.due(0.0) == []
    hole = Gap("node-a", "b1", "dns", 2, 2, 10, Reason.UNPUBLISHED)
    assert tracker.finish() == [hole]
    assert tracker.finish() == []

    tracker.doubt(Reason.DISCARDED)
    take(tracker, node.batch())
    assert tracker.finish() == [Gap("node-b", "b1", "dns", 2, None, None, Reason.DISCARDED, exact=False)]
    assert tracker.finish() == []


def test_a_hole_goes_over_a_restart_of_the_consumer() -> None:
    """Killed before it could be told: the next run tells it, and once."""
    former, node = Tracker(), Node()
    take(former, node.batch())
    node.batches(2)
    take(former, node.batch())
    tracker = Tracker()
    tracker.restore(json.loads(json.dumps(former.state())), stale=False)
    take(tracker, node.batch())

    assert tracker.due(0.0) == [Gap("node-a", "b1", "dns", 2, 3, 20, Reason.UNPUBLISHED)]
    assert tracker.due(99.0) == []


def test_nodes_are_told_apart() -> None:
    """Two that lose different batches, interleaved; each has its own numbers and packets."""
    tracker, one, two = Tracker(), Node("one"), Node("two")
    for number in range(12):
        for node, lost in ((one, (3, 4)), (two, (4, 9))):
            batch = node.batch(packets=number + 1)
            if number not in lost:
                take(tracker, batch)

    told = {(gap.node, gap.first, gap.last, gap.packets) for gap in tracker.due(99.0)}
    assert told == {("one", 4, 5, 4 + 5), ("two", 5, 5, 5), ("two", 10, 10, 10)}


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_told_is_exactly_what_was_lost(kept: list[bool], random: object) -> None:
    """Whatever is lost, and however batches are delivered around: numbers and packets add up."""
    tracker, node = Tracker(), Node()
    batches = [node.batch(packets=number + 1) for number in range(len(kept) + 2)]
    lost = [batch for batch, keep in zip(batches[1:-1], kept, strict=True) if not keep]
    arriving = [batch for batch in batches[1:] if batch not in lost]
    random.shuffle(arriving)  # type: ignore[attr-defined]
    take(tracker, batches[0], *arriving, *arriving[:3])
    gaps = tracker.due(99.0)

    numbers = sorted(n for gap in gaps for n in range(gap.first, (gap.last or 0) + 1))
    assert numbers == [batch.class_sequence for batch in lost]
    assert sum(gap.packets or 0 for gap in gaps) == sum(batch.packets for batch in lost)


def test_very_many_holes_are_bounded() -> None:
    """Memory does not grow with what is lost."""
    tracker, node = Tracker(), Node()
    for _ in range(2000):
        node.batch()
        take(tracker, node.batch())
        tracker.due(99.0)

    assert len(tracker._nodes["node-a"]["b1"]["dns"].seen.to_list()) <= 257
