"""Looks up who had an address at a time, for a batch of addresses."""

from __future__ import annotations

import numpy as np

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import entry, hot

_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
# Words of a key: the address or network, its length, its spans, and the latest of them.
_HIGH = 0
_LOW = 1
_LENGTH = 2
_FIRST = 3
_LAST = 4
_START = 5
_END = 6
_OWNER = 7


@hot
def _hash(high, low, length, seed):
    value = (seed ^ high) * _MIX
    value ^= value >> _SHIFT
    value = (value ^ low) * _MIX
    value ^= value >> _SHIFT
    value = (value ^ np.uint64(length)) * _MIX
    return value ^ (value >> _SHIFT)


@entry
def enter_keys(table):
    """Give each key its place; the places are free before.

    table: table.Arrays.
    """
    mask = np.uint64(len(table.places) - 1)
    for key in range(len(table.keys)):
        place = _hash(table.keys[key, _HIGH], table.keys[key, _LOW], table.keys[key, _LENGTH], table.seed[0]) & mask
        while table.places[place] != 0:
            place = (place + np.uint64(1)) & mask
        table.places[place] = key + 1


@entry
def resolve_rows(addresses, times, table, out):
    """Write the owner of each address at its time, or -1.

    addresses u8[n, 2] as they lie in memory, times i8[n] in ns UTC, table: table.Arrays, out i4[n].
    """
    mask = np.uint64(len(table.places) - 1)
    for row in range(len(times)):
        time = times[row]
        owner = np.int64(-1)
        for step in range(len(table.lengths)):
            length = table.lengths[step]
            high = addresses[row, 0] & table.masks[step, 0]
            low = addresses[row, 1] & table.masks[step, 1]
            place = _hash(high, low, length, table.seed[0]) & mask
            key = table.places[place] - 1
            while key >= 0:
                if (
                    table.keys[key, _LOW] == low
                    and table.keys[key, _HIGH] == high
                    and table.keys[key, _LENGTH] == np.uint64(length)
                ):
                    break
                place = (place + np.uint64(1)) & mask
                key = table.places[place] - 1
            if key < 0:
                continue
            if np.int64(table.keys[key, _START]) <= time:
                # Packets are mostly of now, and the latest span stands with the key: one line of the cache.
                if time < np.int64(table.keys[key, _END]):
                    owner = np.int64(table.keys[key, _OWNER])
                    break
                continue
            first = np.int64(table.keys[key, _FIRST])
            span = np.int64(table.keys[key, _LAST]) - 1
            while span >= first and table.starts[span] > time:
                span -= 1
            if span >= first and time < table.ends[span]:
                owner = np.int64(table.owners[span])
                break
        out[row] = owner
