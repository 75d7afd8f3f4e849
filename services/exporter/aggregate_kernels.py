# mypy: allow-untyped-defs, allow-untyped-decorators
"""Counts a whole batch in one pass over its columns into small dense tables."""

from __future__ import annotations

from services.exporter.accelerate import inner, kernel

_ETH_TYPE_ARP = 0x0806
# Position of arp in words.PROTOCOLS.
_PROTOCOL_ARP = 6
_SYN = 0x02
_RST = 0x04
_ACK = 0x10
_SYN_ACK_POSITION = 8
_SYN_POSITION = 1


@inner
def _is_inside(halves, row, networks):
    high = halves[row, 0]
    low = halves[row, 1]
    for i in range(networks.masks.shape[0]):
        if high & networks.masks[i, 0] == networks.values[i, 0] and low & networks.masks[i, 1] == networks.values[i, 1]:
            return True
    return False


@inner
def _direction(columns, row, networks):
    """Return the position in words.DIRECTIONS."""
    if columns.ip_version[row] == 0:
        return 0
    if _is_inside(columns.source, row, networks):
        return 1 if _is_inside(columns.destination, row, networks) else 2
    return 3 if _is_inside(columns.destination, row, networks) else 4


@inner
def _count_flags(flags, packets, out):
    for bit in range(8):
        if flags & (1 << bit):
            out[bit] += packets
    if flags & _SYN and flags & _ACK:
        out[_SYN_ACK_POSITION] += packets
        out[_SYN_POSITION] -= packets


@inner
def _count_dns(columns, row, packets, lookups, counts):
    qtype = lookups.qtype[columns.dns_type[row]]
    if columns.dns_unanswered[row]:
        counts.silent[qtype] += 1
    if columns.dns_response[row] == 0:
        counts.queries[qtype] += packets
    else:
        counts.responses[qtype, lookups.rcode[columns.dns_rcode[row]]] += packets


@kernel
def count_batch(columns, lookups, networks, directions, by_flags, counts):
    """Add the rows of a batch to ``counts``.

    columns: columns.Columns of n rows. lookups: aggregate.Lookups. directions u1[n] is filled with positions in
    words.DIRECTIONS. by_flags i8[256]: zeros, filled with the packets by their flags of TCP. counts: aggregate.Counts,
    in packets except [..., 1] of ``traffic``, which is bytes, and ``silent``, which is queries. A merged row counts its
    packets at their mean size.
    """
    bounds = lookups.size_buckets
    small = len(lookups.small_sizes)
    for row in range(len(columns.packets)):
        packets = int(columns.packets[row])
        length = columns.bytes[row]
        if columns.ip_version[row] != 0:
            protocol = lookups.protocol[columns.ip_protocol[row]]
        elif columns.eth_type[row] == _ETH_TYPE_ARP:
            protocol = _PROTOCOL_ARP
        else:
            protocol = 0
        direction = _direction(columns, row, networks)
        directions[row] = direction
        cell = counts.traffic[protocol, columns.app[row], direction]
        cell[0] += packets
        cell[1] += length
        counts.status[columns.status[row]] += packets
        flags = columns.tcp_flags[row]
        if flags != 0:
            by_flags[flags] += packets
            if flags & _RST:
                counts.resets[direction] += packets
        if columns.dns_response[row] != 2:
            _count_dns(columns, row, packets, lookups, counts)
        if packets > 0:
            size = length if packets == 1 else length // packets
            if 0 <= size < small:
                bucket = int(lookups.small_sizes[size])
            else:
                bucket = 0
                while bucket < len(bounds) and size > bounds[bucket]:
                    bucket += 1
            counts.sizes[bucket] += packets
    for flags in range(256):
        if by_flags[flags] != 0:
            _count_flags(flags, by_flags[flags], counts.flags)
