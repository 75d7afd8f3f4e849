# mypy: allow-untyped-defs, allow-untyped-decorators
"""Reads Arrow's bitmaps: one pass over a column, where NumPy needs one to unpack the bits and one to choose."""

from __future__ import annotations

from services.exporter.accelerate import inner, kernel


@inner
def _is_set(bits, position):
    return bits[position >> 3] >> (position & 7) & 1


@kernel
def fill_numbers(values, bits, offset, null, out):
    """Copy a column, with ``null`` where it has no value.

    values, out [n]: the column and its copy. bits u1[≥ (offset + n) / 8]: which rows have a value, from the bit
    ``offset`` on.
    """
    row = 0
    if offset & 7 == 0:
        # Eight rows at a time, the loop over them unrolled, are twice as fast as one by one.
        for byte in range(len(out) >> 3):
            eight = bits[(offset >> 3) + byte]
            for bit in range(8):
                out[row + bit] = values[row + bit] if eight >> bit & 1 else null
            row += 8
    while row < len(out):
        out[row] = values[row] if _is_set(bits, offset + row) else null
        row += 1


@kernel
def fill_booleans(values, bits, offset, null, out):
    """Copy a column of booleans as 0 and 1, with ``null`` where it has no value.

    values, bits u1[≥ (offset + n) / 8]: its values and which rows have one. out u1[n].
    """
    for row in range(len(out)):
        out[row] = _is_set(values, offset + row) if _is_set(bits, offset + row) else null


@kernel
def fill_codes(codes, bits, offset, table, out):
    """Translate a dictionary's codes, to 0 where there is no value.

    codes u1[n] from the first row on, bits as above. table u1[k]: by code; what is beyond it is as its last. out u1[n].
    """
    last = len(table) - 1
    for row in range(len(out)):
        out[row] = table[min(int(codes[row]), last)] if _is_set(bits, offset + row) else 0


@kernel
def translate_codes(codes, table, out):
    """Translate a dictionary's codes where every row has one; as ``fill_codes``."""
    last = len(table) - 1
    for row in range(len(out)):
        out[row] = table[min(int(codes[row]), last)]


@kernel
def find_set(bits, offset, out):
    """Write the rows whose bit is set to ``out`` i4[n]; return how many they are."""
    found = 0
    row = 0
    while row < len(out):
        position = offset + row
        if bits[position >> 3] == 0:
            # Few rows have what is looked for: mostly eight are passed over at a time.
            row += 8 - (position & 7)
            continue
        if _is_set(bits, position):
            out[found] = row
            found += 1
        row += 1
    return found
