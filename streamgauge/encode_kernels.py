"""The compiled steps between row buffers and Arrow: the chosen rows of many columns are gathered in one call.

One NumPy call a column took 135 ns a row; one kernel a width takes 45 (32,768 rows of seven classes).
Under a null stands zero, since the row buffers keep old values there.

    w = columns taken, n = chosen rows; a column has a value where ``present`` u8[n] has its ``bit``; 0: everywhere
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import entry
from streamgauge.decode.load_kernels import signed, swap32

ADDRESS_BYTES, MAC_BYTES = 16, 6


@entry
def gather_present(line, chosen, present):
    """Copy the presence bits of the chosen rows; return ``(bits that some have, bits that all have)``."""
    some, every = 0, -1
    for i in range(len(chosen)):
        bits = signed(line[chosen[i]])
        present[i] = bits
        some |= bits
        every &= bits
    return some, every


@entry
def gather_numbers(lines, slots, bits, present, chosen, out):
    """Gather columns of one width: lines [s, r], slots i8[w], bits i8[w] -> out [w, ≥ n] of the same type."""
    for k in range(len(slots)):
        slot, bit = slots[k], bits[k]
        if bit == 0:
            for i in range(len(chosen)):
                out[k, i] = lines[slot, chosen[i]]
        else:
            for i in range(len(chosen)):
                # In one expression, an unsigned element and a zero would become a float.
                if signed(present[i]) & bit:
                    out[k, i] = lines[slot, chosen[i]]
                else:
                    out[k, i] = 0


@entry
def gather_addresses(lines, slots, bits, present, chosen, out):
    """Gather IP addresses, two slots each, in network byte order: lines u8[s, r] -> out u4[w, ≥ 4 n]."""
    for k in range(len(slots)):
        slot, bit = slots[k], bits[k]
        for i in range(len(chosen)):
            high, low = 0, 0
            if bit == 0 or signed(present[i]) & bit:
                high, low = signed(lines[slot, chosen[i]]), signed(lines[slot + 1, chosen[i]])
            out[k, 4 * i] = swap32((high >> 32) & 0xFFFFFFFF)
            out[k, 4 * i + 1] = swap32(high & 0xFFFFFFFF)
            out[k, 4 * i + 2] = swap32((low >> 32) & 0xFFFFFFFF)
            out[k, 4 * i + 3] = swap32(low & 0xFFFFFFFF)


@entry
def gather_macs(lines, slots, bits, present, chosen, out):
    """Gather MAC addresses, first byte first: lines u8[s, r] -> out u1[w, ≥ 6 n]."""
    for k in range(len(slots)):
        slot, bit = slots[k], bits[k]
        for i in range(len(chosen)):
            address = 0
            if bit == 0 or signed(present[i]) & bit:
                address = signed(lines[slot, chosen[i]])
            for byte in range(MAC_BYTES):
                out[k, MAC_BYTES * i + byte] = (address >> (40 - 8 * byte)) & 0xFF


@entry
def mark_valid(present, bit, valid):
    """Write whether each row has a value, to bool[n]; return how many have."""
    count = 0
    for i in range(len(present)):
        has = signed(present[i]) & bit != 0
        valid[i] = has
        count += has
    return count


@entry
def text_size(lengths, chosen, present, bit):
    """Return how many bytes the texts of the chosen rows have; lengths u4[r]."""
    size = 0
    for i in range(len(chosen)):
        if bit == 0 or signed(present[i]) & bit:
            size += signed(lengths[chosen[i]])
    return size


@entry
def gather_text(pool, lines, slot, chosen, present, bit, offsets, out):
    """Copy the texts of the chosen rows one behind the other; return whether all bytes are ASCII.

    pool u1[p], lines u4[s, r] -> offsets i4[n + 1], out u1[text_size].
    """
    position = 0
    high = 0
    for i in range(len(chosen)):
        offsets[i] = position
        if bit == 0 or signed(present[i]) & bit:
            start, length = signed(lines[slot, chosen[i]]), signed(lines[slot + 1, chosen[i]])
            for j in range(length):
                byte = pool[start + j]
                high |= byte
                out[position + j] = byte
            position += length
    offsets[len(chosen)] = position
    return high < 128
