"""Puts a stream together from pieces that may come in any order, twice, or never."""

from __future__ import annotations

from typing import Final

#: Bytes kept of one stream: a ClientHello of the largest size, and the record headers in it.
MAX_BYTES: Final = 16384 + 64
#: Pieces kept that do not join yet.
MAX_LOOSE: Final = 64


class Pieces:
    """The beginning of a stream; what comes past ``MAX_BYTES``, or as too many loose pieces, is left out."""

    def __init__(self) -> None:
        #: What is whole, from offset 0 on.
        self.joined = bytearray()
        self._loose: dict[int, bytes] = {}

    def put(self, offset: int, piece: bytes) -> None:
        """Add what was sent at ``offset``; of an overlap the first to come is kept."""
        piece = piece[: max(MAX_BYTES - offset, 0)]
        if offset > len(self.joined):
            if len(self._loose) < MAX_LOOSE and len(piece) > len(self._loose.get(offset, b"")):
                self._loose[offset] = piece
            return
        self.joined += piece[len(self.joined) - offset :]
        for start in sorted(self._loose):
            if start > len(self.joined):
                return
            self.joined += self._loose.pop(start)[len(self.joined) - start :]
