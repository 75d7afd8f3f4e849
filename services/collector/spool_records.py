"""The format of a spool file: records one behind the other, each with its length and checksum. No I/O.

A file is only ever appended to. A record that a crash cut short, or that the disk damaged, does not match its checksum:
what follows in that file is then not read (``Scan.torn`` says how many bytes), the files after it are.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from streamgauge.subjects import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.collector.batcher import Message

#: Magic, kind, length of the head (JSON), length of the payload, CRC-32 of everything else.
_FRAME: Final = struct.Struct("<4sBIII")
_MAGIC: Final = b"SGS1"
_ENVELOPE_FIELDS: Final = frozenset(field.name for field in fields(Envelope))
#: A longer record is damage.
_LONGEST: Final = 256 << 20


class Kind(IntEnum):
    """What a record says."""

    #: A message that waits for its acknowledgement; the head is its envelope, the payload its payload.
    MESSAGE = 1
    #: Messages that JetStream has acknowledged, by sequence, and the packets, rows and bytes published in all.
    DONE = 2
    #: Messages that were given up, by sequence, and the packets evicted in all.
    EVICTED = 3
    #: The account as it stood; every file begins with one.
    ACCOUNT = 4


class Location(NamedTuple):
    """Where a payload is: which file of its boot, and what bytes of it."""

    segment: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read back."""

    kind: Kind
    head: dict[str, Any]
    #: Position of the payload in the file, and its length.
    offset: int
    length: int


class Scan:
    """Reads the records of one file; iterate once, then ``torn`` is known."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        #: Bytes at the end that are no whole record.
        self.torn = 0

    def __iter__(self) -> Iterator[Record]:
        """Yield records up to the first that is damaged."""
        at = 0
        while at < len(self._content):
            record, following = _read(self._content, at)
            if record is None:
                self.torn = len(self._content) - at
                return
            yield record
            at = following


def pack(kind: Kind, head: dict[str, Any], payload: bytes = b"") -> bytes:
    """Return one record."""
    text = orjson.dumps(head)
    lengths = struct.pack("<BII", kind, len(text), len(payload))
    checksum = zlib.crc32(payload, zlib.crc32(text, zlib.crc32(lengths)))
    return b"".join((_FRAME.pack(_MAGIC, kind, len(text), len(payload), checksum), text, payload))


def message_head(message: Message) -> dict[str, Any]:
    """Return the head of a message."""
    return {
        "subject": message.subject,
        "envelope": asdict(message.envelope),
        "total": message.total,
        "closed_at": message.closed_at,
    }


def envelope_of(head: dict[str, Any]) -> Envelope:
    """Return the envelope in the head of a message; fields that a newer collector added are left out."""
    return Envelope(**{name: value for name, value in head["envelope"].items() if name in _ENVELOPE_FIELDS})


def _read(content: memoryview, at: int) -> tuple[Record | None, int]:
    if at + _FRAME.size > len(content):
        return None, at
    magic, kind, text_length, payload_length, checksum = _FRAME.unpack_from(content, at)
    text_at = at + _FRAME.size
    payload_at = text_at + text_length
    end = payload_at + payload_length
    if magic != _MAGIC or text_length + payload_length > _LONGEST or end > len(content):
        return None, at
    lengths = struct.pack("<BII", kind, text_length, payload_length)
    text = content[text_at:payload_at]
    if zlib.crc32(content[payload_at:end], zlib.crc32(text, zlib.crc32(lengths))) != checksum:
        return None, at
    return Record(Kind(kind), orjson.loads(text), payload_at, payload_length), end
