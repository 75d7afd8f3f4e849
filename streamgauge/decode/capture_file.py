"""Capture files and streams: pcap and pcapng, plain or gzip, as blocks of indexed packets.

    with open_capture("trace.pcap.gz") as capture:
        for data, index, count in capture.blocks():
            ...

A damaged file gives every packet before the damage, then raises ``CaptureFileError``. Memory is bounded by the
longest packet.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Self

from streamgauge.decode import pcap, pcapng
from streamgauge.decode.index import PacketIndex, new_index
from streamgauge.decode.window import Window
from streamgauge.errors import CaptureFileError

if TYPE_CHECKING:
    import io
    import os
    from collections.abc import Callable, Iterator

    import numpy as np
    import numpy.typing as npt

    Block = tuple[npt.NDArray[np.uint8], PacketIndex, int]
    Indexer = Callable[[Window], tuple[int, int, int]]

#: Packets of a block: their headers, read by the indexer, are still in the cache when they are decoded.
BLOCK_PACKETS: Final = 4096

_GZIP_MAGIC: Final = b"\x1f\x8b"
_MEND: Final = "the packets before it are good; copy the file again, or keep what is whole: editcap {0} mended.pcap"


def open_capture(path: str | os.PathLike[str], *, block_packets: int = BLOCK_PACKETS) -> CaptureFile:
    """Open a capture file, or standard input if ``path`` is ``-``; the caller closes it (``with``)."""
    name = str(path)
    try:
        stream: io.BufferedIOBase
        if name == "-":
            if sys.stdin.isatty():
                raise CaptureFileError("standard input is a terminal: pipe a capture into it, or name a file")
            name = "standard input"
            stream = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115
        else:
            stream = Path(path).open("rb")  # noqa: SIM115
    except OSError as error:
        raise CaptureFileError(
            f"{name}: cannot be opened: {error.strerror}; check the path and its permissions"
        ) from error
    try:
        return CaptureFile(name, stream, block_packets=block_packets)
    except BaseException:
        stream.close()
        raise


class CaptureFile:
    """An open capture; closed by leaving its ``with`` block."""

    #: ``pcap`` or ``pcapng``.
    format: str
    #: Longest packet the file says it holds (of pcapng: its first interface); 0 if it does not say.
    snaplen: int

    def __init__(self, name: str, stream: io.BufferedReader, *, block_packets: int = BLOCK_PACKETS) -> None:
        """Read the beginning of ``stream``, which now belongs to this object."""
        self.name = name
        self.compressed = stream.peek(2)[:2] == _GZIP_MAGIC
        self.packets = 0
        self._stream = stream
        self._unpacked: io.BufferedIOBase = gzip.GzipFile(fileobj=stream) if self.compressed else stream
        self._window = Window(self._unpacked)
        self._index = new_index(block_packets)
        self._section: pcapng.Section | None = None
        self._links: dict[int, None] = {}
        self.snaplen = 0
        self._read_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._unpacked.close()
        self._stream.close()

    @property
    def links(self) -> tuple[int, ...]:
        """Link types seen so far, in order of appearance (https://www.tcpdump.org/linktypes.html)."""
        return tuple(self._links)

    def blocks(self) -> Iterator[Block]:
        """Yield ``(data, index, count)`` until the end of the file; the arrays are reused by the next block."""
        from streamgauge.decode.pcap_kernels import DAMAGED, FULL, NEED_MORE
        from streamgauge.decode.pcapng_kernels import CONTROL_BLOCK

        window = self._window
        index_packets = self._pcap_indexer() if self.format == "pcap" else self._pcapng_indexer()
        while True:
            count, window.start, reason = index_packets(window)
            self.packets += count
            if count:
                yield window.data, self._index, count
            if reason == FULL:
                continue
            if reason == NEED_MORE:
                if window.read_on():
                    continue
                if not len(window) and window.failure is None:
                    return
                self._fail(window.failure or "breaks off inside a packet")
            if reason == CONTROL_BLOCK:
                self._read_control_block()
                continue
            self._fail("impossible length" if reason == DAMAGED else "packet of an interface that was not described")

    def _fail(self, what: str) -> NoReturn:
        mend = _MEND.format(self.name if self.name != "standard input" else "FILE")
        raise CaptureFileError(
            f"{self.name}: {what}, at byte {self._window.position}, after packet {self.packets}; {mend}"
        )

    def _read_start(self) -> None:
        start = self._window.peek(pcap.FILE_HEADER)
        if start[:4] == pcapng.MAGIC:
            self.format = "pcapng"
            return
        if start[:4] not in pcap.MAGICS:
            seen = f"starts with {start[:4].hex()}" if start else "is empty"
            seen = self._window.failure or seen
            raise CaptureFileError(f"{self.name}: not a capture file ({seen}); pcap and pcapng are read, plain or gzip")
        if len(start) < pcap.FILE_HEADER:
            raise CaptureFileError(
                f"{self.name}: breaks off inside the file header, at byte {len(start)}; copy the file again"
            )
        self.format = "pcap"
        self._layout, self.snaplen = pcap.read_file_header(start)
        self._links[self._layout.link] = None
        self._window.start += pcap.FILE_HEADER

    def _pcap_indexer(self) -> Indexer:
        from streamgauge.decode.pcap_kernels import index_records

        return lambda window: index_records(window.data, window.start, window.end, self._index, self._layout)

    def _pcapng_indexer(self) -> Indexer:
        from streamgauge.decode.pcapng_kernels import CONTROL_BLOCK, index_blocks

        def index_packets(window: Window) -> tuple[int, int, int]:
            section = self._section
            if section is None:
                return 0, window.start, CONTROL_BLOCK
            taken: tuple[int, int, int] = index_blocks(
                window.data,
                window.start,
                window.end,
                self._index,
                section.interfaces,
                section.known,
                section.little_endian,
                section.longest,
            )
            return taken

        return index_packets

    def _read_control_block(self) -> None:
        """Read a section header or an interface description."""
        window = self._window
        start = window.peek(pcapng.SECTION_START)
        if len(start) < pcapng.SECTION_START:
            self._fail(window.failure or "breaks off inside a block")
        opens = start[:4] == pcapng.MAGIC
        section = pcapng.section_of(start) if opens else self._section
        if section is None:
            self._fail("section header without a byte order")
        length = section.block_length(start)
        if length > pcapng.MAX_CONTROL_BLOCK:
            self._fail("impossible length")
        block = window.peek(length)
        if len(block) < length:
            self._fail(window.failure or "breaks off inside a block")
        if opens:
            if pcapng.section_major(section, block) != 1:
                self._fail("section in a version of pcapng other than 1")
            self._section = section
        else:
            wrong = section.add_interface(block)
            if wrong:
                self._fail(wrong)
            self._links[section.links[-1]] = None
            self.snaplen = self.snaplen or int(section.interfaces.snaplen[0])
        window.start += length
