"""Errors of DuckDB as sentences."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq
import pytest

from streamgauge.errors import ConfigurationError, StoreError, StreamgaugeError
from streamgauge.query import Folder, Query, problems

if TYPE_CHECKING:
    from pathlib import Path


def test_the_place_in_a_long_line(folder: Path) -> None:
    """DuckDB shows a part of a long line; the column is that of the whole."""
    sql = "SELECT " + ", ".join(f"bytes AS b{number}" for number in range(40)) + ", srcip FROM summaries"
    with (
        Query(Folder(folder)) as query,
        pytest.raises(ConfigurationError, match=rf"line 1, column {sql.index('srcip') + 1}: no column srcip"),
    ):
        query.run(sql)


def test_an_interrupted_query_is_an_interrupt() -> None:
    """Ctrl-C ends a command with 130, whichever way DuckDB says it."""
    for error in (RuntimeError("Query interrupted"), duckdb.InterruptException("INTERRUPT Error: Interrupted!")):
        with pytest.raises(KeyboardInterrupt), problems.told():
            raise error
    with pytest.raises(RuntimeError, match="another"), problems.told():
        raise RuntimeError("another")


def test_too_little_memory_says_what_to_do(folder: Path) -> None:
    """Narrow the window, or the columns."""
    sql = "SELECT list(i) FROM range(50_000_000) t(i)"
    with (
        Query(Folder(folder), memory="20MB") as query,
        pytest.raises(StreamgaugeError, match=r"narrow the window \(--since\) or the columns"),
    ):
        query.run(sql)


def test_an_object_that_goes_away_is_named(folder: Path, tmp_path: Path) -> None:
    """The error of the place, not DuckDB's words for it."""
    own = shutil.copytree(folder, tmp_path / "own")
    with Query(Folder(own)) as query:
        query.prepare("SELECT * FROM summaries")
        query._objects._tails.clear()
        for path in (own / "summaries").rglob("*.parquet"):
            path.unlink()
        with pytest.raises(StoreError, match=r"cannot read .*summaries/v1/.*: No such file or directory"):
            query.run("SELECT sum(bytes) FROM summaries")


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        (0, r"^what is stored cannot be read \(.*\); `streamgauge audit` tells what is damaged$"),
        (40, r"^summaries/v1/\S+ is damaged \(.*\); `streamgauge audit` tells what it held$"),
    ],
)
def test_a_damaged_column_is_no_mistake_of_the_asker(folder: Path, tmp_path: Path, behind: int, words: str) -> None:
    """Said by itself, with the command that tells more: in the head of a page, and behind it."""
    own = shutil.copytree(folder, tmp_path / "own")
    path = next((own / "summaries").rglob("*.parquet"))
    metadata = pq.read_metadata(path)
    found = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    (column,) = [each for each in found if each.path_in_schema == "src_ip"]
    content = bytearray(path.read_bytes())
    begin, end = column.dictionary_page_offset + behind, column.dictionary_page_offset + column.total_compressed_size
    content[begin:end] = b"\xff" * (end - begin)
    path.write_bytes(content)
    with Query(Folder(own)) as query, pytest.raises(StoreError, match=words):
        query.run("SELECT count(DISTINCT src_ip) FROM summaries").read_all()
