# mypy: allow-untyped-defs, allow-untyped-decorators
"""Counts traffic by pair of workloads, each packet once, over whole batches.

The rules are in workloads.py and observation.py. Keys of pairs: ``(source << 36 | destination << 8 | protocol) + 1``.
"""

from __future__ import annotations

import numpy as np

from services.exporter.accelerate import inner, kernel

_RST = 0x04
# Positions in observation.REASONS.
_NO_ADDRESS = 0
_SERVICE_ADDRESS = 1
_OTHER_NODE = 2
_OTHER_INTERFACE = 3
# Label positions of workloads.
_WORLD = 0
_UNKNOWN = 1
# Columns of the owners.
_LABEL = 0
_NODE = 1
_SERVICE = 2
# Columns of the pairs.
_KEY = 0
_PACKETS = 1
_BYTES = 2
_RETRANSMITS = 3
_RESETS = 4
_DNS_FAILURES = 5
_UNANSWERED = 6
_TCP = 6

_NO_RCODE = 0xFFFF
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_ONE = np.uint64(1)


@inner
def _mix(value, word):
    value = (value ^ word) * _MIX
    return value ^ (value >> _SHIFT)


@inner
def _is_inside(halves, row, networks):
    high = halves[row, 0]
    low = halves[row, 1]
    for i in range(networks.masks.shape[0]):
        if high & networks.masks[i, 0] == networks.values[i, 0] and low & networks.masks[i, 1] == networks.values[i, 1]:
            return True
    return False


@inner
def _label(owner, halves, row, owners, networks):
    if owner >= 0:
        return owners[owner, _LABEL]
    return _UNKNOWN if _is_inside(halves, row, networks) else _WORLD


@inner
def _is_service(owner, owners):
    return owner >= 0 and owners[owner, _SERVICE] != 0


@inner
def _is_here(source, destination, node, owners, collectors):
    """Return whether this node is the one that counts packets between two owners."""
    if source >= 0:
        home = owners[source, _NODE]
        if home >= 0 and collectors[home]:
            return home == node
    if destination >= 0:
        home = owners[destination, _NODE]
        if home >= 0 and collectors[home]:
            return home == node
    return True


@inner
def _find(places, keys, key):
    """Return the place of a key, or the free place where it belongs."""
    mask = np.uint64(len(places) - 1)
    place = (key * _MIX >> _SHIFT) & mask
    while places[place] != 0 and keys[places[place] - 1] != key:
        place = (place + _ONE) & mask
    return place


@inner
def _is_elected(columns, row, here, elections):
    """Return whether this interface counts packets between two addresses of this node; 2: there is no room to tell."""
    key = _mix(elections.seed[0], np.uint64(here.node))
    key = _mix(key, columns.source[row, 0])
    key = _mix(key, columns.source[row, 1])
    key = _mix(key, columns.destination[row, 0])
    key = _mix(key, columns.destination[row, 1])
    time = columns.time[row]
    place = _find(elections.places, elections.keys, key)
    entry = elections.places[place] - 1
    if entry < 0:
        if elections.state[0] == len(elections.keys):
            return 2
        entry = elections.state[0]
        elections.state[0] = entry + 1
        elections.places[place] = entry + 1
        elections.keys[entry] = key
    elif elections.interfaces[entry] == here.interface:
        elections.times[entry] = max(time, elections.times[entry])
        return 1
    elif time <= elections.times[entry]:
        return 0
    elif here.rank >= elections.ranks[entry] and time - elections.times[entry] < here.idle:
        return 0
    elections.interfaces[entry] = here.interface
    elections.ranks[entry] = here.rank
    elections.times[entry] = time
    return 1


@inner
def _enter(pairs, key):
    """Return the place of a pair."""
    mask = np.uint64(len(pairs.table) - 1)
    place = (np.uint64(key) * _MIX >> _SHIFT) & mask
    while pairs.table[place, _KEY] != key:
        if pairs.table[place, _KEY] == 0:
            pairs.table[place, _KEY] = key
            pairs.used[pairs.state[0]] = place
            pairs.state[0] += 1
            break
        place = (place + _ONE) & mask
    return place


@inner
def _key(source, destination, protocol):
    """Return the key of a pair, which is never 0."""
    return (np.int64(source) << 36 | np.int64(destination) << 8 | np.int64(protocol)) + 1


@kernel
def count_rows(columns, marks, who, here, elections, pairs, left, first):
    """Add rows from ``first`` on; return the row for which there was no room in ``pairs`` or ``elections``, or n.

    columns: columns.Columns of n rows. marks u1[n]: 1 for segments sent again. who: workloads.Who. here:
    observation.Here. elections: observation.Elections. pairs: workloads.Pairs. left i8[reasons, 2]: packets and bytes
    that are not counted.
    """
    for row in range(first, len(columns.packets)):
        packets = np.int64(columns.packets[row])
        length = columns.bytes[row]
        if packets == 0:
            continue
        if columns.ip_version[row] == 0:
            left[_NO_ADDRESS, 0] += packets
            left[_NO_ADDRESS, 1] += length
            continue
        source = who.sources[row]
        destination = who.destinations[row]
        reason = -1
        if _is_service(source, who.owners) or _is_service(destination, who.owners):
            reason = _SERVICE_ADDRESS
        elif not _is_here(source, destination, here.node, who.owners, who.collectors):
            reason = _OTHER_NODE
        else:
            if pairs.state[0] + 2 > len(pairs.used):
                return row
            if not here.alone:
                if columns.time[row] <= here.alone_until:
                    elected = 0
                else:
                    elected = _is_elected(columns, row, here, elections)
                if elected == 2:
                    return row
                if elected == 0:
                    reason = _OTHER_INTERFACE
        if reason >= 0:
            left[reason, 0] += packets
            left[reason, 1] += length
            continue
        protocol = who.protocols[columns.ip_protocol[row]]
        from_label = _label(source, columns.source, row, who.owners, who.inside)
        to_label = _label(destination, columns.destination, row, who.owners, who.inside)
        entry = _enter(pairs, _key(from_label, to_label, protocol))
        pairs.table[entry, _PACKETS] += packets
        pairs.table[entry, _BYTES] += length
        if marks[row]:
            pairs.table[entry, _RETRANSMITS] += packets
        if columns.tcp_flags[row] & _RST:
            pairs.table[entry, _RESETS] += packets
        rcode = columns.dns_rcode[row]
        if columns.dns_response[row] == 1 and rcode != 0 and rcode != _NO_RCODE:
            asked = _enter(pairs, _key(to_label, from_label, protocol))
            pairs.table[asked, _DNS_FAILURES] += packets
    return len(columns.packets)


@kernel
def count_unanswered(sources, destinations, who, here, pairs, first):
    """Add connection attempts from ``first`` on; return the one for which there was no room in ``pairs``, or n.

    sources, destinations u8[n, 2]: addresses. The others as for ``count_rows``.
    """
    for row in range(first, len(sources)):
        source = who.sources[row]
        destination = who.destinations[row]
        if _is_service(source, who.owners) or _is_service(destination, who.owners):
            continue
        if not _is_here(source, destination, here.node, who.owners, who.collectors):
            continue
        if pairs.state[0] == len(pairs.used):
            return row
        from_label = _label(source, sources, row, who.owners, who.inside)
        to_label = _label(destination, destinations, row, who.owners, who.inside)
        entry = _enter(pairs, _key(from_label, to_label, who.protocols[_TCP]))
        pairs.table[entry, _UNANSWERED] += 1
    return len(sources)


@kernel
def index_keys(places, keys, used):
    """Make the places anew for the first ``used`` keys."""
    for place in range(len(places)):
        places[place] = 0
    for entry in range(used):
        places[_find(places, keys, keys[entry])] = entry + 1
