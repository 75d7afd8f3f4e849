"""Row buffers: decoded summaries as two-dimensional NumPy arrays, one array per width, one line per column.

The decoder writes here, the batcher reads here. A line of a buffer is a column (``schema.SLOTS``), an element a row.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamgauge import schema

#: Extra elements per line so that the same row of neighbouring columns does not fall on the same 4 KiB cache set:
#: 6.3 → 7.5 M packets/s in the decoder on a 1 M packet trace.
_PADDING: Final = 32

#: Bytes of text (names, paths) reserved per row; a row may use more as long as the pool has room.
POOL_BYTES_PER_ROW: Final = 64


class RowBuffers(NamedTuple):
    """What the kernels see. ``state`` is ``[rows used, pool bytes used]``."""

    u8: npt.NDArray[np.uint64]
    u4: npt.NDArray[np.uint32]
    u2: npt.NDArray[np.uint16]
    u1: npt.NDArray[np.uint8]
    pool: npt.NDArray[np.uint8]
    state: npt.NDArray[np.int64]


class Rows:
    """A reusable block of decoded rows.

    Lives as long as its owner (a source, a command) and is cleared between batches; nothing is allocated per batch.
    """

    def __init__(self, capacity: int, pool_bytes: int | None = None) -> None:
        """Allocate room for ``capacity`` rows and ``pool_bytes`` of text."""
        stride = capacity + _PADDING
        counts = schema.SLOT_COUNTS
        self.capacity = capacity
        self.buffers = RowBuffers(
            u8=np.zeros((counts["u8"], stride), np.uint64),
            u4=np.zeros((counts["u4"], stride), np.uint32),
            u2=np.zeros((counts["u2"], stride), np.uint16),
            u1=np.zeros((counts["u1"], stride), np.uint8),
            pool=np.zeros(pool_bytes or max(capacity * POOL_BYTES_PER_ROW, 1 << 17), np.uint8),
            state=np.zeros(2, np.int64),
        )

    def __len__(self) -> int:
        """Rows in use."""
        return int(self.buffers.state[0])

    @property
    def pool_used(self) -> int:
        """Bytes of text in use."""
        return int(self.buffers.state[1])

    def clear(self) -> None:
        """Forget all rows; the memory stays."""
        self.buffers.state[:] = 0

    def reserve_text(self, size: int) -> int:
        """Take ``size`` bytes of the pool into use and return the offset of the first; the pool grows if it must."""
        used = self.pool_used
        if used + size > len(self.buffers.pool):
            grown = np.zeros(2 * (used + size), np.uint8)
            grown[:used] = self.buffers.pool[:used]
            self.buffers = self.buffers._replace(pool=grown)
        self.buffers.state[1] = used + size
        return used

    def column(self, name: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the used part of a column's first slot (a view, no copy)."""
        return getattr(self.buffers, schema.width(name))[schema.SLOTS[name], : len(self)]  # type: ignore[no-any-return]

    def second(self, name: str) -> npt.NDArray[np.unsignedinteger]:
        """Return the used part of a two-slot column's second slot (low half of an address, length of a text)."""
        return getattr(self.buffers, schema.width(name))[schema.SLOTS[name] + 1, : len(self)]  # type: ignore[no-any-return]
