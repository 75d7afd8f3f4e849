# mypy: allow-untyped-defs, allow-untyped-decorators
"""Counts flows and connection attempts over whole batches, and the bytes of each service's port.

The rules are in conversations.py. Keys are 64-bit fingerprints under a secret seed; 0 stands for a free place.
"""

from __future__ import annotations

import numpy as np

from services.exporter.accelerate import inner, kernel

_TCP = 6
_SYN = 0x02
_RST = 0x04
_ACK = 0x10
# States of an attempt.
_WAITING = 0
_ANSWERED = 1

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_ONE = np.uint64(1)


@inner
def _mix(value, word):
    value = (value ^ word) * _MIX
    return value ^ (value >> _SHIFT)


@inner
def _ends(columns, row, value, reverse):
    """Mix both ends of a row into a hash; ``reverse`` as the other side sends."""
    first = columns.source
    second = columns.destination
    first_port = columns.source_port[row]
    second_port = columns.destination_port[row]
    if reverse:
        first, second = second, first
        first_port, second_port = second_port, first_port
    value = _mix(value, first[row, 0])
    value = _mix(value, first[row, 1])
    value = _mix(value, second[row, 0])
    value = _mix(value, second[row, 1])
    value = _mix(value, np.uint64(first_port) << np.uint64(16) | np.uint64(second_port))
    return value if value != 0 else _ONE


@inner
def _is_reverse(columns, row):
    """Return whether the ends must be swapped, so that both directions have one key."""
    for word in range(2):
        left = columns.source[row, word]
        right = columns.destination[row, word]
        if left != right:
            return left > right
    return columns.source_port[row] > columns.destination_port[row]


@inner
def _find(attempts, fingerprint):
    """Return the slot of an attempt, -1 if there is none."""
    mask = np.uint64(len(attempts.places) - 1)
    place = fingerprint & mask
    while attempts.places[place] != 0:
        slot = attempts.places[place] - 1
        if attempts.keys[slot] == fingerprint:
            return slot
        place = (place + _ONE) & mask
    return np.int32(-1)


@inner
def _remove(attempts, slot):
    """Take an attempt out of the index; those behind it move up, so that each is found from its own place."""
    mask = np.uint64(len(attempts.places) - 1)
    hole = attempts.keys[slot] & mask
    while attempts.places[hole] - 1 != slot:
        hole = (hole + _ONE) & mask
    place = (hole + _ONE) & mask
    while attempts.places[place] != 0:
        home = attempts.keys[attempts.places[place] - 1] & mask
        if ((place - home) & mask) >= ((place - hole) & mask):
            attempts.places[hole] = attempts.places[place]
            hole = place
        place = (place + _ONE) & mask
    attempts.places[hole] = 0


@inner
def _expire(attempts, now, timeout, silent, counts):
    """Close the oldest attempts that are further from ``now`` than the timeout; False: no room in ``silent``."""
    ring = len(attempts.keys)
    while attempts.state[1] > 0:
        slot = attempts.state[0]
        if abs(now - attempts.times[slot]) <= timeout:
            return True
        if attempts.answers[slot] == _WAITING:
            entry = silent.state[0]
            if entry == len(silent.times):
                return False
            silent.state[0] = entry + 1
            silent.times[entry] = attempts.times[slot]
            for word in range(4):
                silent.ends[entry, word] = attempts.ends[slot, word]
            counts.unanswered[attempts.directions[slot]] += 1
        _remove(attempts, np.int32(slot))
        attempts.state[0] = (slot + 1) % ring
        attempts.state[1] -= 1
    return True


@inner
def _enter(attempts, fingerprint, time, direction):
    """Append an attempt; return its slot."""
    ring = len(attempts.keys)
    slot = (attempts.state[0] + attempts.state[1]) % ring
    attempts.state[1] += 1
    attempts.keys[slot] = fingerprint
    attempts.times[slot] = time
    attempts.directions[slot] = direction
    attempts.answers[slot] = _WAITING
    mask = np.uint64(len(attempts.places) - 1)
    place = fingerprint & mask
    while attempts.places[place] != 0:
        place = (place + _ONE) & mask
    attempts.places[place] = slot + 1
    return slot


@inner
def _is_known(table, fingerprint):
    mask = np.uint64(len(table) - 1)
    place = fingerprint & mask
    while table[place] != 0:
        if table[place] == fingerprint:
            return True
        place = (place + _ONE) & mask
    return False


@inner
def _is_first(seen, fingerprint):
    """Remember a conversation; return whether it was not known."""
    young = seen.state[0]
    if _is_known(seen.tables[young], fingerprint):
        return False
    known = _is_known(seen.tables[1 - young], fingerprint)
    if seen.state[1] == seen.tables.shape[1] // 2:
        # The elder half is forgotten, the younger one is the elder from now on.
        young = 1 - young
        for place in range(seen.tables.shape[1]):
            seen.tables[young, place] = 0
        seen.state[0] = young
        seen.state[1] = 0
        seen.state[2] += 1
    table = seen.tables[young]
    mask = np.uint64(len(table) - 1)
    place = fingerprint & mask
    while table[place] != 0:
        place = (place + _ONE) & mask
    table[place] = fingerprint
    seen.state[1] += 1
    return not known


@kernel
def count_conversations(columns, directions, rule, attempts, silent, seen, first, counts):
    """Add the flows and unanswered attempts of a batch; return the row at which there was no room, or n.

    columns: columns.Columns of n rows. directions u1[n]: positions in words.DIRECTIONS. rule: conversations.Rule.
    attempts, silent, seen: conversations.Attempts, Silent, Seen. counts: aggregate.Counts, of which ``flows`` and
    ``unanswered`` are filled.
    """
    window = np.uint64(0)
    begins = ends = np.int64(0)
    for row in range(first, len(columns.packets)):
        if columns.ip_version[row] == 0 or columns.packets[row] == 0:
            continue
        number = columns.ip_protocol[row]
        if number != _TCP:
            time = columns.time[row]
            if not begins <= time < ends:
                # A division costs more than all the rest, and a window holds many rows.
                begins = time // rule.window * rule.window
                ends = begins + rule.window
                window = np.uint64(time // rule.window)
            start = _mix(_mix(rule.salt, window), np.uint64(number))
            if _is_first(seen, _ends(columns, row, start, _is_reverse(columns, row))):
                counts.flows[rule.protocols[number], directions[row]] += 1
            continue
        flags = columns.tcp_flags[row]
        if flags == 0:
            continue
        if not _expire(attempts, columns.time[row], rule.timeout, silent, counts):
            return row
        if flags & _SYN and not flags & _ACK:
            fingerprint = _ends(columns, row, rule.salt, False)
            if _find(attempts, fingerprint) >= 0:
                continue
            if attempts.state[1] == len(attempts.keys):
                if len(attempts.keys) < rule.most_attempts:
                    return row
                attempts.state[2] += 1
            else:
                slot = _enter(attempts, fingerprint, columns.time[row], directions[row])
                for word in range(2):
                    attempts.ends[slot, word] = columns.source[row, word]
                    attempts.ends[slot, 2 + word] = columns.destination[row, word]
            counts.flows[rule.protocols[number], directions[row]] += 1
        elif flags & (_SYN | _RST):
            slot = _find(attempts, _ends(columns, row, rule.salt, True))
            if slot >= 0:
                attempts.answers[slot] = _ANSWERED
    return len(columns.packets)


@kernel
def move_attempts(old, new):
    """Copy all attempts into a larger, empty table."""
    ring = len(old.keys)
    for position in range(old.state[1]):
        slot = (old.state[0] + position) % ring
        _enter(new, old.keys[slot], old.times[slot], old.directions[slot])
        new.answers[position] = old.answers[slot]
        for word in range(4):
            new.ends[position, word] = old.ends[slot, word]
    new.state[2] = old.state[2]


@kernel
def count_ports(columns, protocols, ephemeral, sums, touched):
    """Add packets and bytes by the service's port, the lower of the two; return how many cells hold something.

    protocols u1[256]: row of ``sums`` by IP protocol, 255 for those without ports. Ports from ``ephemeral`` on are
    one.
    sums i8[k, ephemeral + 1, 2], 0 where not touched. touched i8[cells, 2]: their positions.
    """
    used = 0
    for row in range(len(columns.packets)):
        if columns.ip_version[row] == 0 or columns.packets[row] == 0:
            continue
        protocol = protocols[columns.ip_protocol[row]]
        if protocol == 255:
            continue
        port = min(columns.source_port[row], columns.destination_port[row])
        if port == 0:
            continue
        port = min(int(port), ephemeral)
        cell = sums[protocol, port]
        if cell[0] == 0 and cell[1] == 0:
            touched[used, 0] = protocol
            touched[used, 1] = port
            used += 1
        cell[0] += columns.packets[row]
        cell[1] += columns.bytes[row]
    return used
