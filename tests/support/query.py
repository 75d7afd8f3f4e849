"""The objects that tests of `streamgauge query` ask: a minute of incidents at two nodes, and the same an hour later.

The web pod's address belongs to another pod in the second hour.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from streamgauge.demo.packets import pcap
from streamgauge.identity.events import Binding, Event
from streamgauge.ledger import LedgerRecord
from streamgauge.query import Folder, Query, Window, named
from streamgauge.query.catalogue import LATEST
from tests.support import archive, incidents

if TYPE_CHECKING:
    from pathlib import Path

#: 2026-11-25T10:00:00Z in ns.
START: Final = 1_795_600_800 * 10**9
HOUR: Final = 3600 * 10**9
#: When the web pod's address changes hands.
CHANGE: Final = START + HOUR // 2


def bindings() -> list[Binding]:
    """Return who had the addresses."""
    return [
        _pod("10.0.0.11", "shop", "web-0", "web", START - HOUR, CHANGE),
        _pod("10.0.0.11", "lab", "probe-0", "probe", CHANGE, None),
        _pod("10.0.0.12", "shop", "database-0", "database", START - HOUR, None),
        _pod("10.0.0.88", "lab", "odd-0", "odd", START - HOUR, None),
        Binding("10.0.0.53", "node", "node-a-uid", "", "node-a", "node-a", "Node", "node-a", False, START - HOUR),
        # Uses its node's address: says nothing about who speaks.
        _pod("10.0.0.53", "kube-system", "proxy-0", "proxy", START - HOUR, None, host_network=True),
    ]


def _pod(
    ip: str, namespace: str, name: str, workload: str, begin: int, end: int | None, *, host_network: bool = False
) -> Binding:
    uid = f"{namespace}-{name}"
    return Binding(ip, "pod", uid, namespace, name, workload, "Deployment", "node-a", host_network, begin, end)


def write_objects(folder: Path) -> Path:
    """Write the objects; return the folder."""
    made = archive.Archive(folder)
    for number in range(2):
        capture = folder / "incidents.pcap"
        capture.write_bytes(pcap(incidents.incidents(START + number * HOUR)))
        for shard, node in enumerate(("node-a", "node-b")):
            made.add(archive.messages(capture, node=node, boot=f"boot-{number}"), shard=shard)
        capture.unlink()
    made.add_records("identity", Event("home", START, tuple(bindings())).rows(START))
    record = LedgerRecord("node-a", "boot-0", "eth0", START, "tick", kernel_received=7, decoded=7, published=7)
    made.add_records("ledger", [{name: getattr(record, name) for name in LedgerRecord.__slots__}])
    return folder


def ask(folder: Path, sql: str, since: int = 0, until: int = LATEST, **parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of an answer."""
    with Query(Folder(folder), Window(since, until)) as query:
        return query.run(sql, parameters).read_all().to_pylist()


def ask_named(folder: Path, name: str, since: int = 0, until: int = LATEST, **given: str) -> list[dict[str, Any]]:
    """Return the rows of a named query's answer; parameters as on the command line."""
    question = named.all_named()[name]
    return ask(folder, question.sql, since, until, **question.bind(given, lambda text, _option: int(text)))


def alike(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with times as microseconds, which is all that some engines have, and numbers rounded."""
    return [{name: _alike(value) for name, value in row.items()} for row in rows]


def _alike(value: Any) -> Any:
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1_000_000)
    return float(f"{value:.9g}") if isinstance(value, float) and math.isfinite(value) else value
