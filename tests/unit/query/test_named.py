"""Each named query finds what is in the traffic, names who it was at that time, and counts a packet once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from streamgauge.demo.packets import ACK, RST, SYN
from streamgauge.errors import ConfigurationError
from streamgauge.inside import INSIDE
from streamgauge.query import addresses, named, portable
from tests.support import incidents
from tests.support.query import CHANGE, HOUR, START, ask_named

if TYPE_CHECKING:
    from pathlib import Path

#: The first hour alone.
FIRST = {"since": START, "until": START + HOUR}

TEN = {
    "top-talkers", "new-destinations", "dns-failures", "slow-handshakes", "old-tls", "beacons", "egress", "port-scans",
    "retransmissions", "pod-activity",
}  # fmt: skip


def without_names() -> duckdb.DuckDBPyConnection:
    """Return a database with the functions that the named queries call, and no names known."""
    database = duckdb.connect()
    for function in portable.functions("duckdb", addresses.in_duckdb(INSIDE)):
        database.execute(function)
    database.execute("CREATE TABLE names (ip VARCHAR, who VARCHAR, from_ns BIGINT, to_ns BIGINT)")
    return database


def test_the_ten_questions_are_there_and_say_what_they_answer() -> None:
    """Each with its question, its columns, and a meaning for each parameter."""
    found = named.all_named()

    assert set(found) == TEN
    for one in found.values():
        assert one.question.endswith((".", "?"))
        assert one.columns
        assert all(parameter.meaning for parameter in one.parameters)
        assert {f"${parameter.name}" in one.sql for parameter in one.parameters} == {True}


def test_the_columns_of_an_answer_are_those_of_the_head(folder: Path) -> None:
    """What the head promises comes, in that order."""
    for name, one in named.all_named().items():
        given = {"pod": "shop/web-0"} if name == "pod-activity" else {}
        given |= {"new_since": str(START)} if name == "new-destinations" else {}
        rows = ask_named(folder, name, **FIRST, **given)

        assert rows, name
        assert list(rows[0]) == [each for names, _ in one.columns for each in names.split(", ")], name


def test_top_talkers(folder: Path) -> None:
    """The upload leads; both nodes captured it, and it counts once."""
    first, *_ = ask_named(folder, "top-talkers", **FIRST)
    frames = sizes(lambda source, target: (source, target) == (incidents.DATABASE, incidents.DROP))

    assert (first["source"], first["destination"]) == ("shop/database", "world")
    assert (first["packets"], first["bytes"]) == (len(frames), sum(frames))


def sizes(chosen: Any) -> list[int]:
    """Return the lengths of the frames between chosen addresses, read off the frames themselves."""
    found = []
    for _, frame in incidents.incidents(START):
        source, target = (".".join(map(str, frame[at : at + 4])) for at in (26, 30))
        if chosen(source, target):
            found.append(len(frame))
    return found


def test_names_are_those_of_the_time(folder: Path) -> None:
    """The address of the web pod is another pod's in the second hour, and both are counted apart."""
    rows = ask_named(folder, "dns-failures")
    found = {(row["source"], row["outcome"]): row["failures"] for row in rows}

    assert START < CHANGE < START + HOUR
    assert found == {
        ("shop/web", "NXDOMAIN"): incidents.FAILED_NAMES - 1,
        ("shop/web", "SERVFAIL"): 1,
        ("lab/probe", "NXDOMAIN"): incidents.FAILED_NAMES - 1,
        ("lab/probe", "SERVFAIL"): 1,
    }


def test_new_destinations(folder: Path) -> None:
    """What the second hour repeats is not new, except for the pod that was not there before."""
    rows = ask_named(folder, "new-destinations", new_since=str(START + HOUR))

    assert {row["source"] for row in rows} == {"lab/probe", "shop/database"}
    assert {(row["destination"], row["port"]) for row in rows if row["source"] == "shop/database"} == {
        ("lab/probe", 9000)
    }


def test_slow_handshakes(folder: Path) -> None:
    """One of twenty is slow: the median does not show it, the slowest does."""
    (row,) = ask_named(folder, "slow-handshakes", **FIRST)

    assert (row["source"], row["destination"], row["port"]) == ("shop/database", "shop/web", 9000)
    assert (row["handshakes"], row["slow"]) == (20, 1)
    assert (row["median_ms"], row["p95_ms"], row["slowest_ms"]) == (2.0, 2.0, 400.0)


def test_old_tls(folder: Path) -> None:
    """The server that chose TLS 1.0; the one with TLS 1.2 is left out."""
    (row,) = ask_named(folder, "old-tls", **FIRST)

    assert (row["source"], row["destination"], row["version"]) == ("shop/web", incidents.OLD_SERVER, "TLS 1.0")
    assert row["handshakes"] == incidents.OLD_TLS


def test_beacons(folder: Path) -> None:
    """A connection every five seconds, and the twenty handshakes; not the three requests."""
    rows = ask_named(folder, "beacons", **FIRST)
    found = {row["source"]: row for row in rows}

    assert set(found) == {"lab/odd", "shop/database"}
    assert found["lab/odd"]["destination"] == "world"
    assert found["lab/odd"]["connections"] == incidents.BEACONS
    assert found["lab/odd"]["pause_s"] == pytest.approx(5, abs=0.01)
    assert found["lab/odd"]["deviation"] < 0.01


def test_egress(folder: Path) -> None:
    """What left the cluster, by whom; the payload was 200 segments of 1,400 bytes."""
    rows = {row["destination_ip"]: row for row in ask_named(folder, "egress", **FIRST)}

    assert set(rows) == {incidents.DROP, incidents.OUTSIDE}
    assert rows[incidents.DROP]["source"] == "shop/database"
    assert rows[incidents.DROP]["bytes_out"] > incidents.UPLOAD > rows[incidents.DROP]["bytes_in"]
    assert rows[incidents.OUTSIDE]["connections"] == incidents.BEACONS


def test_port_scans(folder: Path) -> None:
    """One host, many ports, all refused but one."""
    (row,) = ask_named(folder, "port-scans", **FIRST)

    assert (row["source"], row["client_ip"]) == ("unknown", incidents.SCANNER)
    assert (row["hosts"], row["ports"], row["targets"]) == (1, incidents.SCANNED_PORTS, incidents.SCANNED_PORTS)
    assert (row["answered"], row["refused"]) == (1, incidents.SCANNED_PORTS - 1)


def test_retransmissions(folder: Path) -> None:
    """The segment that was sent ten times was sent again nine times."""
    (row,) = ask_named(folder, "retransmissions", **FIRST)

    assert (row["source"], row["destination_ip"]) == ("shop/web", incidents.VICTIM)
    assert (row["packets"], row["retransmitted"]) == (incidents.REPEATED + 3, incidents.REPEATED)


def test_pod_activity(folder: Path) -> None:
    """All the pod did while it had the address, and nothing of the pod that had it later."""
    rows = ask_named(folder, "pod-activity", pod="shop/web-0")
    out = {(row["peer"], row["port"], row["name"]): row["connections"] for row in rows if row["direction"] == "out"}

    assert out["shop/database", 8080, "database.shop"] == 3
    assert out["node-a", 53, "gone.shop.svc.cluster.local"] == incidents.FAILED_NAMES - 1
    assert out["unknown", 443, "old.shop.example"] == incidents.OLD_TLS
    assert Counter(row["direction"] for row in rows) == {"out": 7, "in": 1}
    assert all(row["last_seen"].value < CHANGE for row in rows)


def test_pod_activity_of_an_address(folder: Path) -> None:
    """An address nobody is known to have can be asked for, too."""
    rows = ask_named(folder, "pod-activity", pod=incidents.SCANNER, **FIRST)

    assert {(row["direction"], row["peer_ip"]) for row in rows} == {("out", incidents.VICTIM)}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("shop/web", "shop/web"),
    ],
)
def test_an_address_is_found_however_it_is_written(written: str, stored: str) -> None:
    """Rows have one form of it."""
    values = named.all_named()["pod-activity"].bind({"pod": written}, lambda _text, _option: 0)

    assert values["pod"] == stored


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"limt": "3"}, "has no parameter limt; did you mean limit?"),
        ({"pod": "a", "limit": "many"}, "--param limit=many is no number"),
        ({}, "--param pod=… is missing"),
    ],
)
def test_wrong_parameters_are_told(given: dict[str, str], words: str) -> None:
    """Name, kind and absence."""
    with pytest.raises(ConfigurationError, match=words.replace("?", r"\?")):
        named.all_named()["pod-activity"].bind(given, lambda _text, _option: 0)


def test_port_scans_in_merged_rows() -> None:
    """A row of a flow has the flags of all its packets: SYN and ACK stand in both directions of what was opened."""
    rows = []
    for port in range(1, 61):
        rows += [("10.0.0.1", 40000, "10.0.0.2", port, SYN, 2), ("10.0.0.2", port, "10.0.0.1", 40000, RST | ACK, 2)]
    for port in (80, 443, 8080):
        rows += [
            ("10.0.0.1", 40000, "10.0.0.2", port, SYN | ACK, 3),
            ("10.0.0.2", port, "10.0.0.1", 40000, SYN | ACK, 2),
        ]
    database = without_names()
    database.execute(
        "CREATE TABLE summaries (src_ip VARCHAR, src_port INT, dst_ip VARCHAR, dst_port INT, tcp_flags INT,"
        " packets INT, ip_protocol INT DEFAULT 6, time TIMESTAMP_NS DEFAULT make_timestamp_ns(0),"
        " duration BIGINT DEFAULT 0)"
    )
    database.executemany(
        "INSERT INTO summaries (src_ip, src_port, dst_ip, dst_port, tcp_flags, packets) VALUES (?, ?, ?, ?, ?, ?)", rows
    )
    one = named.all_named()["port-scans"]
    found = database.execute(one.sql, one.bind({}, lambda _text, _option: 0)).fetchall()

    assert [row[1:7] for row in found] == [("10.0.0.1", 1, 63, 63, 3, 60)]


def test_a_merged_row_has_one_hello() -> None:
    """A row of a flow has the packets that follow the ServerHello, too: they are no handshakes."""
    database = without_names()
    database.execute(
        "CREATE TABLE tls AS SELECT 'n' AS node, 'eth0' AS interface, NULL::VARCHAR AS observation_point,"
        " '10.0.0.1' AS client_ip, '2001:db8::1' AS server_ip, 443 AS server_port, 769 AS tls_version,"
        " 'server' AS hello, unnest([1, 40]) AS packets, make_timestamp_ns(0) AS time"
    )
    one = named.all_named()["old-tls"]
    found = database.execute(one.sql, one.bind({}, lambda _text, _option: 0)).fetchall()

    assert [row[:5] for row in found] == [("10.0.0.1", "2001:db8::1", 443, "TLS 1.0", 2)]


def test_a_before_that_the_window_does_not_hold_is_doubted() -> None:
    """Every destination would be new, and nobody would know why."""
    one = named.all_named()["new-destinations"]

    assert one.doubts({"new_since": 5, "limit": 1}, 4) == []
    assert "no before" in one.doubts({"new_since": 5, "limit": 1}, 5)[0]
