"""What the intake takes in, whatever is delivered again, twice or out of order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.backup.consumer import Delivery
from services.backup.intake import Intake
from streamgauge.leases import Span
from streamgauge.objects import Seen
from streamgauge.ranges import RangeSet
from tests.support import summaries

MADE = summaries.batch(1)


def delivery(sequence, batch=None, *, boot="boot-1", stored=None, number=0):
    headers = summaries.envelope(MADE, batch or sequence, boot=boot).headers()
    when = sequence if stored is None else stored
    return Delivery("traffic.v1.node-a.tcp.3", b"x", headers, sequence, when, 0, f"reply-{sequence}-{number}")


def intake(keep=1000):
    return Intake("summaries", keep=keep)


@given(st.data())
def test_each_batch_once_and_none_left_out(data):
    """Any order of first deliveries in stream order, redeliveries and rotations: each batch is in one object, once."""
    one = intake()
    batches = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=40))
    stored, done = [], 0
    for at, batch in enumerate(batches, 1):
        one.take(delivery(at, batch), 0.0)
        for again in data.draw(st.lists(st.integers(1, at), max_size=2)):
            known = one.take(delivery(again, batches[again - 1], number=1), 0.0)

            assert (known is not None) == (again <= done)
        if data.draw(st.booleans()) and one.open.replies:
            assembly, _ = one.close()
            stored += [held.envelope.sequence for held in assembly.batches]
            done = one.stored().last
    stored += [held.envelope.sequence for held in one.open.batches]

    assert sorted(stored) == sorted(set(batches))


def test_acknowledges_where_it_was_delivered_last():
    """A message delivered again while in hand is acknowledged by its newest delivery."""
    one = intake()
    one.take(delivery(5), 0.0)
    one.take(delivery(5, number=1), 0.0)

    assert one.open.replies == {5: "reply-5-1"}


def test_the_footer_speaks_for_its_object_only():
    """What is read while an object is written is not in its state."""
    one = intake()
    one.take(delivery(1), 0.0)
    _, seen = one.close()
    one.take(delivery(2), 0.0)

    assert seen["node-a", "boot-1"].sequences.to_list() == [[1, 1]]


def test_forgets_what_is_older_than_it_keeps():
    """A boot whose last batch is older than ``keep`` is forgotten, measured by JetStream's clock."""
    one = intake(keep=100)
    one.begin(
        0, {("node-b", "old"): Seen(RangeSet([[1, 9]]), 50), ("node-c", "new"): Seen(RangeSet([[1, 9]]), 150)}, None
    )
    one.take(delivery(1, stored=200), 0.0)
    _, seen = one.close()

    assert set(seen) == {("node-c", "new"), ("node-a", "boot-1")}


def test_poison_is_noted_and_does_not_stop_the_rest():
    """A message that is nothing of ours has its place in the object's range, with the reason."""
    one = intake()
    one.take(delivery(1)._replace(headers=None), 0.0)
    one.take(delivery(2)._replace(subject="traffic.v1.node-b.tcp.3"), 0.0)
    one.take(delivery(3), 0.0)

    reasons = [reason for _, reason in one.open.poison]
    assert reasons[0].startswith("headers missing")
    assert reasons[1] == "header says node node-a, the subject node-b"
    assert [held.envelope.sequence for held in one.open.batches] == [3]
    assert (one.open.first, one.open.last) == (1, 3)


def test_an_unfinished_object_is_made_of_the_same_messages():
    """It is complete with its last message, and what lies behind it does not belong to it."""
    one = intake()
    one.begin(3, {}, Span(4, 6, "key"))
    one.take(delivery(4), 0.0)
    before = one.complete
    one.take(delivery(6), 0.0)

    assert (before, one.complete) == (False, True)
    assert one.exceeds(delivery(7))


def test_an_unfinished_object_whose_messages_are_gone():
    """When the stream no longer has them, the next message lies behind it."""
    one = intake()
    one.begin(3, {}, Span(4, 6, "key"))

    assert one.exceeds(delivery(9))


def test_what_cannot_be_identified_is_held_too():
    """A flood of foreign messages counts against the bytes an object and the process may hold."""
    one = intake()
    one.take(delivery(1)._replace(headers=None, data=b"x" * 1000), 0.0)

    assert (len(one.open.poison), one.open.size, one.size) == (1, 1000, 1000)
