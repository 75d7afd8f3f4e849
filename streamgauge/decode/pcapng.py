"""Section and interface blocks of pcapng (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html). No I/O."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from streamgauge.decode.pcap import LONGEST, LONGEST_OF_LINK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.decode.pcapng_kernels import Interfaces

SECTION_HEADER: Final = 0x0A0D0D0A
#: The same in both byte orders, so it tells a pcapng file.
MAGIC: Final = bytes.fromhex("0a0d0d0a")

#: Type, length and byte-order magic: enough to know how long a section header is.
SECTION_START: Final = 12
#: A longer section header or interface description is damage.
MAX_CONTROL_BLOCK: Final = 16 << 20
_SECTION_MINIMUM: Final = 28
_INTERFACE_MINIMUM: Final = 20
_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D

_OPTION_TIMESTAMP_RESOLUTION: Final = 9
_OPTION_TIMESTAMP_OFFSET: Final = 14
#: Ten to this power still fits into 64 bits.
_MAX_DECIMAL: Final = 18
_MAX_BINARY: Final = 63


class Section:
    """One section of a file: its byte order and the interfaces described so far."""

    def __init__(self, *, little_endian: bool) -> None:
        """Begin a section without interfaces."""
        from streamgauge.decode.pcapng_kernels import new_interfaces

        self.little_endian = int(little_endian)
        self.interfaces: Interfaces = new_interfaces(4)
        self.known = 0
        self.longest = LONGEST
        self._order = "<" if little_endian else ">"

    @property
    def links(self) -> list[int]:
        """Link types of the interfaces described so far."""
        return [int(link) for link in self.interfaces.link[: self.known]]

    def block_length(self, start: bytes) -> int:
        """Return the length of the block that begins with the eight bytes ``start``, padding included."""
        return (int(struct.unpack_from(self._order + "I", start, 4)[0]) + 3) & ~3

    def add_interface(self, block: bytes) -> str | None:
        """Take over an Interface Description Block; return what is wrong with it, if anything."""
        if len(block) < _INTERFACE_MINIMUM:
            return "an interface block that is too short"
        link, _, snaplen = struct.unpack_from(self._order + "HHI", block, 8)
        units, bits, offset = 1_000_000, 0, 0
        for code, value in self._options(block[16:-4]):
            if code == _OPTION_TIMESTAMP_RESOLUTION and value:
                binary, exponent = value[0] & 0x80, value[0] & 0x7F
                units = 0 if binary else 10 ** min(exponent, _MAX_DECIMAL)
                bits = min(exponent, _MAX_BINARY) if binary else 0
            elif code == _OPTION_TIMESTAMP_OFFSET and len(value) == 8:
                (offset,) = struct.unpack(self._order + "q", value)
        if self.known == len(self.interfaces.link):
            self._grow()
        for column, value in zip(self.interfaces, (link, snaplen, units, bits, offset), strict=True):
            column[self.known] = value
        self.known += 1
        self.longest = max(self.longest, LONGEST_OF_LINK.get(link, LONGEST))
        return None

    def _options(self, options: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at + 4 <= len(options):
            code, length = struct.unpack_from(self._order + "HH", options, at)
            at += 4
            if code == 0 or at + length > len(options):
                return
            yield code, options[at : at + length]
            at += (length + 3) & ~3

    def _grow(self) -> None:
        from streamgauge.decode.pcapng_kernels import new_interfaces

        wider = new_interfaces(2 * self.known)
        for column, old in zip(wider, self.interfaces, strict=True):
            column[: self.known] = old
        self.interfaces = wider


def section_of(start: bytes) -> Section | None:
    """Return the section that a Section Header Block opens; ``start`` is its first twelve bytes."""
    for little_endian in (True, False):
        if int.from_bytes(start[8:12], "little" if little_endian else "big") == _BYTE_ORDER_MAGIC:
            section = Section(little_endian=little_endian)
            return section if section.block_length(start) >= _SECTION_MINIMUM else None
    return None


def section_major(section: Section, block: bytes) -> int:
    """Return the major version of the format a section is written in; only 1 is known."""
    return int.from_bytes(block[12:14], "little" if section.little_endian else "big")
