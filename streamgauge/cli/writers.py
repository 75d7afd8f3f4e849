"""How the rows of a command are written: table, ndjson, csv, parquet."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

import pyarrow as pa

from streamgauge import codec, schema, text
from streamgauge.cli import output, table
from streamgauge.errors import ConfigurationError
from streamgauge.spelling import closest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Writer(Protocol):
    """Takes batches as the decoder or NATS gives them; closed once."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the rows of a batch."""

    def flush(self) -> None:
        """Hand on what is buffered."""

    def close(self) -> None:
        """Write what belongs at the end; the stream stays open."""


def chosen_columns(names: str | None) -> tuple[str, ...] | None:
    """Return the names of a ``--columns`` option; None: no choice was made.

    Raises:
        ConfigurationError: a name is no column.

    """
    if names is None:
        return None
    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in schema.NAMES:
            close = closest(name, schema.NAMES)
            hint = f"did you mean {close}?" if close else f"columns: {', '.join(schema.NAMES)}"
            raise ConfigurationError(f"{name!r} is no column; {hint}")
    return chosen


@contextmanager
def open_writer(form: str, path: Path | None, columns: Sequence[str] | None = None) -> Iterator[Writer]:
    """Open a writer of one form (``table``, ``ndjson``, ``csv``, ``parquet``) to a file or standard output."""
    with output.binary(path) as stream:
        writer: Writer = _WRITERS[form](stream, columns)
        yield writer
        writer.close()
        writer.flush()


class _Text:
    """What the forms of text have in common."""

    def __init__(self, stream: BinaryIO, columns: Sequence[str] | None) -> None:
        self._stream = stream
        self._columns = columns

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        pass


class _NdjsonWriter(_Text):
    """One JSON object a line, null columns left out."""

    def write(self, batch: pa.RecordBatch) -> None:
        self._stream.write(codec.encode_ndjson(batch, self._columns))


class _CsvWriter(_Text):
    """Comma-separated values under a line of names; null is an empty field, an empty text is ``""``."""

    def __init__(self, stream: BinaryIO, columns: Sequence[str] | None) -> None:
        super().__init__(stream, columns)
        self._begun = False

    def write(self, batch: pa.RecordBatch) -> None:
        from pyarrow import csv

        readable = _plain(_select(text.readable(batch), self._columns))
        options = csv.WriteOptions(include_header=not self._begun, quoting_style="needed")
        csv.write_csv(readable, self._stream, options)
        self._begun = True

    def close(self) -> None:
        if not self._begun:
            self._stream.write((",".join(f'"{name}"' for name in self._columns or schema.NAMES) + "\n").encode())


class _ParquetWriter:
    """A Parquet file with addresses as text, for any tool that reads Parquet."""

    def __init__(self, stream: BinaryIO, columns: Sequence[str] | None) -> None:
        self._stream = stream
        self._columns = columns
        self._writer: Any = None
        # Rows come by the thousand; a row group should have some hundred thousand.
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(_plain(_select(text.readable(batch, time_as_integer=False), self._columns)))
        self._rows += len(batch)
        if self._rows >= _ROW_GROUP:
            self._write_group()

    def flush(self) -> None:
        pass

    def close(self) -> None:
        if not self._waiting and self._writer is None:
            empty = pa.RecordBatch.from_pylist([], schema.arrow_schema())
            self.write(empty)
        self._write_group()
        self._writer.close()
        self._stream.flush()

    def _write_group(self) -> None:
        from pyarrow import parquet

        if not self._waiting:
            return
        group = pa.Table.from_batches(self._waiting)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._stream, group.schema, compression="zstd")
        self._writer.write_table(group, row_group_size=_ROW_GROUP)
        self._waiting, self._rows = [], 0


class _TableWriter(_Text):
    """One line a packet for the eye; with a choice of columns, these columns."""

    def __init__(self, stream: BinaryIO, columns: Sequence[str] | None) -> None:
        super().__init__(stream, columns)
        self._layout = table.Summary() if columns is None else table.Columns(columns)

    def write(self, batch: pa.RecordBatch) -> None:
        self._stream.writelines(line.encode() for line in self._layout.lines(batch))


_ROW_GROUP: Final = 262_144  # rows

_WRITERS: Final[dict[str, Any]] = {
    "table": _TableWriter,
    "ndjson": _NdjsonWriter,
    "csv": _CsvWriter,
    "parquet": _ParquetWriter,
}


def _select(readable: pa.RecordBatch, columns: Sequence[str] | None) -> pa.RecordBatch:
    return readable if columns is None else readable.select(list(columns))


def _plain(readable: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with dictionaries spelled out: their words differ from batch to batch."""
    arrays = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in readable.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=readable.schema.names)
