"""The table of an answer: aligned, with units, and never wider than the terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from streamgauge.query import terminal

SEEN = datetime(2026, 11, 25, 10, 0, 30, 206000, UTC)
TIME = pa.timestamp("ns", "UTC")


def table(columns: dict[str, tuple[Any, list[Any]]], width: int | None = None) -> list[str]:
    arrays = {name: pa.array(values, kind) for name, (kind, values) in columns.items()}
    answer = pa.table(arrays).to_reader(max_chunksize=2)
    stream = io.BytesIO()
    terminal.write(answer, stream, width)
    return stream.getvalue().decode().splitlines()


TALKERS: dict[str, tuple[Any, list[Any]]] = {
    "source": (pa.string(), ["shop/web", None]),
    "port": (pa.int64(), [443, 41000]),
    "bytes": (pa.int64(), [4096, 17]),
    "time": (TIME, [SEEN, SEEN.replace(microsecond=0)]),
    "last_seen": (TIME, [SEEN, SEEN]),
}


def test_numbers_to_the_right_bytes_with_units_times_alike() -> None:
    """A port keeps its digits, a sum of bytes gets a unit, the times of a column one precision."""
    assert table(TALKERS) == [
        "source   │  port │   bytes │ time                     │ last_seen",
        "─────────┼───────┼─────────┼──────────────────────────┼─────────────────────",
        "shop/web │   443 │ 4.0 KiB │ 2026-11-25 10:00:30.206Z │ 2026-11-25 10:00:30Z",
        "-        │ 41000 │    17 B │ 2026-11-25 10:00:30.000Z │ 2026-11-25 10:00:30Z",
    ]


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 40, "3.0 TiB"),
        (1 << 62, "4096.0 PiB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    """By powers of 1024."""
    assert terminal.size(count) == words


def test_a_narrow_terminal_cuts_texts_first() -> None:
    """Numbers and times stay whole."""
    names = {"name": (pa.string(), ["a-long-name." * 4]), "packets": (pa.int64(), [123456789])}

    assert table(names, 40)[2] == "a-long-name.a-long-name.a-l… │ 123456789"
    assert all(len(line) <= 40 for line in table(names, 40))


def test_what_does_not_fit_stands_below_each_other() -> None:
    """A name and a value a line, and nothing is lost."""
    lines = table(TALKERS, 50)

    assert [line.partition(" │ ")[2] for line in lines[1:6]] == [
        "shop/web", "443", "4.0 KiB", "2026-11-25 10:00:30.206Z", "2026-11-25 10:00:30Z"
    ]  # fmt: skip
    assert [line for line in lines if line.startswith("── row")] == [
        f"── row {number} ".ljust(50, "─") for number in (1, 2)
    ]
    assert all(len(line) <= 50 for line in lines)


def test_later_rows_widen_a_column_where_there_is_no_terminal() -> None:
    """Widths are those of the rows so far: an answer of any size is written as it comes."""
    lines = table({"name": (pa.string(), ["a", "b", "much longer"]), "n": (pa.int64(), [1, 2, 3])})

    assert lines[2:] == ["a    │ 1", "b    │ 2", "much longer │ 3"]


def test_text_from_the_traffic_does_not_steer_the_terminal() -> None:
    """Nor break a line; what is very long is cut."""
    lines = table({"name": (pa.string(), ["\x1b[31mred\n", "x" * 100]), "raw": (pa.binary(), [b"\x00\xff", None])})

    assert lines[2].split(" │ ")[0].rstrip() == "\ufffd[31mred\ufffd"
    assert lines[2].endswith("│ 00ff")
    assert lines[3].startswith("x" * 59 + "… │ -")


def test_no_rows() -> None:
    """The names alone, on a terminal too narrow for them nothing."""
    empty: dict[str, tuple[Any, list[Any]]] = {"source": (pa.string(), []), "bytes": (pa.int64(), [])}

    assert table(empty) == ["source │ bytes", "───────┼──────"]
    assert table(empty, 10) == []


def test_wide_signs_take_two_cells() -> None:
    """A name in Chinese letters, one with a combining accent, and one that is cut; the line between stays straight."""
    names = ["例" * 20, "例え.テスト", "cafe\u0301.fr"]
    lines = table({"name": (pa.string(), names), "port": (pa.int64(), [80, 443, 53])}, 25)

    assert lines == [
        "name               │ port",
        "───────────────────┼─────",
        "例例例例例例例例…  │   80",
        "例え.テスト        │  443",
        "cafe\u0301.fr            │   53",
    ]
