"""Indexer for the packet blocks of pcapng (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html).

Section and interface blocks are rare and full of options: the kernel stops at them and Python reads them.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamgauge.decode.accelerate import entry, inner
from streamgauge.decode.load_kernels import load16, load32, swap16, swap32, wrap64
from streamgauge.decode.pcap_kernels import DAMAGED, FULL, MAX_WIRE, NEED_MORE

#: The indexer stopped at a block that Python reads (section or interface), or at a packet of an interface that was not
#: described.
CONTROL_BLOCK, UNKNOWN_INTERFACE = 3, 4

SECTION_HEADER, INTERFACE, PACKET, SIMPLE_PACKET, ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 6

BLOCK_HEADER, BLOCK_OVERHEAD = 8, 12
PACKET_HEADER, SIMPLE_HEADER = 28, 12  # type and length included

NANOSECONDS = 1_000_000_000
#: A longer block is damage.
MAX_BLOCK = 16 << 20

#: Binary fractions of a second are cut to so many bits before they become nanoseconds: it still resolves 0.06 ns.
FRACTION_BITS = 33


class Interfaces(NamedTuple):
    """The interfaces of a section, one element each."""

    link: npt.NDArray[np.int64]
    snaplen: npt.NDArray[np.int64]
    #: Decimal: timestamp units of one second. Binary: 0.
    units: npt.NDArray[np.int64]
    #: Binary: a second has ``1 << bits`` units.
    bits: npt.NDArray[np.int64]
    #: Seconds to add to each timestamp.
    offset: npt.NDArray[np.int64]


def new_interfaces(count: int) -> Interfaces:
    """Allocate a table of interfaces."""
    return Interfaces(*(np.zeros(count, np.int64) for _ in Interfaces._fields))


@inner
def field32(data, at, little_endian):
    """Read a 32-bit field of the section's byte order."""
    value = load32(data, at)
    return swap32(value) if little_endian else value


@inner
def nanoseconds(high, low, interfaces, interface):
    """Convert a timestamp to nanoseconds since 1970."""
    units = interfaces.units[interface]
    ticks = wrap64((high << 32) | low)
    if units > 0:
        per_second = wrap64(units)
        seconds = ticks // per_second
        rest = ticks - seconds * per_second
        if units <= NANOSECONDS:
            fraction = rest * wrap64(NANOSECONDS // units)
        else:
            fraction = rest // wrap64(units // NANOSECONDS)
    else:
        bits = interfaces.bits[interface]
        seconds = ticks >> wrap64(bits)
        rest = ticks - (seconds << wrap64(bits))
        if bits > FRACTION_BITS:
            rest = rest >> wrap64(bits - FRACTION_BITS)
            bits = FRACTION_BITS
        fraction = (rest * wrap64(NANOSECONDS)) >> wrap64(bits)
    return wrap64((seconds + wrap64(interfaces.offset[interface])) * wrap64(NANOSECONDS) + fraction)


@entry
def index_blocks(data, at, end, index, interfaces, known, little_endian, longest):
    """Index the packet blocks in ``data[at:end]``; return ``(packets, offset of the first block not taken, why)``.

    ``known`` interfaces are described so far; ``longest`` is what a packet may have at most.
    """
    capacity = len(index.offset)
    count = 0
    while count < capacity:
        if at + BLOCK_HEADER > end:
            return count, at, NEED_MORE
        kind = field32(data, at, little_endian)
        length = (field32(data, at + 4, little_endian) + 3) & ~3
        if kind == SECTION_HEADER or kind == INTERFACE:
            return count, at, CONTROL_BLOCK
        if length < BLOCK_OVERHEAD or length > MAX_BLOCK:
            return count, at, DAMAGED
        if at + length > end:
            return count, at, NEED_MORE
        if kind == ENHANCED_PACKET or kind == PACKET or kind == SIMPLE_PACKET:
            simple = kind == SIMPLE_PACKET
            header = SIMPLE_HEADER if simple else PACKET_HEADER
            if length < header + 4:
                return count, at, DAMAGED
            interface = 0
            if kind == ENHANCED_PACKET:
                interface = field32(data, at + 8, little_endian)
            elif kind == PACKET:
                interface = load16(data, at + 8)
                interface = swap16(interface) if little_endian else interface
            if interface >= known:
                return count, at, UNKNOWN_INTERFACE
            if simple:
                wire = field32(data, at + 8, little_endian)
                snaplen = interfaces.snaplen[0]
                captured = min(wire, snaplen) if snaplen else wire
                captured = min(captured, length - header - 4)
                time = wrap64(0)
            else:
                captured, wire = field32(data, at + 20, little_endian), field32(data, at + 24, little_endian)
                high, low = field32(data, at + 12, little_endian), field32(data, at + 16, little_endian)
                time = nanoseconds(high, low, interfaces, interface)
            if captured > min(length - header - 4, longest):
                return count, at, DAMAGED
            index.offset[count] = at + header
            index.captured[count] = captured
            index.wire[count] = min(wire, MAX_WIRE)
            index.time[count] = time
            index.link[count] = interfaces.link[interface]
            index.tag[count] = -1
            count += 1
        at += length
    return count, at, FULL
