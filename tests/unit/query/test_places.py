"""What several nodes capture: a packet counts once, and pods of one workload on several nodes count all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamgauge.demo.packets import UDP, ethernet, ipv4, pcap, udp
from streamgauge.identity.events import Binding, Event
from streamgauge.query import Folder, Query, Window, named
from streamgauge.query.catalogue import LATEST
from tests.support import archive, incidents
from tests.support.query import HOUR, START, ask, ask_named

if TYPE_CHECKING:
    from pathlib import Path

#: The address of a second web pod, on a second node.
OTHER = "10.0.0.13"
MINUTE = 60 * 10**9


@pytest.fixture(name="two_pods", scope="module")
def _two_pods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return objects of two nodes, each of which sees one of two web pods, and both see the first again."""
    folder = tmp_path_factory.mktemp("pods")
    made, capture = archive.Archive(folder), folder / "one.pcap"
    frames = incidents.incidents(START)
    other = [(time, frame.replace(bytes([10, 0, 0, 11]), bytes([10, 0, 0, 13]))) for time, frame in frames]
    for shard, (node, seen) in enumerate({"node-a": frames, "node-b": other, "node-c": frames}.items()):
        capture.write_bytes(pcap(seen))
        made.add(archive.messages(capture, node=node), shard=shard)
    pods = [
        Binding(ip, "pod", ip, "shop", f"web-{ip}", "web", "Deployment", "node", False, START - HOUR)
        for ip in (incidents.WEB, OTHER)
    ]
    made.add_records("identity", Event("home", START, tuple(pods)).rows(START))
    return folder


def test_pods_of_a_workload_on_two_nodes_count_both(two_pods: Path) -> None:
    """The place that captured most is chosen for each pair of addresses, not for the workload."""
    failures = {row["outcome"]: row for row in ask_named(two_pods, "dns-failures")}
    (old,) = ask_named(two_pods, "old-tls")
    (slow,) = ask_named(two_pods, "slow-handshakes")

    assert failures["NXDOMAIN"]["source"] == "shop/web"
    assert failures["NXDOMAIN"]["failures"] == 2 * (incidents.FAILED_NAMES - 1)
    assert failures["NXDOMAIN"]["servers"] == 1
    assert (old["source"], old["handshakes"]) == ("shop/web", 2 * incidents.OLD_TLS)
    assert (slow["destination"], slow["handshakes"], slow["slow"]) == ("shop/web", 40, 2)


def test_a_silence_ends_a_conversation_and_a_second_node_does_not(tmp_path: Path) -> None:
    """The same ports after four minutes go on, after a quarter of an hour they begin anew; each at its best place."""
    made, capture = archive.Archive(tmp_path), tmp_path / "one.pcap"
    frame = ethernet(ipv4(udp(b"hello", 40000, 9999), "10.0.0.1", "10.0.0.2", UDP))
    seen = {"node-a": (0, 4, 20), "node-b": (0, 4, 8, 20)}
    for shard, (node, minutes) in enumerate(seen.items()):
        capture.write_bytes(pcap([(START + minute * MINUTE, frame) for minute in minutes]))
        made.add(archive.messages(capture, node=node), shard=shard)
    rows = ask(tmp_path, "SELECT node, client_packets, first_ns FROM conversations ORDER BY first_ns")

    assert [(row["node"], row["client_packets"], row["first_ns"] - START) for row in rows] == [
        ("node-b", 3, 0),
        ("node-a", 1, 20 * MINUTE),
    ]


@pytest.mark.parametrize("name", [name for name, one in named.all_named().items() if one.rows])
def test_rows_that_are_left_out_early_do_not_bear_upon_the_answer(folder: Path, name: str) -> None:
    """The condition in the head of a query makes it quicker and changes nothing; the next statement sees all again."""
    question = named.all_named()[name]
    given = {"pod": "shop/web-0"} if name == "pod-activity" else {}
    values = question.bind(given, lambda text, _option: int(text))
    count = "SELECT count(*) AS rows FROM summaries"
    with Query(Folder(folder), Window(START, LATEST)) as query:
        early = query.run(question.sql, values, rows=question.rows).read_all()
        kept = query.run(f"{count} WHERE NULLIF($limit, 0) > 0", {"limit": 1}, rows="$limit = 0").read_all()
        every = query.run(count).read_all()
        late = query.run(question.sql, values).read_all()

    assert early.num_rows
    assert early == late
    assert kept["rows"].to_pylist() == [0]
    assert every["rows"].to_pylist() != [0]


def test_a_quote_in_a_value_stays_a_value(folder: Path) -> None:
    """A pod's name is put into the condition as text."""
    question = named.all_named()["pod-activity"]
    with Query(Folder(folder)) as query:
        values = question.bind({"pod": "it's ' OR TRUE --"}, lambda _text, _option: 0)
        rows = query.run(question.sql, values, rows=question.rows).read_all()

    assert rows.num_rows == 0
