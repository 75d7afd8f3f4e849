"""scapy as a source: its sniffer runs as a program of its own and writes a pcap stream into a pipe.

For systems without AF_PACKET and interfaces the ring cannot take. It is slow (see docs), and it cannot tell what was
dropped before it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import numpy as np

from services.collector.sources import NO_CHANGES, TICK, Block, InterfaceChanges, SourceCounts
from streamgauge.decode import new_index, pcap
from streamgauge.errors import CaptureError, ConfigurationError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from streamgauge.settings import CollectorSettings

_PROGRAM: Final = Path(__file__).parents[1] / "scapy_source" / "__main__.py"
_WINDOW_BYTES: Final = 1 << 20
_INDEX_PACKETS: Final = 4096
#: Seconds the program may take to end after it was asked to.
_STOP_TIMEOUT: Final = 5.0


class ScapySource:
    """Sniffs one interface through scapy."""

    live = True
    workers = 1

    def __init__(self, settings: CollectorSettings) -> None:
        self._settings = settings
        self.interface = settings.interface
        self._process: subprocess.Popen[bytes] | None = None
        self._words: IO[bytes] | None = None
        self._data = np.empty(_WINDOW_BYTES, np.uint8)
        self._start = self._end = 0
        self._read = 0

    def check(self) -> None:
        """See ``Source.check``."""
        if self._settings.interface == "any":
            raise ConfigurationError(
                "STREAMGAUGE_COLLECTOR_INTERFACE=any: scapy sniffs one interface at a time; name it, or use source=ring"
            )

    def open(self) -> None:
        """See ``Source.open``."""
        self.check()
        settings = self._settings
        command = [sys.executable, str(_PROGRAM), "--interface", settings.interface, "--snaplen", str(settings.snaplen)]
        if settings.filter:
            command += ["--filter", settings.filter]
        if settings.promiscuous:
            command.append("--promiscuous")
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._words, start_new_session=True
        )

    def blocks(self, stop: threading.Event, worker: int = 0) -> Iterator[Block]:  # noqa: ARG002 there is one
        """See ``Source.blocks``; the program dying is an error."""
        from streamgauge.decode.pcap_kernels import index_records

        assert self._process is not None
        index = new_index(_INDEX_PACKETS)
        layout: pcap.RecordLayout | None = None
        asked = False
        while True:
            if stop.is_set() and not asked:
                self._process.send_signal(signal.SIGTERM)
                asked = True
            if not self._read_on(TICK):
                break
            if layout is None and self._end - self._start >= pcap.FILE_HEADER:
                header = self._data[self._start : self._start + pcap.FILE_HEADER].tobytes()
                layout, _ = pcap.read_file_header(header)
                self._start += pcap.FILE_HEADER
            count = 0
            if layout is not None:
                count, self._start, _ = index_records(self._data, self._start, self._end, index, layout)
            self._read += count
            yield Block(self._data, index, 0, count)
        if not asked:
            raise CaptureError(f"scapy: {self._last_words()}")

    def counts(self) -> SourceCounts:
        """See ``Source.counts``."""
        return SourceCounts(received=self._read)

    def changes(self) -> InterfaceChanges:
        """See ``Source.changes``."""
        return NO_CHANGES

    def close(self) -> None:
        """See ``Source.close``."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(_STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None
        if self._words is not None:
            self._words.close()
            self._words = None

    def _read_on(self, seconds: float) -> bool:
        """Read what is there, waiting up to ``seconds``; return False at the end of the stream."""
        assert self._process is not None
        assert self._process.stdout is not None
        if self._start:
            rest = self._end - self._start
            self._data[:rest] = self._data[self._start : self._end].copy()
            self._start, self._end = 0, rest
        pipe = self._process.stdout.fileno()
        if not select.select([pipe], [], [], seconds)[0]:
            return True
        count = os.readv(pipe, [self._data[self._end :].data])
        self._end += count
        return count > 0

    def _last_words(self) -> str:
        assert self._process is not None
        assert self._words is not None
        status = self._process.wait(_STOP_TIMEOUT)
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"its program ended with status {status}"
