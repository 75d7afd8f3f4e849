"""The verdict: what was fed, published, stored and itemised as lost must come out even, packet by packet.

Six witnesses, none of which is asked about itself:

1. the **file**: what a boot published, in the order of its sequences, is the replay of the file from its beginning,
   nothing left out. Only what a killed collector had not yet on disk is missing, at the end. A boot that captured live
   begins somewhere; from there on nothing is left out but what the kernel counted as dropped;
2. the **stream**: each batch in it is in exactly one object, and no object holds any other;
3. the **rows** in the bucket: each packet of the file as often as the boots of its node published it;
4. the **ledger**: decoded = published + evicted + crashed for every boot, nothing spooled any more, and published is
   what is stored;
5. the **audit**: ``streamgauge audit --deep`` finds nothing;
6. the **exporter** shows every node, and no imbalance.

A collector killed while its spool refused to be written held batches in memory only. They are lost with it, and it
shows as sequences missing in the middle: those must not be more than the ledger counts as crashed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tests.chaos import feed

if TYPE_CHECKING:
    from tests.chaos.evidence import Evidence, Published


@dataclass(slots=True)
class Verdict:
    """Packets, unless the name says otherwise."""

    boots: int = 0
    batches: int = 0
    objects: int = 0
    #: Batches that stand twice in the stream; the backup had to notice.
    repeated: int = 0
    fed: int = 0
    published: int = 0
    stored: int = 0
    evicted: int = 0
    crashed: int = 0
    dropped: int = 0
    lost: int = 0
    duplicated: int = 0
    unaccounted: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything came out even."""
        return not (self.lost or self.duplicated or self.unaccounted or self.findings)


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict on a run that has ended and is drained."""
    stored = evidence.stored
    verdict = Verdict(boots=len(evidence.published), objects=stored.objects, repeated=evidence.repeated)
    verdict.findings += stored.faults
    verdict.findings += [f"audit: {what}" for what in evidence.audit] + evidence.exporter
    if evidence.discarded:
        verdict.findings.append(f"the stream discarded {evidence.discarded} messages: raise its limit")
    if stored.quarantined:
        verdict.findings.append(f"{stored.quarantined} messages in quarantine")
    if stored.ledger_records != evidence.ledger_messages:
        verdict.findings.append(f"{evidence.ledger_messages} ledger records published, {stored.ledger_records} stored")
    for who, published in evidence.published.items():
        _judge_boot(who, published, evidence, verdict)
    for who in stored.sequences.keys() - evidence.published.keys():
        _find(verdict, "unaccounted", stored.packets[who], f"{who}: stored, and never published")
    _judge_rows(evidence, verdict)
    return verdict


def _judge_boot(who: tuple[str, str], published: Published, evidence: Evidence, verdict: Verdict) -> None:
    stored = evidence.stored
    there, known = published.batches.keys(), stored.sequences.get(who, Counter())
    verdict.batches += len(there)
    verdict.published += len(published.numbers)
    verdict.stored += stored.packets.get(who, 0)
    missing = there - known.keys()
    packets = sum(len(published.batches[sequence]) for sequence in missing)
    _find(verdict, "lost", packets, f"{who}: batches published and not stored: {_some(missing)}")
    foreign = known.keys() - there
    if foreign:
        verdict.findings.append(f"{who}: batches stored and not in the stream: {_some(foreign)}")
    twice = {sequence for sequence, objects in known.items() if objects > 1}
    if twice:
        verdict.findings.append(f"{who}: batches in more than one object: {_some(twice)}")
    _judge_replay(who, published, evidence.undelivered, verdict)
    _judge_ledger(who, published, stored.packets.get(who, 0), verdict)


def _judge_replay(who: tuple[str, str], published: Published, undelivered: int, verdict: Verdict) -> None:
    """Compare with the file. Between two batches in sequence nothing may be left out that the kernel handed over."""
    gaps = set(range(1, max(published.batches, default=0) + 1)) - published.batches.keys()
    ledger = published.ledger
    live = ledger is not None and ledger.interface != feed.NAME
    # What came before a live capture began was not for it.
    left_out = int(feed.breaks(published.numbers)[int(live) :].sum())
    named = ledger.kernel_dropped + undelivered if ledger is not None and live else 0
    if gaps and ledger is not None:
        named += ledger.crashed + ledger.evicted
    if left_out > named:
        missing = f"batches {_some(gaps)} missing" if gaps else "between batches in sequence"
        what = f"{who}: {left_out} packets left out, {missing}; {named} of them have a name"
        _find(verdict, "lost", left_out - named, what)


def _judge_ledger(who: tuple[str, str], published: Published, stored: int, verdict: Verdict) -> None:
    ledger = published.ledger
    if ledger is None:
        _find(verdict, "unaccounted", stored, f"{who}: no ledger record")
        return
    verdict.fed += ledger.decoded
    verdict.evicted += ledger.evicted
    verdict.crashed += ledger.crashed
    verdict.dropped += ledger.kernel_dropped
    remainder = abs(ledger.unpublished) + abs(ledger.undecoded) + ledger.spooled + abs(ledger.published - stored)
    sums = (
        f"received {ledger.kernel_received}, decoded {ledger.decoded}, published {ledger.published}, "
        f"spooled {ledger.spooled}, evicted {ledger.evicted}, crashed {ledger.crashed}; stored {stored}"
    )
    _find(verdict, "unaccounted", remainder, f"{who}: the ledger ({ledger.reason}) does not come out even: {sums}")


def _judge_rows(evidence: Evidence, verdict: Verdict) -> None:
    """Compare the rows of each node with what its boots published, packet by packet of the file."""
    nodes = {node for node, _ in evidence.published} | evidence.stored.rows.keys()
    nothing = np.zeros(feed.PACKETS, dtype=np.int64)
    for node in sorted(nodes):
        boots = [boot for (name, _), boot in evidence.published.items() if name == node]
        expected = sum((feed.counts(boot.numbers) for boot in boots), start=nothing)
        difference = evidence.stored.rows.get(node, nothing) - expected
        more, less = int(difference[difference > 0].sum()), -int(difference[difference < 0].sum())
        _find(verdict, "duplicated", more, f"{node}: packets stored more often than they were published")
        if less > verdict.lost:
            _find(verdict, "lost", less - verdict.lost, f"{node}: packets published and not in any row")


def _some(sequences: set[int]) -> str:
    """Return the first of many numbers."""
    return ", ".join(str(sequence) for sequence in sorted(sequences)[:10])


def _find(verdict: Verdict, what: str, packets: int, text: str) -> None:
    if packets:
        setattr(verdict, what, getattr(verdict, what) + packets)
        verdict.findings.append(f"{packets} {what}: {text}")
