"""Judges the objects: each names its predecessor with size and MD5, so one that is gone or altered shows.

Pure: takes evidence, returns findings.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from streamgauge.audit.model import Evidence, Examined, Finding
from streamgauge.leases import lane_name
from streamgauge.objects import ObjectName
from streamgauge.ranges import RangeSet, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.objects import Manifest, Predecessor

_Lane = tuple[str, int | None]


def judge(evidence: Evidence) -> list[Finding]:
    """Return what is wrong with the objects themselves."""
    findings = [Finding("bucket", f"{key} was altered: {why}", key=key) for key, why in evidence.unreadable.items()]
    grouped = lanes(evidence.objects)
    for (incarnation, shard), lane in grouped.items():
        for before, one in zip([None, *lane[:-1]], lane, strict=True):
            findings += _object(one)
            if one.footer is not None:
                findings += _predecessor(evidence, lane, before, one, one.footer.manifest)
        if incarnation == evidence.incarnation:
            findings += _newest(evidence, lane_name("summaries", shard), lane)
    for name in evidence.notes:
        if name.startswith("shard-") and (evidence.incarnation, int(name.partition("-")[2])) not in grouped:
            findings += _newest(evidence, name, [])
    return findings


def lanes(objects: list[Examined]) -> dict[_Lane, list[Examined]]:
    """Return the objects of each stream and shard in the order of storing."""
    found: dict[_Lane, list[Examined]] = {}
    for one in sorted(objects, key=lambda one: (one.name.first, one.name.last)):
        found.setdefault((one.name.incarnation, one.name.shard), []).append(one)
    return found


def _object(one: Examined) -> Iterator[Finding]:
    if one.footer is None:
        yield Finding("bucket", f"{one.stored.key} was altered: {one.problem}", key=one.stored.key)
        return
    manifest, rows = one.footer.manifest, one.footer.rows
    if (manifest.first_sequence, manifest.last_sequence, manifest.shard) != _covered(one.name, manifest):
        yield Finding(
            "bucket", f"{one.stored.key} is another object: its footer has other sequences", key=one.stored.key
        )
    if rows != manifest.rows:
        gone = manifest.rows - rows
        what = f"{gone} rows were removed from" if gone > 0 else f"{-gone} rows were added to"
        yield Finding(
            "bucket", f"{what} {one.stored.key}: it has {rows}, its footer says {manifest.rows}", key=one.stored.key
        )


def _covered(name: ObjectName, manifest: Manifest) -> tuple[int, int, int | None]:
    # An object that was made again after some of its messages had expired begins and ends inside its name.
    return max(manifest.first_sequence, name.first), min(manifest.last_sequence, name.last), name.shard


def _predecessor(
    evidence: Evidence, lane: list[Examined], before: Examined | None, one: Examined, manifest: Manifest
) -> Iterator[Finding]:
    previous = manifest.previous
    if previous is None:
        if before is not None:
            yield Finding(
                "bucket", f"{before.stored.key} was not there when its successor was stored", key=before.stored.key
            )
        return
    found = next((other for other in lane if other.stored.key == previous.key), None)
    if found is None:
        if previous.key not in evidence.elsewhere and not _expired(evidence, one):
            yield from _gone(before, one, previous)
    elif (found.stored.size, found.stored.etag) != (previous.size, previous.md5):
        yield _altered(found, previous)


def _gone(before: Examined | None, one: Examined, previous: Predecessor) -> Iterator[Finding]:
    """Name what an object that is gone held: its successor knows it to be stored, and it was not stored before it."""
    assert one.footer is not None
    manifest = one.footer.manifest
    own = {(share.node, share.boot): share.sequences for share in manifest.shares}
    earlier = before.footer.manifest.seen if before is not None and before.footer is not None else {}
    size = f"{previous.key} was stored and is gone ({previous.rows} rows, {previous.packets} packets)"
    named = False
    for who, seen in manifest.seen.items():
        held = seen.sequences.minus(own.get(who, RangeSet()))
        held = held.minus(earlier[who].sequences) if who in earlier else held
        if len(held):
            named = True
            what = f"{size}: node {who[0]}, boot {who[1]}, batches {words(held)}"
            yield Finding("bucket", what, *who, tuple(held), previous.key, previous.packets)
    if not named:
        yield Finding("bucket", size, key=previous.key, packets=previous.packets)


def _altered(found: Examined, previous: Predecessor) -> Finding:
    rows = found.footer.rows if found.footer is not None else None
    difference = ""
    if rows is not None and rows != previous.rows:
        difference = f"; it has {rows} rows instead of {previous.rows}"
    return Finding(
        "bucket",
        f"{found.stored.key} was altered after it was stored: {found.stored.size} bytes with MD5 {found.stored.etag} "
        f"instead of {previous.size} with {previous.md5}{difference}",
        key=found.stored.key,
    )


def _expired(evidence: Evidence, successor: Examined) -> bool:
    """Return whether a missing predecessor may have expired: it is older than its successor."""
    modified = successor.stored.modified
    if not evidence.expire_days or modified is None:
        return False
    # Servers look through a bucket once a day or so.
    return modified < datetime.now(UTC) - timedelta(days=evidence.expire_days - 1)


def _newest(evidence: Evidence, lane: str, objects: list[Examined]) -> Iterator[Finding]:
    """Judge the newest object of a lane, which has no successor, by what the backup notes and has acknowledged."""
    note = evidence.notes.get(lane)
    if objects:
        last = objects[-1]
        if not last.stored.md5 or (last.stored.md5 != last.stored.etag and not last.stored.encrypted):
            said = f"MD5 {last.stored.md5}" if last.stored.md5 else "no MD5 of ours"
            yield Finding(
                "bucket",
                f"{last.stored.key} was altered after it was stored: it has ETag {last.stored.etag} and {said}",
                key=last.stored.key,
            )
    if note is None or note.incarnation != evidence.incarnation:
        return
    present = {one.stored.key for one in objects} | evidence.elsewhere
    newest = max((one.name.last for one in objects), default=0)
    for span in (note.committed, note.intent):
        if span is None or span.key in present or span.last <= newest or not _in_window(evidence, span.key):
            continue
        if span is note.intent and evidence.acknowledged.get(int(lane.partition("-")[2]), 0) < span.last:
            continue  # under way
        yield Finding("bucket", f"{span.key} was stored and is gone", key=span.key)


def _in_window(evidence: Evidence, key: str) -> bool:
    name = ObjectName.parse(key)
    return name is not None and evidence.window.has_partition(name.hour, timedelta(hours=1))
