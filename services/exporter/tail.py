"""The live tail: lines of summaries that match a reader's filter, as many as a person can look at."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from streamgauge.cli.table import Summary
from streamgauge.filter import Filter

if TYPE_CHECKING:
    import pyarrow as pa

    from services.exporter.aggregate import Counts
    from services.exporter.columns import Columns
    from streamgauge.subjects import Envelope

#: Readers at a time: each costs a filter run per batch.
MOST_READERS: Final = 20
#: Lines a second a reader gets; what matched beyond them is counted.
LINES_PER_SECOND: Final = 40
#: Lines that wait for a slow reader; the oldest give way.
_WAITING: Final = 200


class Reader:
    """One reader: filled in the consumer's thread, emptied in the event loop."""

    def __init__(self, text: str) -> None:
        """Read the filter.

        Raises:
            ConfigurationError: it is none.

        """
        self._filter = Filter(text)
        self._format = Summary(header=False)
        self._lines: deque[tuple[str, str]] = deque(maxlen=_WAITING)
        self._second = 0
        self._left = 0
        self._matched = 0

    def see(self, node: str, batch: pa.RecordBatch) -> None:
        """Take the rows that match."""
        rows = self._filter.apply(batch)
        self._matched += len(rows)
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, LINES_PER_SECOND
        shown = rows.slice(0, self._left)
        self._left -= len(shown)
        self._lines.extend((node, line.rstrip("\n")) for line in self._format.lines(shown))

    def take(self) -> tuple[list[tuple[str, str]], int]:
        """Return the lines that wait, and how many rows matched since the last call."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        matched, self._matched = self._matched, 0
        return lines, matched


class Tail:
    """Hands each batch to all readers; an observer of the consumer."""

    def __init__(self) -> None:
        self._readers: tuple[Reader, ...] = ()

    @property
    def full(self) -> bool:
        """Whether no further reader is let in."""
        return len(self._readers) >= MOST_READERS

    def open(self, text: str) -> Reader:
        """Return a new reader; close it in the end.

        Raises:
            ConfigurationError: the text is no filter.

        """
        reader = Reader(text)
        self._readers += (reader,)
        return reader

    def close(self, reader: Reader) -> None:
        """Forget a reader."""
        self._readers = tuple(other for other in self._readers if other is not reader)

    def see(self, envelope: Envelope, batch: pa.RecordBatch, _columns: Columns, _counts: Counts) -> None:
        """Show a batch to all readers."""
        for reader in self._readers:
            reader.see(envelope.node, batch)
