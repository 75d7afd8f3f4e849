"""From figures to words: what each hop is called, without asking anybody."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import orjson
import pytest

from streamgauge.doctor import Finding, Walk, ledgers, pages, report, stream, web, words
from streamgauge.doctor.interface import matching
from streamgauge.doctor.ledgers import Said
from streamgauge.doctor.words import State
from streamgauge.ledger import LedgerRecord

NOW = 1_764_079_200.0


def said(before: float, *, node: str = "a", reason: Any = "tick", skew: float = 0.0, **counts: int) -> Said:
    """Return a record that NATS took so many seconds ago."""
    stored = NOW - before
    record = LedgerRecord(node, f"boot-{node}", "eth0", int((stored + skew) * 1e9), reason, **counts)
    return Said(record, stored)


IN_ORDER = [said(12, kernel_received=100), said(2, kernel_received=350)]


def test_collectors_in_order() -> None:
    """How many packets, in which time."""
    told = ledgers.judge(IN_ORDER, [], now=NOW)

    assert (told.state, told.evidence) == (State.OK, "1 collector reporting, 250 packets in 10 s, nothing lost")


@pytest.mark.parametrize(
    ("records", "last", "state", "evidence"),
    [
        ([said(12), said(2)], [], "broken", "nothing on the wire: 0 packets in 10 s on a/eth0"),
        (
            [*IN_ORDER, said(12, node="b"), said(2, node="b")],
            [],
            "warning",
            "nothing on the wire: 0 packets in 10 s on b/eth0",
        ),
        ([said(1)], [], "ok", "1 collector reporting, nothing lost"),
        (IN_ORDER, [said(600, node="b")], "warning", "no word from b/eth0 for 10 min"),
        ([], [said(600)], "broken", "no collector reports: a/eth0 silent, the last word 10 min ago"),
        ([said(3, reason="stop")], [], "broken", "every collector has stopped, the last one 3.0 s ago"),
        (
            [said(12, kernel_received=9), said(2, kernel_received=99, kernel_dropped=40)],
            [],
            "warning",
            "40 packets lost in 20 s on a",
        ),
        (
            [said(12, kernel_received=9, decoded=9, published=2), said(2, kernel_received=99, decoded=9, published=2)],
            [],
            "broken",
            "the ledger of a/eth0 does not add up: 7 packets",
        ),
        ([said(2, skew=-95)], [], "broken", "clock skew: node a's clock is 95 s behind that of NATS"),
        ([said(2, skew=5)], [], "warning", "clock skew: node a's clock is 5.0 s ahead of that of NATS"),
    ],
)
def test_collectors_out_of_order(records: list[Said], last: list[Said], state: str, evidence: str) -> None:
    """Each way by its name, with the figures."""
    told = ledgers.judge(records, last, now=NOW)

    assert (told.state, told.evidence) == (state, evidence)
    assert told.remedy or told.state == "ok"


def test_record_of_a_former_boot_says_nothing_of_the_clock() -> None:
    """It carries the time of a boot that is over."""
    records = [*IN_ORDER, said(1, reason="recovered", skew=-90_000, kernel_received=350)]

    assert "clock" not in ledgers.judge(records, [], now=NOW).evidence


def stamp(before: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - before))


def stream_info(**state: Any) -> dict[str, Any]:
    config = {"subjects": ["traffic.v1.*.*"], "max_bytes": 1 << 30}
    return {"config": config, "state": {"messages": 5, "bytes": 2048, "last_ts": stamp(3), **state}}


def test_stream() -> None:
    """How full, how new."""
    told = stream.judge_stream("TRAFFIC", stream_info(), now=NOW)
    old = stream.judge_stream("TRAFFIC", stream_info(last_ts=stamp(300)), now=NOW)
    headless = stream.judge_stream("TRAFFIC", stream_info() | {"cluster": {"name": "c"}}, now=NOW)
    away = {"name": "c", "leader": "n0", "replicas": [{"name": "n2", "offline": True}]}
    short = stream.judge_stream("TRAFFIC", stream_info() | {"cluster": away}, now=NOW)

    assert (told.state, told.evidence) == ("ok", "TRAFFIC: 5 messages, 2 KiB of 1 GiB, newest 3.0 s old")
    assert old.state == "warning"
    assert old.evidence.endswith("nothing came in for 5 min")
    assert (headless.state, headless.evidence) == ("broken", "TRAFFIC has no leader: most of its servers are away")
    assert (short.state, short.evidence[-19:]) == ("warning", "copies are away: n2")


def consumer(shard: int, **values: Any) -> dict[str, Any]:
    name = f"backup-shard-{shard:02}"
    return {"name": name, "num_pending": 0, "num_ack_pending": 0, "num_waiting": 1, "delivered": {}, **values}


def judge_backup(*consumers: dict[str, Any], oldest: float = 0.0, shards: int = 1) -> Finding:
    ages = {each["name"]: oldest for each in consumers}
    return stream.judge_backup(list(consumers), ages, shards=shards, late=180, now=NOW)


def test_backup() -> None:
    """In order, a shard that nobody has, nobody who asks, and handed out but not stored."""
    good = judge_backup(consumer(0, num_pending=3, num_ack_pending=4), oldest=20)
    missing = judge_backup(consumer(0), consumer(2), shards=3)
    unasked = judge_backup(consumer(0, num_pending=9, num_waiting=0, delivered={"last_active": stamp(40)}), oldest=50)
    asked_just_now = judge_backup(
        consumer(0, num_pending=9, num_waiting=0, delivered={"last_active": stamp(4)}), oldest=50
    )
    held = judge_backup(consumer(0, num_ack_pending=9), oldest=200)

    assert (good.state, good.evidence) == ("ok", "1 shard; 7 messages not stored yet, the oldest 20 s")
    assert (missing.state, missing.evidence) == ("broken", "nobody stores shard 01 of 3: no consumer")
    assert unasked.evidence == "consumer stuck: nobody asks backup-shard-00 for 9 messages, the oldest 50 s old"
    assert asked_just_now.state == "ok"
    assert held.evidence.startswith("consumer stuck: backup-shard-00 has handed out messages that are not stored")
    assert (unasked.look_on, held.look_on) == (False, True)


def target(job: str, health: str = "up", before: float = 5.0) -> dict[str, Any]:
    return {
        "labels": {"job": job},
        "health": health,
        "scrapeUrl": f"http://{job}/metrics",
        "lastError": "refused",
        "lastScrape": stamp(before),
    }


@pytest.mark.parametrize(
    ("targets", "state", "evidence"),
    [
        ([target("collector"), target("backup"), target("exporter")], "ok", "3 targets up, read at most 5.0 s ago"),
        ([target("collector"), target("exporter")], "broken", "the backup is not scraped: no target of job backup"),
        (
            [target("collector", "down"), target("collector"), target("backup"), target("exporter")],
            "broken",
            "the collector is not scraped: http://collector/metrics: refused (1 of 2 down)",
        ),
        (
            [target("collector"), target("backup", "unknown"), target("exporter")],
            "warning",
            "a target was not scraped yet",
        ),
        ([target("collector"), target("backup"), target("exporter", before=300)], "broken", "not scraped for 5 min"),
    ],
)
def test_targets(targets: list[dict[str, Any]], state: str, evidence: str) -> None:
    """A job without a target is told from one whose target does not answer."""
    told = pages.judge_targets(targets, url="http://p", now=NOW)

    assert (told.state, told.evidence) == (state, evidence)


def test_exporter_page() -> None:
    """Sums over all series; a lag and skipped packets are warnings."""
    page = (
        '# TYPE streamgauge_packets_total counter\nstreamgauge_packets_total{node="a b"} 5\n'
        'streamgauge_packets_total{node="c"} 7\nstreamgauge_exporter_batches_total{result="counted"} 2\n'
    )
    lagging = page + "streamgauge_exporter_behind_seconds 40\nstreamgauge_exporter_pending_batches 3\n"
    skipping = page + "streamgauge_exporter_skipped_packets_total 8\n"

    assert pages.judge_exporter("u", 200, page).evidence == "12 packets counted, page of 174 B"
    assert pages.judge_exporter("u", 200, lagging).evidence.startswith("40 s behind, 3 batches wait; 12 packets")
    assert pages.judge_exporter("u", 200, skipping).evidence.startswith("8 packets skipped so far")
    assert pages.judge_exporter("u", 200, "up 1\n").state == "broken"


def test_clock_of_a_header() -> None:
    """It has whole seconds; only what does not fit between question and answer is a difference."""
    header = formatdate(NOW, usegmt=True)

    assert web.ahead_by(header, NOW + 0.2, NOW + 0.4) == 0
    assert web.ahead_by(header, NOW + 61, NOW + 62) == pytest.approx(-60)
    assert web.ahead_by(header, NOW - 62, NOW - 61) == pytest.approx(61)
    assert web.ahead_by(None, NOW, NOW) != web.ahead_by(None, NOW, NOW)


def test_clocks_that_differ() -> None:
    """A little is nothing, some is a warning, more puts rows under a wrong time."""
    assert words.skew("S3", "its", 1.0) is None
    assert words.skew("S3", "its", float("nan")) is None
    assert getattr(words.skew("S3", "its", 10.0), "state", None) == "warning"
    assert getattr(words.skew("S3", "its", -31.0), "state", None) == "broken"


@pytest.mark.parametrize(
    ("wanted", "names"), [("any", ["lo", "eth0", "veth1"]), ("eth0,veth*", ["eth0", "veth1"]), ("wlan0", [])]
)
def test_interfaces_of_a_setting(wanted: str, names: list[str]) -> None:
    """As the collector reads it."""
    assert matching(wanted, {"lo": 0, "eth0": 0, "veth1": 0}) == names


def test_report() -> None:
    """The hop to mend first, each hop on a line, the remedy below it; a stuck consumer is not what S3 refuses."""
    walk = Walk(
        [
            words.ok("NATS", "1 ms away"),
            words.broken("backup", "stuck", "look on", look_on=True),
            words.broken("S3", "refuses", "correct the key"),
            words.unchecked("door", "its URL is not known", "--door URL"),
        ]
    )
    lines = report.as_text(walk).splitlines()
    told = orjson.loads(report.as_json(walk))

    assert lines[0] == "first broken hop: S3: refuses"
    assert lines[2] == "NATS    ok           1 ms away"
    assert lines[5:7] == ["S3      broken       refuses", "                     mend it: correct the key"]
    assert told["first_broken"] == "S3"
    assert [hop["state"] for hop in told["hops"]] == ["ok", "broken", "broken", "not checked"]
    assert "\x1b[31m" in report.as_text(walk, colour=True)
