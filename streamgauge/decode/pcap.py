"""File header of classic pcap (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-06.html). No I/O, no Numba."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

FILE_HEADER: Final = 24

#: First four bytes: (little endian, nanoseconds of a timestamp unit, length of a record header).
#: The last pair is the "modified" format of patched libpcap 0.8 on Linux, whose records carry eight bytes more.
MAGICS: Final[dict[bytes, tuple[int, int, int]]] = {
    bytes.fromhex("a1b2c3d4"): (0, 1000, 16),
    bytes.fromhex("d4c3b2a1"): (1, 1000, 16),
    bytes.fromhex("a1b23c4d"): (0, 1, 16),
    bytes.fromhex("4d3cb2a1"): (1, 1, 16),
    bytes.fromhex("a1b2cd34"): (0, 1000, 24),
    bytes.fromhex("34cdb2a1"): (1, 1000, 24),
}

#: Longest packet that is believed, as in Wireshark and libpcap; of D-Bus and USB more.
LONGEST: Final = 262_144
LONGEST_OF_LINK: Final = {231: 128 << 20, 249: 128 << 20}


class RecordLayout(NamedTuple):
    """What the file header says about its records; numbers only, because a kernel reads it."""

    #: 1 if the file was written by a little-endian machine.
    little_endian: int = 1
    #: Nanoseconds of one unit of the second timestamp field: 1000 or 1.
    tick: int = 1000
    #: Length of a record header.
    header: int = 16
    link: int = 1
    #: A longer record is damage, not a packet.
    longest: int = LONGEST


def read_file_header(header: bytes) -> tuple[RecordLayout, int]:
    """Return the record layout and the snaplen that a file header, its magic known, announces."""
    little_endian, tick, record_header = MAGICS[header[:4]]
    snaplen, link = struct.unpack_from("<II" if little_endian else ">II", header, 16)
    link &= 0xFFFF  # the upper bits tell the length of the frame check sequence
    layout = RecordLayout(little_endian, tick, record_header, link, LONGEST_OF_LINK.get(link, LONGEST))
    return layout, snaplen
