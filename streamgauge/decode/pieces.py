"""Puts a stream together from pieces that may come in any order, twice, or never; a message from TLS records."""

from __future__ import annotations

from typing import Final

#: Bytes kept of one stream: a ClientHello of the largest size, and the record headers in it.
MAX_BYTES: Final = 16384 + 64
#: Pieces kept that do not join yet; together they have no more than ``MAX_BYTES``.
MAX_LOOSE: Final = 64

_RECORD_HEADER, _HANDSHAKE_HEADER = 5, 4
_HANDSHAKE, _CLIENT_HELLO = 22, 1


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
            known = len(self._loose.get(offset, b""))
            others = sum(map(len, self._loose.values())) - known
            if len(self._loose) < MAX_LOOSE and known < len(piece) <= MAX_BYTES - others:
                self._loose[offset] = piece
            return
        self.joined += piece[len(self.joined) - offset :]
        for start in sorted(self._loose):
            if start > len(self.joined):
                return
            self.joined += self._loose.pop(start)[len(self.joined) - start :]


class HelloInRecords:
    """Finds the ClientHello that TLS records begin with; it may reach over several (RFC 8446, 5.1).

    Each time it goes on where it was: a hello in records of one byte has thousands of them, and each may come in a
    segment of its own.
    """

    def __init__(self) -> None:
        #: What the whole records hold, and where the next record begins.
        self._message = bytearray()
        self._at = 0

    def read(self, stream: bytearray) -> bytes | None:
        """Return the message if all of it is there; ``stream`` is what it was the last time, or goes on from it."""
        part = self._take_whole_records(stream)
        head = (self._message[:_HANDSHAKE_HEADER] + stream[part : part + _HANDSHAKE_HEADER])[:_HANDSHAKE_HEADER]
        length = _HANDSHAKE_HEADER + int.from_bytes(head[1:], "big")
        there = len(self._message) + len(stream) - part
        if len(head) < _HANDSHAKE_HEADER or head[0] != _CLIENT_HELLO or there < length:
            return None
        return bytes(self._message + stream[part:])[:length]

    def _take_whole_records(self, stream: bytearray) -> int:
        """Return where the content of the record behind them begins, the end of the stream if there is none."""
        while self._at + _RECORD_HEADER <= len(stream) and stream[self._at] == _HANDSHAKE:
            content = self._at + _RECORD_HEADER
            end = content + int.from_bytes(stream[content - 2 : content], "big")
            if end > len(stream):
                return content
            self._message += stream[content:end]
            self._at = end
        return len(stream)
