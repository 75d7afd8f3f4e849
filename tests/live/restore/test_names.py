"""Restored rows say who had their addresses when the packets were seen."""

from __future__ import annotations

import csv
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from streamgauge.identity.events import Binding, Event
from tests.support.backup import Running
from tests.support.identities import Archive
from tests.support.summaries import START, publish

pytestmark = pytest.mark.live

#: A pod gives its address to another one in the middle of the rows, which are 1 µs apart.
TAKEN_OVER = START + 50_000
FIRST, SECOND = (
    Binding("10.0.0.3", "pod", f"{name}-x", "shop", name, name, "Deployment", "node-a", False, since, until)
    for name, since, until in (("web", START - 10**9, TAKEN_OVER), ("db", TAKEN_OVER, None))
)


@pytest.fixture(name="running")
async def _running(nats_settings, s3_settings, monkeypatch):
    for name in ("endpoint", "access_key", "bucket"):
        monkeypatch.setenv(f"STREAMGAUGE_S3_{name.upper()}", str(getattr(s3_settings, name)))
    monkeypatch.setenv("STREAMGAUGE_S3_SECRET_KEY", s3_settings.secret_key.get_secret_value())
    monkeypatch.setenv("STREAMGAUGE_S3_SECURE", str(s3_settings.secure))
    one = await Running(nats_settings, s3_settings, rotate_rows=300, rotate_seconds=0.3).start()
    await publish(one.bus.jetstream, 1, rows=100)
    await one.all_stored(100)
    yield one
    await one.stop()


def restore(*options):
    command = [sys.executable, "-m", "streamgauge.cli.main", "restore", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


async def test_names_are_those_of_the_time_of_the_packet(running, scratch):
    """The address names one workload before another took it over, and that one from then on."""
    await Archive(running.store).put(Event("home", START - 10**9, (FIRST, SECOND), START - 10**9, 2))
    for form in ("csv", "parquet"):
        assert restore("--names", "-f", form, "-o", str(scratch / f"rows.{form}")).stderr == ""

    with (scratch / "rows.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 100
    assert {row["src_ip"] for row in rows} > {"10.0.0.3", "10.0.0.4"}
    for row in rows:
        for side, column in (("source", "src_ip"), ("destination", "dst_ip")):
            found = [row[f"{side}_{field}"] for field in ("namespace", "workload", "workload_kind")]
            known = ["shop", "web" if int(row["time"]) < TAKEN_OVER else "db", "Deployment"]
            assert found == (known if row[column] == "10.0.0.3" else ["", "", ""])
    table = pq.read_table(scratch / "rows.parquet")
    assert table["source_workload"].to_pylist() == [row["source_workload"] or None for row in rows]


async def test_what_cannot_have_names_is_told(running):
    """Nobody was stored; a pcap has no columns."""
    nobody, packets = restore("--names"), restore("--names", "-f", "pcap")

    assert (nobody.returncode, packets.returncode) == (1, 2)
    assert "tells of nobody" in nobody.stderr
    assert "--names adds columns" in packets.stderr
    assert nobody.stderr.count("\n") == packets.stderr.count("\n") == 1
