"""Rows of one flow and window become one row; ``merge_rules`` says what becomes of each column."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import entry, hot, inner
from streamgauge.decode.load_kernels import signed, wrap64
from streamgauge.flows.key_kernels import finish, mix
from streamgauge.flows.merge_rules import Rule, key_bits, slots, text_slots
from streamgauge.schema import SLOT_COUNTS, SLOTS, Present

PRESENT, TIME, DURATION, PACKETS = SLOTS["present"], SLOTS["time"], SLOTS["duration"], SLOTS["packets"]
HAS_UNANSWERED, HAS_FRAME, KEY_BITS = int(Present.DNS_UNANSWERED), int(Present.FRAME), key_bits()

KEY_U8, KEY_U8_BITS = slots("u8", Rule.KEY)
KEY_U4, KEY_U4_BITS = slots("u4", Rule.KEY)
KEY_U2, KEY_U2_BITS = slots("u2", Rule.KEY)
KEY_U1, KEY_U1_BITS = slots("u1", Rule.KEY)
OPEN_U8, OPEN_U8_BITS = slots("u8", Rule.FIRST, Rule.LEAST, Rule.ANY)
OPEN_U4, OPEN_U4_BITS = slots("u4", Rule.FIRST, Rule.LEAST, Rule.ANY)
OPEN_U2, OPEN_U2_BITS = slots("u2", Rule.FIRST, Rule.LEAST, Rule.ANY)
OPEN_U1, OPEN_U1_BITS = slots("u1", Rule.FIRST, Rule.LEAST, Rule.ANY)
SUM_U8, _ = slots("u8", Rule.SUM)
LEAST_U8, LEAST_U8_BITS = slots("u8", Rule.LEAST)
LEAST_U2, LEAST_U2_BITS = slots("u2", Rule.LEAST)
LEAST_U1, LEAST_U1_BITS = slots("u1", Rule.LEAST)
ANY_U1, ANY_U1_BITS = slots("u1", Rule.ANY)
TEXTS, TEXT_BITS = text_slots()
LINES_U8, LINES_U4 = SLOT_COUNTS["u8"], SLOT_COUNTS["u4"]
LINES_U2, LINES_U1 = SLOT_COUNTS["u2"], SLOT_COUNTS["u1"]

#: More packets than this in one row would not fit its column.
MOST_PACKETS = 0xFFFF_FFFF


@hot
def mixed_line(hashed, line, row, slots, bits, present):
    """Take the key columns of one buffer into a hash."""
    for number in range(len(slots)):
        if bits[number] == 0 or present & bits[number]:
            hashed = mix(hashed, line[slots[number], row])
    return hashed


@inner
def hash_row(rows, row, window):
    """Return 31 bits of hash of a row's key."""
    present = signed(rows.u8[PRESENT, row])
    hashed = mix(wrap64(present & KEY_BITS), signed(rows.u8[TIME, row]) // window)
    hashed = mixed_line(hashed, rows.u8, row, KEY_U8, KEY_U8_BITS, present)
    hashed = mixed_line(hashed, rows.u4, row, KEY_U4, KEY_U4_BITS, present)
    hashed = mixed_line(hashed, rows.u2, row, KEY_U2, KEY_U2_BITS, present)
    return finish(mixed_line(hashed, rows.u1, row, KEY_U1, KEY_U1_BITS, present))


@hot
def same_line(a, row, b, other, slots, bits, present):
    """Tell whether two rows agree in the key columns of one buffer."""
    for number in range(len(slots)):
        if (bits[number] == 0 or present & bits[number]) and a[slots[number], row] != b[slots[number], other]:
            return False
    return True


@inner
def same_key(rows, row, target, other, window):
    """Tell whether a row belongs to one of the target's."""
    present = signed(rows.u8[PRESENT, row])
    kept = signed(target.u8[PRESENT, other])
    return (
        (present ^ kept) & KEY_BITS == 0
        and signed(rows.u8[TIME, row]) // window == signed(target.u8[TIME, other]) // window
        and same_line(rows.u8, row, target.u8, other, KEY_U8, KEY_U8_BITS, present)
        and same_line(rows.u4, row, target.u4, other, KEY_U4, KEY_U4_BITS, present)
        and same_line(rows.u2, row, target.u2, other, KEY_U2, KEY_U2_BITS, present)
        and same_line(rows.u1, row, target.u1, other, KEY_U1, KEY_U1_BITS, present)
        and signed(rows.u4[PACKETS, row]) + signed(target.u4[PACKETS, other]) <= MOST_PACKETS
    )


@inner
def text_bytes(rows, row, present):
    """Return the bytes of a row's texts under some presence bits."""
    total = 0
    for number in range(len(TEXTS)):
        if present & TEXT_BITS[number]:
            total += signed(rows.u4[TEXTS[number] + 1, row])
    return total


@inner
def copy_texts(rows, row, target, other, present):
    """Copy a row's texts under some presence bits into the target's pool, which has room for them."""
    for number in range(len(TEXTS)):
        if present & TEXT_BITS[number]:
            slot, used = TEXTS[number], target.state[1]
            start, length = signed(rows.u4[slot, row]), signed(rows.u4[slot + 1, row])
            for position in range(length):
                target.pool[used + position] = rows.pool[start + position]
            target.u4[slot, other] = used
            target.u4[slot + 1, other] = length
            target.state[1] = used + length


@inner
def copy_row(rows, row, target):
    """Append a whole row to the target."""
    other = target.state[0]
    for line in range(LINES_U8):
        target.u8[line, other] = rows.u8[line, row]
    for line in range(LINES_U4):
        target.u4[line, other] = rows.u4[line, row]
    for line in range(LINES_U2):
        target.u2[line, other] = rows.u2[line, row]
    for line in range(LINES_U1):
        target.u1[line, other] = rows.u1[line, row]
    copy_texts(rows, row, target, other, signed(rows.u8[PRESENT, row]))
    target.state[0] = other + 1


@hot
def take_line(a, row, b, other, slots, bits, wanted):
    """Copy the columns of one buffer under some presence bits."""
    for number in range(len(slots)):
        if wanted & bits[number]:
            b[slots[number], other] = a[slots[number], row]


@hot
def least_line(a, row, b, other, slots, bits, both):
    """Keep the smaller values of one buffer where both rows have one."""
    for number in range(len(slots)):
        if both & bits[number] and a[slots[number], row] < b[slots[number], other]:
            b[slots[number], other] = a[slots[number], row]


@inner
def fold_row(rows, row, target, other):
    """Take a row into one of the target's."""
    present, kept = signed(rows.u8[PRESENT, row]), signed(target.u8[PRESENT, other])
    both, missing = present & kept, present & ~kept & ~HAS_FRAME
    start = min(signed(rows.u8[TIME, row]), signed(target.u8[TIME, other]))
    end = max(
        signed(rows.u8[TIME, row]) + signed(rows.u8[DURATION, row]),
        signed(target.u8[TIME, other]) + signed(target.u8[DURATION, other]),
    )
    target.u8[TIME, other] = start
    target.u8[DURATION, other] = end - start
    target.u4[PACKETS, other] += rows.u4[PACKETS, row]
    for slot in SUM_U8:
        target.u8[slot, other] += rows.u8[slot, row]
    least_line(rows.u8, row, target.u8, other, LEAST_U8, LEAST_U8_BITS, both)
    least_line(rows.u2, row, target.u2, other, LEAST_U2, LEAST_U2_BITS, both)
    least_line(rows.u1, row, target.u1, other, LEAST_U1, LEAST_U1_BITS, both)
    for number in range(len(ANY_U1)):
        if both & ANY_U1_BITS[number]:
            target.u1[ANY_U1[number], other] |= rows.u1[ANY_U1[number], row]
    if missing:
        take_line(rows.u8, row, target.u8, other, OPEN_U8, OPEN_U8_BITS, missing)
        take_line(rows.u4, row, target.u4, other, OPEN_U4, OPEN_U4_BITS, missing)
        take_line(rows.u2, row, target.u2, other, OPEN_U2, OPEN_U2_BITS, missing)
        take_line(rows.u1, row, target.u1, other, OPEN_U1, OPEN_U1_BITS, missing)
        copy_texts(rows, row, target, other, missing)
    target.u8[PRESENT, other] = (present | kept) & ~HAS_FRAME


@entry
def merge_rows(rows, first, target, index, capacity, window):
    """Take the rows from ``first`` on into ``target``; return the first that found no room in it.

    ``index`` i8[a power of two, at least twice ``capacity``] names rows of the target by hash: hash << 32 | row + 1,
    0 is free. The window is in ns. A row that stands for no packet is no part of a flow and is copied.
    """
    mask = len(index) - 1
    for row in range(first, rows.state[0]):
        present = signed(rows.u8[PRESENT, row])
        room = target.pool.size - target.state[1]
        if text_bytes(rows, row, present) > room:
            return row
        if present & HAS_UNANSWERED:
            if target.state[0] >= capacity:
                return row
            copy_row(rows, row, target)
            continue
        hashed = hash_row(rows, row, window)
        slot = hashed & mask
        found = False
        while index[slot] != 0 and not found:
            found = index[slot] >> 32 == hashed and same_key(rows, row, target, (index[slot] & 0xFFFF_FFFF) - 1, window)
            if not found:
                slot = (slot + 1) & mask
        if found:
            fold_row(rows, row, target, (index[slot] & 0xFFFF_FFFF) - 1)
            continue
        if target.state[0] >= capacity:
            return row
        index[slot] = (hashed << 32) | (target.state[0] + 1)
        copy_row(rows, row, target)
    return rows.state[0]
