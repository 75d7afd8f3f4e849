"""Answers for the eye: columns between lines, or one row below the other where the terminal is too narrow for columns.

Numbers stand to the right, bytes have units, the times of a column one precision. The other forms are exact.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import pyarrow as pa

from streamgauge.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Widest column; what is longer is cut.
_WIDEST: Final = 60
#: A column of text is cut down to this before rows are written one below the other.
_NARROWEST: Final = 16
_SEPARATOR: Final = " │ "
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def write(answer: pa.RecordBatchReader, stream: BinaryIO, width: int | None = None) -> None:
    """Write a whole answer; ``width`` is that of the terminal, None where there is none."""
    stream.writelines(line.encode() for line in _Layout(answer.schema, width).lines(answer))


def size(count: int) -> str:
    """Return a number of bytes with its unit."""
    amount, unit = float(count), 0
    while abs(amount) >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}" if unit else f"{count} B"


class _Layout:
    """How wide columns are: by the first rows. Without a terminal they widen as later ones ask for it."""

    def __init__(self, schema: pa.Schema, width: int | None) -> None:
        self._schema = schema
        self._names = [printable(name) for name in schema.names]
        self._right = [_is_number(each.type) for each in schema]
        self._fixed = [
            number or pa.types.is_timestamp(each.type) for number, each in zip(self._right, schema, strict=True)
        ]
        self._widths = [_cells(name) for name in self._names]
        self._width = width

    def lines(self, answer: pa.RecordBatchReader) -> Iterator[str]:
        first = next(answer, None)
        columns = [] if first is None else self._texts(first)
        self._widen(columns)
        if not self._fits():
            yield from self._records(columns, answer)
            return
        yield self._line(self._names)
        yield "─┼─".join("─" * width for width in self._widths) + "\n"
        yield from map(self._line, zip(*columns, strict=True))
        for batch in answer:
            columns = self._texts(batch)
            if self._width is None:
                self._widen(columns)
            yield from map(self._line, zip(*columns, strict=True))

    def _records(self, columns: list[list[str]], answer: pa.RecordBatchReader) -> Iterator[str]:
        """Yield one row below the other, a name and a value a line."""
        assert self._width is not None
        widest = max(map(_cells, self._names))
        rest = max(self._width - widest - len(_SEPARATOR), _NARROWEST)
        number = 0
        while True:
            for row in zip(*columns, strict=True):
                number += 1
                yield f"── row {number} ".ljust(min(self._width, widest + len(_SEPARATOR) + rest), "─") + "\n"
                for name, cell in zip(self._names, row, strict=True):
                    yield f"{_fill(name, widest)}{_SEPARATOR}{_cut(cell, rest)}\n"
            batch = next(answer, None)
            if batch is None:
                return
            columns = self._texts(batch)

    def _texts(self, batch: pa.RecordBatch) -> list[list[str]]:
        return [_column(each.name, column) for each, column in zip(self._schema, batch.columns, strict=True)]

    def _widen(self, columns: list[list[str]]) -> None:
        if columns:
            longest = [max(map(_cells, texts), default=0) for texts in columns]
            self._widths = list(map(max, self._widths, longest))

    def _fits(self) -> bool:
        """Return whether a line fits the terminal, once the widest columns of text have given what they can."""
        if self._width is None:
            return True
        over = sum(self._widths) + len(_SEPARATOR) * (len(self._widths) - 1) - self._width
        least = [
            width if fixed else min(width, max(_NARROWEST, _cells(name)))
            for width, fixed, name in zip(self._widths, self._fixed, self._names, strict=True)
        ]
        if over > sum(self._widths) - sum(least):
            return False
        for _ in range(over):
            widest = max(range(len(least)), key=lambda at: (self._widths[at] > least[at], self._widths[at]))
            self._widths[widest] -= 1
        return True

    def _line(self, cells: Sequence[str]) -> str:
        padded = (
            f"{cell:>{width}}" if right else _fill(_cut(cell, width), width)
            for cell, width, right in zip(cells, self._widths, self._right, strict=True)
        )
        return _SEPARATOR.join(padded).rstrip() + "\n"


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _column(name: str, column: pa.Array) -> list[str]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _times(column.cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist(), rough=name.endswith("_seen"))
    if pa.types.is_integer(kind) and "bytes" in re.findall(r"[a-z]+", name.lower()):
        return ["-" if value is None else size(value) for value in column.to_pylist()]
    return [_cell(value) for value in column.to_pylist()]


def _times(values: list[int | None], *, rough: bool) -> list[str]:
    """Return times (ns UTC) with as many digits of a second as one of them needs: none, three, six or nine.

    None will do for when something was seen first or last.
    """
    known = [] if rough else [value for value in values if value is not None]
    digits = next((digits for digits in (0, 3, 6) if not any(value % 10 ** (9 - digits) for value in known)), 9)
    return ["-" if value is None else _time(value, digits) for value in values]


def _time(time_ns: int, digits: int) -> str:
    seconds, rest = divmod(time_ns, 10**9)
    fraction = f".{rest:09}"[: digits + 1] if digits else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{fraction}Z"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:g}"
    if isinstance(value, bytes):
        return _cut(value.hex(), _WIDEST)
    return _cut(printable(str(value)), _WIDEST)


def _cells(text: str) -> int:
    """Return how many cells of the terminal a text takes: wide signs two, what combines with them none."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(sign: str) -> int:
    if unicodedata.category(sign) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def _fill(text: str, width: int) -> str:
    return text + " " * (width - _cells(text))


def _cut(text: str, width: int) -> str:
    if _cells(text) <= width:
        return text
    while _cells(text) > width - 1:
        text = text[: width - 1] if len(text) >= width else text[:-1]
    return text + "…"
