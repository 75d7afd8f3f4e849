"""A capture file as a source: as fast as the rest takes it, or by the file's own clock; once, often or for ever."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from services.collector.sources import NO_CHANGES, TICK, Block, InterfaceChanges, SourceCounts
from streamgauge.decode.capture_file import open_capture

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from streamgauge.settings import CollectorSettings


class FileSource:
    """Replays a capture file. The times of the packets stay those of the file, also when it is repeated."""

    live = False
    workers = 1

    def __init__(self, settings: CollectorSettings) -> None:
        assert settings.file is not None, "the settings ask for a file"
        self._path: Path = settings.file
        self.interface = self._path.name
        self._recorded = settings.file_pace == "recorded"
        self._rounds = settings.file_loop
        self._read = 0

    def check(self) -> None:
        """See ``Source.check``."""
        open_capture(self._path).close()

    def open(self) -> None:
        """See ``Source.open``."""
        self.check()

    def blocks(self, stop: threading.Event, worker: int = 0) -> Iterator[Block]:  # noqa: ARG002 there is one
        """See ``Source.blocks``; a damaged file raises ``CaptureFileError`` after the packets before the damage."""
        for _ in range(self._rounds) if self._rounds else itertools.repeat(None):
            before = self._read
            for block in self._paced(stop) if self._recorded else self._round():
                if stop.is_set():
                    return
                self._read += block.last - block.first
                yield block
            if stop.is_set() or self._read == before:  # an empty file has no second round
                return

    def _round(self) -> Iterator[Block]:
        with open_capture(self._path) as capture:
            for data, index, count in capture.blocks():
                yield Block(data, index, 0, count)

    def _paced(self, stop: threading.Event) -> Iterator[Block]:
        """Yield packets when their time has come, measured from the first packet of the round."""
        offset: int | None = None  # ns from the file's clock to ours
        for block in self._round():
            times = block.packets.time[: block.last]
            first = 0
            while first < block.last and not stop.is_set():
                now = time.monotonic_ns()
                offset = now - int(times[first]) if offset is None else offset
                # A packet earlier than one before it (files may be out of order) is due as well.
                due = first
                while due < block.last and int(times[due]) + offset <= now:
                    due += 1
                yield Block(block.data, block.packets, first, due)
                first = due
                if due < block.last:
                    stop.wait(min(TICK, max(0.0, (int(times[due]) + offset - now) / 1e9)))

    def counts(self) -> SourceCounts:
        """See ``Source.counts``."""
        return SourceCounts(received=self._read)

    def changes(self) -> InterfaceChanges:
        """See ``Source.changes``."""
        return NO_CHANGES

    def close(self) -> None:
        """See ``Source.close``; a round closes its file itself."""
