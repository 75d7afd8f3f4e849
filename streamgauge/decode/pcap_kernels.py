"""Indexer for classic pcap records (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-06.html)."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import entry
from streamgauge.decode.load_kernels import load32, swap32

#: No packet is longer: what claims to be is damaged, and would spoil the sums of a whole window.
MAX_WIRE = 0x7FFF_FFFF

#: Why the indexer stopped.
NEED_MORE, FULL, DAMAGED = 0, 1, 2


@entry
def index_records(data, at, end, index, layout):
    """Index the records in ``data[at:end]``; return ``(packets, offset of the first record not taken, why)``.

    ``layout`` is a ``pcap.RecordLayout``.
    """
    capacity = len(index.offset)
    count = 0
    while count < capacity:
        if at + layout.header > end:
            return count, at, NEED_MORE
        seconds, fraction = load32(data, at), load32(data, at + 4)
        captured, wire = load32(data, at + 8), load32(data, at + 12)
        if layout.little_endian:
            seconds, fraction = swap32(seconds), swap32(fraction)
            captured, wire = swap32(captured), swap32(wire)
        if captured > layout.longest:
            return count, at, DAMAGED
        if at + layout.header + captured > end:
            return count, at, NEED_MORE
        index.offset[count] = at + layout.header
        index.captured[count] = captured
        index.wire[count] = min(wire, MAX_WIRE)
        index.time[count] = seconds * 1_000_000_000 + fraction * layout.tick
        index.link[count] = layout.link
        index.tag[count] = -1
        count += 1
        at += layout.header + captured
    return count, at, FULL
