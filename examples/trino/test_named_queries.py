"""Trino beside DuckDB on the same objects in S3: each named query gives the same answer (`make test-trino`).

Not part of `make test`: Trino is 370 MB of Java libraries. The server is Trino itself, a coordinator and a worker, put
together from Maven's artefacts (server/), with the properties that stand beside this file.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from minio import Minio

from streamgauge.embedded import S3Server
from streamgauge.inside import INSIDE
from streamgauge.query import named
from streamgauge.query.addresses import networks
from tests.support.query import HOUR, START, alike, ask_named, write_objects

sys.path.insert(0, str(Path(__file__).parent))
import named_queries as example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trino.dbapi import Connection

FOLDER = Path(__file__).parent
#: What this version of Trino wants.
JAVA = 25
BUCKET = "streamgauge"
GIVEN = {
    "pod-activity": {"pod": "shop/web-0"},
    "new-destinations": {"new_since": datetime.fromtimestamp((START + HOUR) // 10**9, UTC).isoformat()},
}


def java() -> str:
    """Return a Java that is new enough: of JAVA_HOME, on PATH, or where Debian installs them."""
    homes = [Path(os.environ["JAVA_HOME"])] if "JAVA_HOME" in os.environ else []
    found = [home / "bin" / "java" for home in (*homes, *sorted(Path("/usr/lib/jvm").glob("*"), reverse=True))]
    found[len(homes) : len(homes)] = [Path(shutil.which("java") or "java")]
    for one in found:
        if one.exists():
            said = subprocess.run([one, "-version"], capture_output=True, text=True, check=True).stderr
            version = re.search(r'version "(\d+)', said)
            if version and int(version[1]) >= JAVA:
                return str(one)
    pytest.fail(f"Trino needs Java {JAVA} or newer: set JAVA_HOME to one")


@pytest.fixture(name="objects", scope="module")
def _objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_objects(tmp_path_factory.mktemp("objects"))


@pytest.fixture(name="s3", scope="module")
def _s3(objects: Path) -> Iterator[S3Server]:
    """Return a server that has the objects in a bucket."""
    # Not pytest's own folder: the server's sockets want a short path.
    with tempfile.TemporaryDirectory(prefix="sg-") as folder, S3Server(Path(folder)) as server:
        store = Minio(server.endpoint, access_key=server.access_key, secret_key=server.secret_key, secure=False)
        store.make_bucket(BUCKET)
        for file in objects.rglob("*.parquet"):
            store.fput_object(BUCKET, str(file.relative_to(objects)), str(file))
        yield server


@pytest.fixture(name="url", scope="module")
def _url(s3: S3Server) -> Iterator[str]:
    """Return where a Trino listens that reads the bucket."""
    environment = {
        "STREAMGAUGE_BUCKET": f"s3://{BUCKET}",
        "S3_ENDPOINT": f"http://{s3.endpoint}",
        "S3_ACCESS_KEY": s3.access_key,
        "S3_SECRET_KEY": s3.secret_key,
    }
    options = [
        *("--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED", "-Xmx2G"),
        *("--sun-misc-unsafe-memory-access=allow", "-Duser.timezone=America/Bahia_Banderas"),
    ]
    process = subprocess.Popen(
        [
            java(),
            *options,
            *("-cp", Path(os.environ["TRINO_CLASSPATH"]).read_text(), str(FOLDER / "server" / "Server.java")),
            *(str(FOLDER / name) for name in ("config.properties", "streamgauge.properties")),
        ],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "listening on " in line:
                break
        else:
            pytest.fail("Trino does not start; what it said is above")
        yield re.search(r"http://\S+?:\d+", line)[0]  # type: ignore[index]
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(name="trino", scope="module")
def _trino(url: str) -> Connection:
    """Return a connection with our definitions; its zone, like the server's, is not UTC."""
    connection = example.connect(url, timezone="Asia/Kathmandu")
    example.define(connection, f"s3://{BUCKET}")
    return connection


@pytest.mark.parametrize("name", list(named.all_named()))
def test_the_same_answer(trino: Connection, objects: Path, name: str) -> None:
    """Rows, order and values."""
    found = example.ask(trino, name, GIVEN.get(name))
    given = {"new_since": str(START + HOUR)} if name == "new-destinations" else GIVEN.get(name, {})
    wanted = ask_named(objects, name, **given)

    assert alike(found) == alike(wanted)
    assert wanted or name == "beacons"


@pytest.mark.usefixtures("trino")
def test_beacons_of_one_hour(url: str, objects: Path) -> None:
    """Over both hours nothing is regular: there is an hour's pause in between. In a window of one hour there is."""
    wanted = ask_named(objects, "beacons", START, START + HOUR)
    ten = example.connect(f"{url}/ten")
    example.window(ten, "date = DATE '2026-11-25' AND hour = '10'")
    found = example.ask(ten, "beacons")

    assert len(wanted) == 2
    assert alike(found) == alike(wanted)


def test_times_are_exact(trino: Connection) -> None:
    """To the nanosecond, in whatever zone the session and the server are."""
    sql = """
        SELECT count(*) AS rows FROM UNNEST(sequence(1, 10000)) AS t(x)
        WHERE ns(CAST(moment(1795600800000000000 + 123456789 * x) AT TIME ZONE 'UTC' AS TIMESTAMP(9)))
            = 1795600800000000000 + 123456789 * x
    """

    assert example.rows(trino, sql) == [{"rows": 10000}]
    assert example.rows(trino, "SELECT min(ns(time)) AS first FROM summaries") == [{"first": START}]


@pytest.mark.parametrize(
    "ip", ["10.0.0.1", "8.8.8.8", "172.32.0.1", "100.64.0.1", "::", "::1", "1::", "2001:db8::1", "fd00::a00:1"]
)
def test_addresses(trino: Connection, ip: str) -> None:
    """What is inside the cluster, as Python's ipaddress has it."""
    address = ipaddress.ip_address(ip)
    inside = any(address in network for network in networks(INSIDE))

    assert example.rows(trino, f"SELECT is_inside('{ip}') AS inside") == [{"inside": inside}]


def test_definitions_can_be_made_again(trino: Connection, objects: Path) -> None:
    """After an update, and to find the partitions of new days."""
    example.define(trino, f"s3://{BUCKET}")

    assert alike(example.ask(trino, "port-scans")) == alike(ask_named(objects, "port-scans"))


def test_only_the_partitions_asked_for_are_read(trino: Connection) -> None:
    """A filter on date and hour leaves objects out before they are opened."""
    cursor = trino.cursor()
    cursor.execute("SELECT sum(bytes) FROM summaries WHERE date = DATE '2026-11-25' AND hour = '10'")
    cursor.fetchall()
    read = cursor.stats["processedRows"]
    (every,) = example.rows(trino, "SELECT count(*) AS rows FROM summaries")
    (of_hour,) = example.rows(trino, "SELECT count(*) AS rows FROM summaries WHERE hour = '10'")

    assert read == of_hour["rows"] < every["rows"]


@pytest.mark.usefixtures("trino")
def test_the_command(url: str, objects: Path) -> None:
    """As the head of the program calls it."""
    program = [sys.executable, str(FOLDER / "named_queries.py"), url]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parents[1])}
    subprocess.run([*program, "define", f"s3://{BUCKET}"], check=True, env=environment)
    ask = [*program, "top-talkers", "limit=3"]
    out = subprocess.run(ask, check=True, env=environment, capture_output=True, text=True).stdout

    assert len(out.splitlines()) == 3
    assert ask_named(objects, "top-talkers", limit="3")[0]["destination_ip"] in out.splitlines()[0]
