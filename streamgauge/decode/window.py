"""A bounded window on a stream of bytes: what is being decoded, and room to read on."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import io

#: Bytes read at a time. Copied out of the page cache, they are in the processor's cache when the kernels get to them.
WINDOW_BYTES: Final = 1 << 20


class Window:
    """The bytes ``data[start:end]`` of a stream; ``data[0]`` stands at byte ``base`` of the stream."""

    def __init__(self, stream: io.BufferedIOBase, size: int = WINDOW_BYTES) -> None:
        """Look at the beginning of a stream, which the caller closes."""
        self.data = np.empty(size, np.uint8)
        self.start = 0
        self.end = 0
        self.base = 0
        #: Why nothing more can be read, if it is not the end: the words of a damaged gzip stream.
        self.failure: str | None = None
        self._stream = stream

    def __len__(self) -> int:
        """Bytes read and not yet taken."""
        return self.end - self.start

    @property
    def position(self) -> int:
        """Where ``start`` is in the stream."""
        return self.base + self.start

    def peek(self, count: int) -> bytes:
        """Return the next ``count`` bytes without taking them, fewer at the end of the stream."""
        while len(self) < count and self.read_on():
            pass
        return self.data[self.start : min(self.start + count, self.end)].tobytes()

    def read_on(self) -> bool:
        """Read more; return False at the end. What was taken is forgotten; a full window doubles."""
        if self.start:
            rest = len(self)
            self.data[:rest] = self.data[self.start : self.end].copy()
            self.base += self.start
            self.start, self.end = 0, rest
        if self.end == self.data.size:
            self.data = np.concatenate([self.data, np.empty_like(self.data)])
        try:
            count = self._stream.readinto1(self.data[self.end :].data)
        except (EOFError, OSError, zlib.error) as error:
            self.failure = str(error)
            return False
        self.end += count
        return count > 0
