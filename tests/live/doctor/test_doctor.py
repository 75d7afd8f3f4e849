"""Each way a packet can fail to get through, produced for real, and what the doctor calls it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from streamgauge.doctor import HOPS, words
from streamgauge.embedded import NatsServer, free_ports
from tests.live.doctor.conftest import finding, first, hung, look, not_ready
from tests.support import require
from tests.support.system import run
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from streamgauge.doctor import Finding
    from tests.live.doctor.conftest import Stand

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

DOCTOR = [sys.executable, "-m", "streamgauge.cli.main", "doctor"]


async def test_everything_in_order(stand: Stand) -> None:
    """Each hop with its figures; of the door nothing is known, which is said."""
    found = await stand.look()

    assert [each.hop for each in found.findings] == list(HOPS)
    assert {each.hop: each.state.value for each in found.findings} == dict.fromkeys(HOPS, "ok") | {
        "door": "not checked"
    }
    assert found.first_broken is None
    assert "1 collector reporting" in finding(found, "capture").evidence
    assert "packets in" in finding(found, "capture").evidence
    assert f"nats-server 2.15.1 at {stand.nats.url}" in finding(found, "NATS").evidence
    assert "of 64 MiB" in finding(found, "stream").evidence
    assert finding(found, "backup").evidence.startswith("2 shards; ")
    assert f"bucket {stand.bucket}" in finding(found, "S3").evidence
    assert "newest object" in finding(found, "S3").evidence
    assert finding(found, "Prometheus").evidence.startswith("3 targets up")


def test_command_says_so_with_its_status(stand: Stand) -> None:
    """Lines for a person and status 0; JSON with the same."""
    status, out, err = run(DOCTOR, stand.settings())
    _, as_json, _ = run([*DOCTOR, "--json"], stand.settings())
    told = json.loads("\n".join(as_json))

    assert (status, err) == (0, [])
    assert out[0] == "no broken hop: 5 of 8 hops looked at"
    assert [line.split()[0] for line in out if line and line[0] != " "][1:] == list(HOPS)
    assert told["first_broken"] is None
    assert [hop["hop"] for hop in told["hops"]] == list(HOPS)
    assert {hop["hop"] for hop in told["hops"] if hop["state"] == "not checked"} == {"exporter", "Prometheus", "door"}


# --- capture --------------------------------------------------------------------------------------------------------


def test_no_permission() -> None:
    """The capability and how to give it."""
    require.root()
    prefix = (require.program("setpriv"), "--bounding-set=-net_raw", "--inh-caps=-all", "--no-new-privs")

    settings = {"STREAMGAUGE_NATS_URL": "nats://127.0.0.1:1", "STREAMGAUGE_COLLECTOR_INTERFACE": "lo"}
    status, out, err = run([*prefix, *DOCTOR], settings)

    assert (status, err) == (1, [])
    assert out[0] == (
        "first broken hop: capture: no permission to capture packets on lo: the capability CAP_NET_RAW is missing"
    )


async def test_no_interface() -> None:
    """Those there are."""
    broken = first(await look({"STREAMGAUGE_NATS_URL": "nats://127.0.0.1:1"}, capture="nosuch0,eth99*"))

    assert broken.hop == "capture"
    assert broken.evidence.startswith("no interface nosuch0,eth99*; there are: lo")


def test_nothing_on_the_wire() -> None:
    """In a network of its own whose only interface is down."""
    require.root()
    script = "import asyncio; from streamgauge.doctor import interface; print(asyncio.run(interface.look('lo', 0.2)))"
    ran = subprocess.run(
        [require.program("unshare"), "--net", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "State.BROKEN" in ran.stdout
    assert "nothing on the wire: 0 packets on lo in 0.2 s; lo is down: `ip link set lo up`" in ran.stdout


async def test_collector_gone(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs: no word from it for longer than a ledger takes."""
    monkeypatch.setattr(words, "SILENT", 6.0)
    process = stand.services["collector"].process
    assert process is not None
    with hung(process):

        async def silent() -> bool:
            broken = (await stand.look(doctor_collector=None)).first_broken
            return broken is not None and "no collector reports: node-a/" in broken.evidence

        await eventually(silent, within=20)


async def test_our_own_clock_is_wrong(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both NATS and S3 then differ, and by the same."""
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 100)
    found = await stand.look(everything=True)

    assert finding(found, "NATS").evidence == "clock skew: its clock is 100 s behind this machine's"
    assert finding(found, "S3").evidence.startswith("clock skew: its clock is ")
    assert "timedatectl" in finding(found, "S3").remedy


# --- backup and S3 --------------------------------------------------------------------------------------------------


async def test_storage_is_away_from_a_backup_too(stand: Stand) -> None:
    """The hop to mend is S3, though the backup before it says that it is not ready; with S3 in order, the backup."""
    async with not_ready("cannot upload") as backup:
        both = await stand.look(doctor_backup=backup, s3_endpoint="127.0.0.1:9")
        alone = await stand.look(doctor_backup=backup)

    assert finding(both, "backup").evidence == f"{backup} is not ready: cannot upload"
    assert [first(both).hop, first(alone).hop] == ["S3", "backup"]


async def test_consumer_is_stuck(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup hangs with messages in hand; then it is killed, and nobody asks any more."""
    monkeypatch.setattr(words, "UNASKED", 3.0)
    backup = stand.services["backup"]
    assert backup.process is not None

    async def stuck(start: str) -> Finding:
        found = await stand.look(doctor_backup=None, doctor_late="4")
        assert first(found).hop == "backup"
        assert first(found).evidence.startswith(start), first(found)
        # What it is stuck behind is looked at as well, and in order.
        assert finding(found, "S3").state == ("ok" if first(found).look_on else "not checked")
        return first(found)

    with hung(backup.process):
        told = await eventually(lambda: stuck("consumer stuck: backup-"), within=30)
        assert "not stored" in told.evidence

        # The storage refuses as well: that is the cause, and named first.
        refused = await stand.look(doctor_backup=None, doctor_late="4", s3_secret_key="not-the-right-one")
        assert first(refused).hop == "S3"
        assert first(refused).evidence.startswith("credentials refused: ")
        assert finding(refused, "backup").state == "broken"
    backup.kill()
    try:
        gone = await eventually(lambda: stuck("consumer stuck: nobody asks backup-"), within=30)
        assert "docker compose up -d backup" in gone.remedy
        found = await stand.look(doctor_backup=f"http://127.0.0.1:{stand.ports['backup']}")
        assert first(found).hop == "backup"
    finally:
        backup.start()
        await backup.ready()


async def test_backup_never_ran(nats_server: NatsServer, nats_settings) -> None:
    """A stream in order that nobody stores."""
    from streamgauge.bus import Bus

    bus = Bus(nats_settings, "test")
    await bus.start()
    await bus.ensure_stream()
    await bus.stop()
    found = await look({"STREAMGAUGE_NATS_URL": nats_server.url}, everything=True)

    assert finding(found, "capture").evidence.startswith("no collector has ever reported")
    assert finding(found, "stream").state == "warning"
    assert finding(found, "backup").evidence == "no consumer of the backup in the stream: it has never run"


@pytest.mark.parametrize(
    ("changes", "evidence", "remedy"),
    [
        ({"s3_secret_key": "not-the-right-one"}, "credentials refused: ", "STREAMGAUGE_S3_SECRET_KEY"),
        ({"s3_access_key": "nobody"}, "credentials refused: ", "STREAMGAUGE_S3_ACCESS_KEY"),
        ({"s3_endpoint": "127.0.0.1:9"}, "away: cannot list summaries/v1/ in bucket ", "STREAMGAUGE_S3_ENDPOINT"),
        ({"s3_bucket": "no-such-bucket"}, "bucket no-such-bucket at ", "`streamgauge bootstrap`"),
    ],
)
async def test_storage_refuses(stand: Stand, changes: dict[str, str], evidence: str, remedy: str) -> None:
    """Wrong keys, nobody there, no bucket: each by its name."""
    broken = first(await stand.look(**changes))

    assert broken.hop == "S3"
    assert broken.evidence.startswith(evidence)
    assert remedy in broken.remedy


async def test_storage_hangs(stand: Stand) -> None:
    """It takes the connection and never answers: away, within seconds, in words of a person."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = time.monotonic()
    try:
        broken = first(await stand.look(s3_endpoint=f"127.0.0.1:{port}", s3_timeout="1"))
    finally:
        server.close()
        await server.wait_closed()

    assert broken.hop == "S3"
    assert broken.evidence.startswith("away: cannot list summaries/v1/ in bucket ")
    assert "ReadTimeoutError: Read timed out" in broken.evidence
    assert "docker compose up -d minio" in broken.remedy
    assert time.monotonic() - began < 30


# --- exporter and Prometheus ----------------------------------------------------------------------------------------


async def test_exporter_is_away(stand: Stand) -> None:
    """Nobody at its URL, or somebody else."""
    (port,) = free_ports(1)
    away = first(await stand.look(doctor_exporter=f"http://127.0.0.1:{port}"))
    other = first(await stand.look(doctor_exporter=f"http://127.0.0.1:{stand.ports['collector']}"))

    assert (away.hop, other.hop) == ("exporter", "exporter")
    assert away.evidence == f"no answer from http://127.0.0.1:{port}: Connection refused"
    assert "is no page of an exporter" in other.evidence


async def test_exporter_is_not_scraped(stand: Stand) -> None:
    """Its target is down, or Prometheus has never heard of it."""
    (port,) = free_ports(1)

    async def told(words_: str) -> Finding:
        broken = first(await stand.look())
        assert broken.hop == "Prometheus"
        assert words_ in broken.evidence, broken
        return broken

    try:
        stand.prometheus.scrape({**stand.ports, "exporter": port})
        down = await eventually(
            lambda: told(f"the exporter is not scraped: http://127.0.0.1:{port}/metrics"), within=20
        )
        assert "connection refused" in down.evidence
        stand.prometheus.scrape({job: port for job, port in stand.ports.items() if job != "exporter"})
        missing = await eventually(lambda: told("the exporter is not scraped: no target of job exporter"), within=20)
        assert f"{stand.prometheus.url}/targets" in missing.remedy
    finally:
        stand.prometheus.scrape(stand.ports)


async def test_prometheus_is_somebody_else(stand: Stand) -> None:
    """A page that is none of its, and the path it serves below."""
    broken = first(await stand.look(doctor_prometheus=f"http://127.0.0.1:{stand.ports['exporter']}"))

    assert broken.hop == "Prometheus"
    assert "is no answer of Prometheus (status 404)" in broken.evidence


# --- last, since what it publishes is seen for a while ---------------------------------------------------------------


#: Runs a module with a clock that is 95 s ahead.
STEPPED = """
import runpy, sys, time
seconds, nanoseconds = time.time, time.time_ns
time.time, time.time_ns = lambda: seconds() + 95, lambda: nanoseconds() + 95_000_000_000
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


async def test_clock_of_a_node_is_wrong(stand: Stand) -> None:
    """A real collector whose clock is 95 s ahead."""
    environment = {
        **stand.settings_of_nats(),
        "STREAMGAUGE_COLLECTOR_NODE": "node-b",
        "STREAMGAUGE_COLLECTOR_SOURCE": "file",
        "STREAMGAUGE_COLLECTOR_FILE": str(stand.folder / "replayed.pcap"),
        "STREAMGAUGE_COLLECTOR_PORT": "0",
    }
    status, _, err = run([sys.executable, "-c", STEPPED, "services.collector"], environment)
    assert status == 0, err
    broken = first(await stand.look())

    assert broken.hop == "capture"
    assert broken.evidence.startswith("clock skew: node node-b's clock is 9")
    assert broken.evidence.endswith("s ahead of that of NATS")
