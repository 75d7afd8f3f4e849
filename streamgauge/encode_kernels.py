# mypy: allow-untyped-defs, allow-untyped-decorators
"""The one compiled step between row buffers and Arrow: gather scattered text into one contiguous buffer."""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def gather_text(pool, starts, lengths, chosen, valid, offsets, out):
    """Copy the texts of the chosen rows one behind the other; return whether all bytes are ASCII.

    pool u1[p], starts/lengths u4[rows], chosen i8[n], valid bool[n] -> offsets i4[n + 1], out u1[≥ sum of lengths].
    """
    position = 0
    high = 0
    for i in range(len(chosen)):
        offsets[i] = position
        if valid[i]:
            row = chosen[i]
            start = starts[row]
            for j in range(lengths[row]):
                byte = pool[start + j]
                high |= byte
                out[position + j] = byte
            position += lengths[row]
    offsets[len(chosen)] = position
    return high < 128
