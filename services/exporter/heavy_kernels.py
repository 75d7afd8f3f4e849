# mypy: allow-untyped-defs, allow-untyped-decorators
"""Adds rows to a hash table of keys of one or more 64-bit words, until the table is full."""

from __future__ import annotations

import numpy as np

from services.exporter.accelerate import inner, kernel

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


@inner
def _hash(keys, row, seed):
    value = seed
    for word in range(keys.shape[1]):
        value = (value ^ keys[row, word]) * _MIX
        value ^= value >> _SHIFT
    return value


@inner
def _equal(left, i, right, j):
    for word in range(left.shape[1]):
        if left[i, word] != right[j, word]:
            return False
    return True


@kernel
def add_rows(keys, packets, sizes, chosen, first, table):
    """Add rows from ``first`` on; return the row at which the table was full, or the number of rows.

    keys u8[n, k], packets u4[n], sizes i8[n], chosen u1[n] (rows with 0 are left out), table: heavy.Arrays.
    """
    mask = len(table.places) - 1
    used = table.state[0]
    for row in range(first, len(packets)):
        if chosen[row] == 0:
            continue
        place = np.int64(_hash(keys, row, table.seed[0]) & np.uint64(mask))
        while True:
            entry = table.places[place] - 1
            if entry < 0:
                if used == len(table.amounts):
                    table.state[0] = used
                    return row
                entry = used
                used += 1
                table.places[place] = used
                for word in range(keys.shape[1]):
                    table.keys[entry, word] = keys[row, word]
                table.amounts[entry, 0] = 0
                table.amounts[entry, 1] = 0
                table.weights[entry] = 0
                break
            if _equal(keys, row, table.keys, entry):
                break
            place = (place + 1) & mask
        table.amounts[entry, 0] += packets[row]
        table.amounts[entry, 1] += sizes[row]
        table.weights[entry] += sizes[row]
    table.state[0] = used
    return len(packets)


@kernel
def rebuild(table):
    """Make the places anew for the entries in use, after some were taken out."""
    mask = len(table.places) - 1
    for free in range(len(table.places)):
        table.places[free] = 0
    for entry in range(table.state[0]):
        place = np.int64(_hash(table.keys, entry, table.seed[0]) & np.uint64(mask))
        while table.places[place] != 0:
            place = (place + 1) & mask
        table.places[place] = entry + 1
