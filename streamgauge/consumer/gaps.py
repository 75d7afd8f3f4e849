"""What a consumer missed, from the numbers in the headers alone. Pure policy: envelopes and a clock in, gaps out.

A collector numbers its batches from 1 at each start (*boot*), all classes together (``Streamgauge-Sequence``) and each
class by itself (``Streamgauge-Class-Sequence``). Somebody who subscribed to one class sees holes in the former and none
in the latter. A new boot is no gap: its numbers begin anew.

A hole is not told at once: a batch that had to be sent again comes a little after its successors. It is told once the
node has gone on by more than a collector sends at a time, or after some seconds, or as soon as the cause is known.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import astuple, dataclass, field
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, Final

from streamgauge.ranges import RangeSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamgauge.subjects import Envelope

#: Batches that a collector sends before the first of them is acknowledged (STREAMGAUGE_COLLECTOR_IN_FLIGHT).
_IN_FLIGHT: Final = 8
#: Starts of one node that are remembered; what a former start left behind is published before anything newer.
_BOOTS: Final = 8
#: Separate ranges of numbers remembered of one line; past it the oldest hole is forgotten.
_RANGES: Final = 256
#: Batches of collectors that number no classes, remembered to recognise one that comes twice.
_UNNUMBERED: Final = 65_536


class Reason(Enum):
    """Why batches were missed."""

    #: This program took batches more slowly than they came (live subscriptions only).
    SLOW = "slow"
    #: There was no connection to NATS when they were published (live subscriptions only).
    DISCONNECTED = "disconnected"
    #: The stream no longer held them when it was their turn: its limits, a purge, a stream made anew.
    DISCARDED = "discarded"
    #: They never were in NATS: the collector's spool was full and gave them up, or NATS lost them.
    UNPUBLISHED = "unpublished"
    #: They were here and could not be read.
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of batches of one node and class that did not come.

    ``first`` and ``last`` are numbers within the class (``Streamgauge-Class-Sequence``). ``last`` and ``packets`` are
    None where only the beginning is known: the collector was started anew while batches went missing, or the
    subscription ended, so there *may* be some behind ``first``. ``exact`` is False where these are the most there can
    be: some may have been read by a former run that was killed, or be older than the subscription.

    >>> print(Gap("worker-1", "b1", "dns", 7, 9, 41, Reason.DISCARDED))
    worker-1: 3 batches of dns (7 to 9, 41 packets) missed: discarded
    """

    node: str
    boot: str
    traffic_class: str
    first: int
    last: int | None
    packets: int | None
    reason: Reason
    exact: bool = True

    @property
    def batches(self) -> int | None:
        """How many batches; None where it is unknown."""
        return None if self.last is None else self.last - self.first + 1

    def __str__(self) -> str:
        """Return it as one line."""
        if self.last is None:
            extent = f"batches of {self.traffic_class} from {self.first} on may be"
        else:
            packets = "" if self.packets is None else f", {self.packets} packets"
            numbers = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
            most = "" if self.exact else "up to "
            extent = f"{most}{self.batches} batches of {self.traffic_class} ({numbers}{packets})"
        return f"{self.node}: {extent} missed: {self.reason.value}"


class Verdict(Enum):
    """What a batch is to a consumer."""

    NEW = "new"
    #: It fills a gap that was already told.
    LATE = "late"
    DUPLICATE = "duplicate"


@dataclass(slots=True)
class _Hole:
    """Numbers that were passed over, not told yet. ``before`` and ``after`` are the packets of the class around it."""

    first: int
    last: int
    before: int
    after: int
    #: Number of the batch, over all classes, that showed it; and when.
    revealed_by: int
    at: float
    reason: Reason
    exact: bool


@dataclass(slots=True)
class _Line:
    """One node, boot and class."""

    seen: RangeSet = field(default_factory=RangeSet)
    #: Packets of the class up to the highest number seen.
    total: int = 0
    #: How many doubts there were when it was last heard of.
    doubts: int = 0
    #: Taken from a state that was older than what had been read.
    loose: bool = False
    #: The number at which a former run ended; it comes once more if it was not acknowledged.
    again: int = 0


class Tracker:
    """Follows the numbers of all nodes of one subscription."""

    def __init__(self, *, grace: float = 2.0) -> None:
        """``grace`` is how many seconds a hole without a known cause may still be filled."""
        self._grace = grace
        #: Boots of a node, oldest first, each with its lines by class and the highest number over all classes.
        self._nodes: dict[str, OrderedDict[str, dict[str, _Line]]] = {}
        self._reached: dict[tuple[str, str], int] = {}
        self._holes: dict[tuple[str, str, str], list[_Hole]] = {}
        self._told: list[Gap] = []
        #: Where in it the run stands that a line's next dropped batch may continue: whoever never asks again would else
        #: have a gap for each batch of many nodes.
        self._dropped: dict[tuple[str, str, str], int] = {}
        self._doubts = 0
        self._doubt = Reason.UNPUBLISHED
        self._unnumbered: OrderedDict[str, None] = OrderedDict()

    def doubt(self, reason: Reason) -> None:
        """Know of a cause for which batches may be missing between what came and what comes."""
        self._doubts += 1
        self._doubt = reason

    def surprising(self, envelope: Envelope, traffic_class: str) -> bool:
        """Tell whether a batch leaves something open before it: worth asking the stream what it discarded."""
        if not envelope.class_sequence:
            return False
        boots: Mapping[str, dict[str, _Line]] = self._nodes.get(envelope.node, {})
        lines = boots.get(envelope.boot)
        line = None if lines is None else lines.get(traffic_class)
        if line is None:
            return envelope.class_sequence > 1 or (lines is None and bool(boots))
        return line.loose or envelope.class_sequence > line.seen.last + 1

    def take(self, envelope: Envelope, traffic_class: str, now: float) -> Verdict:
        """Take a batch into account."""
        if not envelope.class_sequence:
            return self._take_unnumbered(envelope)
        line = self._line(envelope, traffic_class, now)
        number = envelope.class_sequence
        if number == line.again:
            line.again = 0
            return Verdict.NEW
        if number in line.seen:
            return Verdict.DUPLICATE
        verdict = Verdict.NEW
        if number > line.seen.last:
            if line.seen and number > line.seen.last + 1:
                self._open(line, envelope, traffic_class, now)
            line.total = envelope.class_packets
        elif not self._fill(envelope, traffic_class) and number > next(iter(line.seen))[0]:
            verdict = Verdict.LATE
        line.seen.add(number)
        line.doubts, line.loose = self._doubts, False
        self._bound(line)
        key = (envelope.node, envelope.boot)
        self._reached[key] = max(self._reached.get(key, 0), envelope.sequence)
        return verdict

    def drop(self, envelope: Envelope, traffic_class: str, reason: Reason, now: float) -> None:
        """Take a batch into account that came and is not handed on."""
        if self.take(envelope, traffic_class, now) is Verdict.DUPLICATE:
            return
        number, packets = envelope.class_sequence, envelope.packets
        line = (envelope.node, envelope.boot, traffic_class)
        place = self._dropped.get(line)
        if place is not None:
            run = self._told[place]
            if run.reason is reason and run.last == number - 1:
                self._told[place] = Gap(*line, run.first, number, (run.packets or 0) + packets, reason)
                return
        self._dropped[line] = len(self._told)
        self._told.append(Gap(*line, number, number, packets, reason))

    def due(self, now: float) -> list[Gap]:
        """Return the gaps that are certain by now; each is returned once."""
        gaps, self._told = self._told, []
        self._dropped.clear()
        for key, holes in list(self._holes.items()):
            reached = self._reached.get(key[:2], 0)
            latest_boot = next(reversed(self._nodes[key[0]])) if key[0] in self._nodes else key[1]
            open_still = []
            for hole in holes:
                certain = (
                    hole.reason is not Reason.UNPUBLISHED
                    or latest_boot != key[1]
                    or reached >= hole.revealed_by + _IN_FLIGHT
                    or now - hole.at >= self._grace
                )
                if certain:
                    packets = hole.after - hole.before
                    gaps.append(Gap(*key, hole.first, hole.last, packets, hole.reason, exact=hole.exact))
                else:
                    open_still.append(hole)
            if open_still:
                self._holes[key] = open_still
            else:
                del self._holes[key]
        return gaps

    def finish(self) -> list[Gap]:
        """Return what is left to tell when nothing more comes: holes, and ends that nobody heard of after a loss."""
        gaps = self.due(inf)
        for node in self._nodes:
            self._end_former(node)
        return [*gaps, *self.due(inf)]

    @property
    def waiting(self) -> bool:
        """Whether there are gaps that are not told yet."""
        return bool(self._holes or self._told)

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs after a restart of the consumer, as JSON takes it."""
        nodes = {
            node: {
                boot: {
                    name: [
                        *(line.seen.last, line.total),
                        *(
                            [hole.first, hole.last, hole.before, hole.after, hole.revealed_by]
                            for hole in self._holes.get((node, boot, name), ())
                        ),
                    ]
                    for name, line in lines.items()
                    if line.seen
                }
                for boot, lines in list(boots.items())[-1:]
            }
            for node, boots in self._nodes.items()
        }
        return {"nodes": nodes, "untold": [[*astuple(gap)[:6], gap.reason.value, gap.exact] for gap in self._told]}

    def restore(self, state: Mapping[str, Any], *, stale: bool) -> None:
        """Go on from a former state; ``stale`` says that more had been read than it knows of."""
        self._told += [
            Gap(node, boot, name, first, last, packets, Reason(reason), exact)
            for node, boot, name, first, last, packets, reason, exact in state["untold"]
        ]
        for node, boots in state["nodes"].items():
            for boot, lines in boots.items():
                known = self._nodes.setdefault(node, OrderedDict()).setdefault(boot, {})
                for name, (last, total, *holes) in lines.items():
                    if holes:
                        self._holes[node, boot, name] = [
                            _Hole(first, end, before, after, revealed_by, -inf, Reason.UNPUBLISHED, exact=True)
                            for first, end, before, after, revealed_by in holes
                        ]
                    known[name] = _Line(RangeSet([[last, last]]), total, self._doubts, stale, again=last)

    def _take_unnumbered(self, envelope: Envelope) -> Verdict:
        if envelope.message_id in self._unnumbered:
            return Verdict.DUPLICATE
        self._unnumbered[envelope.message_id] = None
        if len(self._unnumbered) > _UNNUMBERED:
            self._unnumbered.popitem(last=False)
        return Verdict.NEW

    def _line(self, envelope: Envelope, traffic_class: str, now: float) -> _Line:
        boots = self._nodes.setdefault(envelope.node, OrderedDict())
        lines = boots.get(envelope.boot)
        if lines is None:
            self._end_former(envelope.node)
            lines = boots[envelope.boot] = {}
            while len(boots) > _BOOTS:
                former, _ = boots.popitem(last=False)
                self._reached.pop((envelope.node, former), None)
        line = lines.get(traffic_class)
        if line is None:
            line = lines[traffic_class] = _Line(doubts=self._doubts)
            # Whoever knew the node before it started anew has to see each class of this boot from its first batch; of
            # another boot the first batches may be older than the subscription.
            anew = len(boots) > 1
            if envelope.class_sequence > 1 and (anew or self._doubts):
                reason = self._doubt if self._doubts else Reason.UNPUBLISHED
                self._hole(envelope, traffic_class, 1, 0, now, reason, exact=anew)
        return line

    def _end_former(self, node: str) -> None:
        """Say of what went missing behind the last batch of a boot that ended meanwhile."""
        for boot, lines in self._nodes[node].items():
            for name, line in lines.items():
                if line.doubts < self._doubts and line.seen:
                    line.doubts = self._doubts
                    first = line.seen.last + 1
                    self._told.append(Gap(node, boot, name, first, None, None, self._doubt, exact=False))

    def _open(self, line: _Line, envelope: Envelope, traffic_class: str, now: float) -> None:
        doubted = line.doubts < self._doubts
        if line.loose and not doubted:
            # What lies between was read, only the state did not know.
            return
        reason = self._doubt if doubted else Reason.UNPUBLISHED
        self._hole(envelope, traffic_class, line.seen.last + 1, line.total, now, reason, exact=not line.loose)

    def _hole(
        self, envelope: Envelope, name: str, first: int, before: int, now: float, reason: Reason, *, exact: bool
    ) -> None:
        after = envelope.class_packets - envelope.packets
        hole = _Hole(first, envelope.class_sequence - 1, before, after, envelope.sequence, now, reason, exact)
        self._holes.setdefault((envelope.node, envelope.boot, name), []).append(hole)

    def _fill(self, envelope: Envelope, traffic_class: str) -> bool:
        """Take a batch out of the hole it fills; return whether there is one."""
        key = (envelope.node, envelope.boot, traffic_class)
        holes = self._holes.get(key, [])
        for position, hole in enumerate(holes):
            if hole.first <= envelope.class_sequence <= hole.last:
                holes[position : position + 1] = _split(hole, envelope)
                if not holes:
                    del self._holes[key]
                return True
        return False

    @staticmethod
    def _bound(line: _Line) -> None:
        ranges = line.seen.to_list()
        if len(ranges) > _RANGES:
            line.seen.add(ranges[0][0], ranges[1][1])


def _split(hole: _Hole, envelope: Envelope) -> Iterator[_Hole]:
    """Yield what is left of a hole around a batch in it."""
    number = envelope.class_sequence
    if number > hole.first:
        before = envelope.class_packets - envelope.packets
        yield _Hole(hole.first, number - 1, hole.before, before, hole.revealed_by, hole.at, hole.reason, hole.exact)
    if number < hole.last:
        after, at = hole.after, hole.at
        yield _Hole(number + 1, hole.last, envelope.class_packets, after, hole.revealed_by, at, hole.reason, hole.exact)
