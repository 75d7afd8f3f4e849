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
# Length of a key that is an address.
_WHOLE = 128
# Rows looked up at a time.
_BLOCK = 512


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


@hot
def _find(high, low, length, place, table):
    """Return the number of a key that has its place at ``place`` or behind it, -1 if there is none."""
    mask = np.uint64(len(table.places) - 1)
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
    return key


@hot
def _owner_of(high, low, time, table):
    """Return who has an address at a time: by the address first, then by the longest network."""
    mask = np.uint64(len(table.places) - 1)
    for step in range(len(table.lengths)):
        length = table.lengths[step]
        masked_high = high & table.masks[step, 0]
        masked_low = low & table.masks[step, 1]
        place = _hash(masked_high, masked_low, length, table.seed[0]) & mask
        key = _find(masked_high, masked_low, length, place, table)
        if key < 0:
            continue
        first = np.int64(table.keys[key, _FIRST])
        span = np.int64(table.keys[key, _LAST]) - 1
        while span >= first and table.starts[span] > time:
            span -= 1
        if span >= first and time < table.ends[span]:
            return np.int64(table.owners[span])
    return np.int64(-1)


@entry
def resolve_rows(addresses, times, table, out):
    """Write the owner of each address at its time, or -1.

    addresses u8[n, 2] as they lie in memory, times i8[n] in ns UTC, table: table.Arrays, out i4[n].
    """
    mask = np.uint64(len(table.places) - 1)
    for first in range(0, len(times), _BLOCK):
        last = min(first + _BLOCK, len(times))
        # Tables are larger than the cache: in loops as short as these the processor waits for many rows at a time.
        # Unsigned positions are never from the end, which saves a comparison each.
        for row in range(np.uint64(first), np.uint64(last)):
            place = _hash(addresses[row, 0], addresses[row, 1], _WHOLE, table.seed[0]) & mask
            out[row] = table.places[place] - 1
        for row in range(np.uint64(first), np.uint64(last)):
            time = times[row]
            if out[row] >= 0:
                key = np.uint64(out[row])
                different = (
                    table.keys[key, _LOW] ^ addresses[row, 1]
                    | table.keys[key, _HIGH] ^ addresses[row, 0]
                    | table.keys[key, _LENGTH] ^ np.uint64(_WHOLE)
                )
                # Most addresses are where they belong, and most packets of now: the latest span stands with the key.
                if (
                    different == 0
                    and np.int64(table.keys[key, _START]) <= time
                    and time < np.int64(table.keys[key, _END])
                ):
                    out[row] = np.int64(table.keys[key, _OWNER])
                    continue
            out[row] = _owner_of(addresses[row, 0], addresses[row, 1], time, table)
