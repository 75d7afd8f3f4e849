"""Who had an address: the views beside the code that the exporter uses."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from streamgauge.identity import bindings as folding
from streamgauge.identity.events import STORED_SCHEMA, Binding, Event, changes, snapshot
from streamgauge.identity.table import IdentityTable
from tests.support import archive
from tests.support.query import HOUR, START, ask

if TYPE_CHECKING:
    from pathlib import Path

SECOND: Final = 10**9
ADDRESSES: Final = [f"10.1.0.{number}" for number in range(12)]


def life(chance: random.Random) -> list[Event]:
    """Return an hour and a half of pods that come, go and take over addresses; some go unnoticed, as snapshots tell."""
    events: list[Event] = []
    alive: dict[str, Binding] = {}
    now, snapshots = START, 0
    for number in range(120):
        now += chance.randrange(1, 90) * SECOND
        ip = chance.choice(ADDRESSES)
        old = alive.pop(ip, None)
        if old is not None and chance.random() < 0.7:
            events += changes("home", now, [ended(old, now - chance.randrange(2) * SECOND)])
        if chance.random() < 0.7:
            host = chance.random() < 0.1
            uid, name = f"uid-{number}", f"pod-{number}"
            one = Binding(ip, "pod", uid, "shop", name, name, "Job", "node-a", host, now)
            alive[ip] = one
            events += changes("home", now, [one])
        if now > START + snapshots * HOUR // 3:
            snapshots += 1
            events += snapshot("home", now + 1, list(alive.values()))
    return events


def ended(binding: Binding, when: int) -> Binding:
    values = {name: getattr(binding, name) for name in Binding.__slots__}
    return Binding(**{**values, "valid_to": max(when, binding.valid_from + 1)})


def test_bindings_and_names_are_those_of_the_exporter(tmp_path: Path) -> None:
    """Begin and end of each binding, and the owner of each address at a thousand moments."""
    chance = random.Random(11)
    events = life(chance)
    rows = [row for number, event in enumerate(events) for row in event.rows(event.time + number)]
    archive.Archive(tmp_path).add_records("identity", rows)
    folded = folding.fold(pa.Table.from_pylist(rows, schema=STORED_SCHEMA))
    found = ask(tmp_path, "SELECT uid, ip, from_ns, to_ns FROM identity ORDER BY uid")
    wanted = sorted(folding.to_list(folded), key=lambda each: each.uid)

    assert [(row["uid"], row["ip"], row["from_ns"], row["to_ns"]) for row in found] == [
        (each.uid, each.ip, each.valid_from, each.valid_to) for each in wanted
    ]

    moments = [(chance.choice(ADDRESSES), START + chance.randrange(2 * HOUR)) for _ in range(1_000)]
    sql = """
        SELECT m.i, n.who FROM (SELECT unnest($moments) AS m) LEFT JOIN names n
        ON n.ip = m.ip AND m.at >= n.from_ns AND m.at < n.to_ns ORDER BY m.i
    """
    given = [{"i": number, "ip": ip, "at": at} for number, (ip, at) in enumerate(moments)]
    names = [row["who"] for row in ask(tmp_path, sql, moments=given)]
    owners = IdentityTable(folding.to_list(folded)).resolve_text(*zip(*moments, strict=True))

    assert names == [None if owner is None else f"{owner.namespace}/{owner.workload}" for owner in owners]
    assert 100 < sum(name is None for name in names) < 900
