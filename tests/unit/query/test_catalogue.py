"""Which objects are read: those of the window alone, and no row twice."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from streamgauge.errors import ConfigurationError, StoreError
from streamgauge.objects import ObjectName
from streamgauge.query import Folder, Query, Window, catalogue
from tests.support.query import HOUR, START, ask, write_objects

if TYPE_CHECKING:
    from pathlib import Path

COUNT = "SELECT count(*) AS rows, CAST(sum(packets) AS BIGINT) AS packets FROM summaries"


@pytest.fixture(name="own")
def _own(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the objects that a test may change."""
    return shutil.copytree(folder, tmp_path / "objects")


def summaries(folder: Path) -> list[Path]:
    return sorted((folder / "summaries").rglob("*.parquet"))


def test_only_the_window_is_read(folder: Path) -> None:
    """Of two hours at two nodes the objects of one hour, each byte once (they are smaller than a footer is guessed)."""
    with Query(Folder(folder), Window(START, START + HOUR)) as query:
        (row,) = query.run(COUNT).read_all().to_pylist()
        statistics = query.statistics
    sizes = sum(path.stat().st_size for path in summaries(folder)[:2])

    assert (statistics.objects, statistics.listed) == (2, 4)
    assert (
        row["rows"] == statistics.stored_rows == sum(pq.read_metadata(path).num_rows for path in summaries(folder)[:2])
    )
    assert statistics.bytes == sizes


def test_of_many_hours_the_bytes_of_one_are_read(own: Path) -> None:
    """One hour costs the same, whether the bucket holds two or twelve."""
    copied = 10
    for path in summaries(own)[2:]:
        key = path.relative_to(own).as_posix()
        for hour in range(12, 12 + copied):
            other = own / key.replace("hour=11", f"hour={hour}")
            other.parent.mkdir(parents=True, exist_ok=True)
            # As if stored then: the footer of the copy tells of another hour, the partition rules it out before.
            shutil.copy(path, other)
    with Query(Folder(own), Window(START, START + HOUR)) as query:
        query.run("SELECT src_ip, sum(bytes) AS bytes FROM summaries GROUP BY src_ip").read_all()
        statistics = query.statistics

    assert (statistics.objects, statistics.listed) == (2, 4 + 2 * copied)
    assert statistics.bytes == sum(path.stat().st_size for path in summaries(own)[:2])


def test_the_window_is_half_open_within_an_object(folder: Path) -> None:
    """Rows are cut to the nanosecond, not to the object."""
    every = [row["t"] for row in ask(folder, "SELECT ns(time) AS t FROM summaries ORDER BY time")]
    middle = every[len(every) // 3]
    rows = ask(folder, "SELECT ns(time) AS t FROM summaries ORDER BY time", middle, every[-1])

    assert [row["t"] for row in rows] == [each for each in every if middle <= each < every[-1]]


def test_an_object_of_the_hour_before_that_reaches_into_the_window(own: Path) -> None:
    """It lies in the partition of its first packet; what it has of the window counts."""
    (path,) = [path for path in summaries(own) if "hour=10" in str(path) and "shard=00" in str(path)]
    key = path.relative_to(own).as_posix().replace("hour=10", "hour=09")
    (own / key).parent.mkdir(parents=True)
    shutil.move(path, own / key)
    before = ask(own, COUNT)
    with Query(Folder(own), Window(START, START + HOUR)) as query:
        query.run(COUNT).read_all()

        assert query.statistics.objects == 2
    assert ask(own, COUNT) == before


def test_what_was_stored_long_before_the_window_is_not_opened(own: Path) -> None:
    """Clocks may differ by an hour; what was stored before that holds nothing of the window."""
    looked: list[int] = []
    window = Window(START + HOUR)
    place = Folder(own)
    asyncio.run(catalogue.choose(place, "summaries", window, looked.append))
    for path in summaries(own)[:2]:
        os.utime(path, ns=(START, START))
    fewer: list[int] = []
    chosen = asyncio.run(catalogue.choose(place, "summaries", window, fewer.append))

    assert (sum(looked), sum(fewer)) == (4, 4)
    for path in summaries(own)[:2]:
        os.utime(path, ns=(START - HOUR, START - HOUR))
    fewer.clear()
    asyncio.run(catalogue.choose(place, "summaries", window, fewer.append))

    assert sum(fewer) == 2
    assert len(chosen.parts) == 2


def test_a_copy_of_an_object_counts_once(own: Path) -> None:
    """Under another name, whole: left out without a word."""
    once = ask(own, COUNT)
    path = summaries(own)[0]
    name = ObjectName.parse(path.relative_to(own).as_posix())
    assert name is not None
    copy = path.with_name(path.name.replace(f"{name.first:016}", f"{name.first + 1_000_000:016}"))
    shutil.copy(path, copy)
    with Query(Folder(own)) as query:
        rows = query.run(COUNT).read_all().to_pylist()

        assert query.warnings == []
    assert rows == once


def test_what_two_objects_share_in_part_is_said(folder: Path, tmp_path: Path) -> None:
    """Rows do not tell their batch: such rows count twice, and a sentence says so."""
    parts = asyncio.run(catalogue.choose(Folder(folder), "summaries", Window())).parts
    whole = max(parts, key=lambda part: part.rows)
    share = whole.shares[0]
    larger = type(share)(share.node, share.boot, share.sequences.copy(), share.rows + 1, share.packets + 1)
    larger.sequences.add(1_000)
    smaller = type(share)(share.node, share.boot, share.sequences.copy(), share.rows, share.packets)
    smaller.sequences.add(2_000)
    kept, warnings = catalogue.once(
        [whole._replace(shares=(larger,), rows=whole.rows + 1), whole._replace(shares=(smaller,))]
    )

    assert len(kept) == 2
    assert len(warnings) == 1
    assert "are stored twice" in warnings[0]
    assert "streamgauge audit" in warnings[0]


def test_objects_of_an_older_version_lack_columns(own: Path) -> None:
    """What they lack is null; the rows are all there."""
    once = ask(own, COUNT)
    for path in summaries(own)[:2]:
        table = pq.read_table(path, partitioning=None).drop_columns(["dns_answers"])
        with pq.ParquetWriter(path, table.schema) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(dict(pq.read_metadata(summaries(own)[2]).metadata))
    (row,) = ask(own, COUNT + " WHERE dns_answers IS NOT NULL")

    assert ask(own, COUNT)[0]["rows"] <= once[0]["rows"]
    assert row["rows"] > 0


def test_a_damaged_object_is_named(own: Path) -> None:
    """A row less would be worse than an error."""
    path = summaries(own)[0]
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(StoreError, match=r"summaries/v1/.*does not end as a Parquet file does; `streamgauge audit`"):
        ask(own, COUNT)


def test_nothing_stored_is_no_error(tmp_path: Path) -> None:
    """Views are empty with their columns."""
    (tmp_path / "summaries").mkdir()

    assert ask(tmp_path, COUNT) == [{"rows": 0, "packets": None}]
    assert ask(tmp_path, "SELECT * FROM conversations, names, ledger") == []


def test_a_folder_that_holds_no_objects_is_told(tmp_path: Path) -> None:
    """The usual mistake is to name the folder of one kind."""
    with pytest.raises(ConfigurationError, match="holds none of the folders summaries, ledger, identity"):
        Folder(tmp_path)
    with pytest.raises(ConfigurationError, match="no such folder"):
        Folder(tmp_path / "gone")


def test_all_of_it_is_written_by_the_writer(tmp_path: Path) -> None:
    """The objects of these tests are the backup's: same names, same footers."""
    folder = write_objects(tmp_path)

    assert len(summaries(folder)) == 4
    assert all(ObjectName.parse(path.relative_to(folder).as_posix()) for path in folder.rglob("*.parquet"))
