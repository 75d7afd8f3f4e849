"""Errors of DuckDB as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
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
    import shutil

    own = shutil.copytree(folder, tmp_path / "own")
    with Query(Folder(own)) as query:
        query.prepare("SELECT * FROM summaries")
        query._objects._tails.clear()
        for path in (own / "summaries").rglob("*.parquet"):
            path.unlink()
        with pytest.raises(StoreError, match=r"cannot read .*summaries/v1/.*: No such file or directory"):
            query.run("SELECT sum(bytes) FROM summaries")
