"""Spark beside DuckDB on the same objects: each named query gives the same answer (`make test-spark`).

In an environment of its own, because pyspark is large: `make test` does not collect this folder. Needs Java.
"""

from __future__ import annotations

import ipaddress
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamgauge.query import named
from tests.support.query import HOUR, START, alike, ask_named, write_objects

sys.path.insert(0, str(Path(__file__).parent))
import named_queries as example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

GIVEN = {
    "pod-activity": {"pod": "shop/web-0"},
    "new-destinations": {"new_since": datetime.fromtimestamp((START + HOUR) // 10**9, UTC).isoformat()},
}


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_objects(tmp_path_factory.mktemp("objects"))


@pytest.fixture(name="spark", scope="module")
def _spark(folder: Path) -> Iterator[SparkSession]:
    """Return a session with our views: a cluster of two executors, each a process with 1,024 MiB."""
    spark = example.session("local-cluster[2,1,1024]")
    spark.sparkContext.setLogLevel("ERROR")
    example.define(spark, str(folder))
    yield spark
    spark.stop()


@pytest.mark.parametrize("name", list(named.all_named()))
def test_the_same_answer(spark: SparkSession, folder: Path, name: str) -> None:
    """Rows, order and values."""
    found = [row.asDict() for row in example.ask(spark, name, GIVEN.get(name)).collect()]
    given = {"new_since": str(START + HOUR)} if name == "new-destinations" else GIVEN.get(name, {})
    wanted = ask_named(folder, name, **given)

    assert alike(found) == alike(wanted)
    assert wanted or name == "beacons"


def test_beacons_of_one_hour(spark: SparkSession, folder: Path) -> None:
    """Over both hours nothing is regular: there is an hour's pause in between. One hour by its partition."""
    wanted = ask_named(folder, "beacons", START, START + HOUR)
    spark.sql("CREATE OR REPLACE TEMPORARY VIEW every AS SELECT * FROM summaries")
    rows = spark.table("every").where("hour = 10")
    rows.createOrReplaceTempView("summaries_of_the_hour")
    sql = named.all_named()["beacons"].sql
    for view in ("conversations", "flows"):
        sql = _inlined(sql, view)
    sql = sql.replace("FROM summaries\n", "FROM summaries_of_the_hour\n")
    values = named.all_named()["beacons"].bind({}, lambda _text, _option: 0)
    found = [row.asDict() for row in spark.sql(example.dialects.translate("spark", sql), args=values).collect()]

    assert len(wanted) == 2
    assert alike(found) == alike(wanted)


def _inlined(sql: str, view: str) -> str:
    return sql.replace(f"FROM {view}\n", f"FROM (\n{example.portable.view(view)}\n) AS {view}\n")


@pytest.mark.parametrize(
    "ip", ["10.0.0.1", "8.8.8.8", "::", "::1", "1::", "2001:db8::1", "fd00::a00:1", "1:2:3:4:5:6:7:8"]
)
def test_addresses(spark: SparkSession, ip: str) -> None:
    """Bits and networks as Python's ipaddress has them."""
    address = ipaddress.ip_address(ip)
    row = spark.sql(f"SELECT address_bits('{ip}') AS bits, is_inside('{ip}') AS inside").first()

    assert row is not None
    assert row.bits == f"{address.version}:{int(address):0{address.max_prefixlen}b}"
    assert row.inside == (ip in {"10.0.0.1", "::", "::1", "fd00::a00:1"})


def test_a_bucket_without_identity(spark: SparkSession, tmp_path: Path) -> None:
    """Then nobody has a name, and the questions are answered all the same."""
    from streamgauge.demo.packets import pcap
    from tests.support import archive, incidents

    capture = tmp_path / "incidents.pcap"
    capture.write_bytes(pcap(incidents.incidents(START)))
    archive.Archive(tmp_path).add(archive.messages(capture, node="node-a"))
    example.define(spark, str(tmp_path))
    rows = example.ask(spark, "port-scans").collect()

    assert [row.source for row in rows] == ["unknown"]
