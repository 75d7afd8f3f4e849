"""Keys of flows, and the index that finds an entry by its key."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
import numpy as np

from streamgauge.decode.accelerate import INTERPRETED, hot, inner
from streamgauge.decode.load_kernels import signed
from streamgauge.flows.layout import KEY_WORDS
from streamgauge.schema import SLOTS, Present

HAS_PORTS, HAS_VLAN, HAS_TUNNEL_ID = int(Present.PORTS), int(Present.VLAN), int(Present.TUNNEL_ID)

PRESENT, TIME = SLOTS["present"], SLOTS["time"]
SRC_IP, DST_IP = SLOTS["src_ip"], SLOTS["dst_ip"]
SRC_PORT, DST_PORT, VLAN = SLOTS["src_port"], SLOTS["dst_port"], SLOTS["vlan"]
IP_PROTOCOL, TUNNEL, TUNNEL_ID = SLOTS["ip_protocol"], SLOTS["tunnel"], SLOTS["tunnel_id"]

#: Fractional bits of the golden ratio, and the finalizer of MurmurHash3: odd numbers that spread low bits upwards.
_SPREAD, _FINAL = 0x9E37_79B9_7F4A_7C15, 0xFF51_AFD7_ED55_8CCD
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF
_ENTRY_BITS, _ENTRY_MASK = 32, 0xFFFF_FFFF

if INTERPRETED:

    def mix(hashed, word):
        """Take one more word into a hash."""
        product = (int(hashed) ^ int(word)) * _SPREAD & _MASK_64
        return product ^ product >> 32

    def finish(hashed):
        """Return 31 bits of a hash."""
        return ((int(hashed) * _FINAL) & _MASK_64) >> 33

else:

    @hot
    def mix(hashed, word):
        """Take one more word into a hash."""
        product = (np.uint64(hashed) ^ np.uint64(word)) * np.uint64(_SPREAD)
        return product ^ (product >> np.uint64(32))

    @hot
    def finish(hashed):
        """Return 31 bits of a hash."""
        return np.int64((hashed * np.uint64(_FINAL)) >> np.uint64(33))


@hot
def time_of(rows, row):
    """Return a row's time in ns: 62 bits, so that sums of times stay in range however damaged a capture is."""
    return signed(rows.u8[TIME, row]) & 0x3FFF_FFFF_FFFF_FFFF


@hot
def make_key(rows, row, also, salt, key):
    """Write the key of a row's flow, the same for both directions; return the direction, 0 or 1.

    Addresses, ports, protocol, VLAN, tunnel and its identifier: what differs in one of them is another flow. ``also``
    is 31 bits that tell apart what is in one flow, ``salt`` 62 bits that differ where flows were seen.
    """
    present = signed(rows.u8[PRESENT, row])
    src_high, src_low = rows.u8[SRC_IP, row], rows.u8[SRC_IP + 1, row]
    dst_high, dst_low = rows.u8[DST_IP, row], rows.u8[DST_IP + 1, row]
    src_port = dst_port = vlan = tunnel_id = 0
    if present & HAS_PORTS:
        src_port, dst_port = signed(rows.u2[SRC_PORT, row]), signed(rows.u2[DST_PORT, row])
    if present & HAS_VLAN:
        vlan = signed(rows.u2[VLAN, row]) + 1
    if present & HAS_TUNNEL_ID:
        tunnel_id = signed(rows.u4[TUNNEL_ID, row])
    if src_high != dst_high:
        side = signed(src_high > dst_high)
    elif src_low != dst_low:
        side = signed(src_low > dst_low)
    else:
        side = signed(src_port > dst_port)
    if side == 0:
        key[0], key[1], key[2], key[3] = src_high, src_low, dst_high, dst_low
        ports = (src_port << 16) | dst_port
    else:
        key[0], key[1], key[2], key[3] = dst_high, dst_low, src_high, src_low
        ports = (dst_port << 16) | src_port
    protocol, tunnel = signed(rows.u1[IP_PROTOCOL, row]), signed(rows.u1[TUNNEL, row])
    key[4] = (tunnel << 56) | (protocol << 48) | (vlan << 32) | ports
    key[5] = ((also << 32) | tunnel_id) ^ signed(salt)
    return side


@hot
def hash_of(key):
    """Return 31 bits of hash of a key."""
    hashed = mix(0, key[0])
    for word in range(1, KEY_WORDS):
        hashed = mix(hashed, key[word])
    return finish(hashed)


@hot
def entry_in(word):
    """Return the number of the entry that an element of an index names."""
    return (signed(word) & _ENTRY_MASK) - 1


@hot
def hash_in(word):
    """Return the hash in an element of an index."""
    return signed(word) >> _ENTRY_BITS


@hot
def find_entry(index, entries, key, hashed):
    """Return the number of the entry with a key, -1 if there is none."""
    mask = len(index) - 1
    slot = hashed & mask
    while index[slot] != 0:
        if hash_in(index[slot]) == hashed:
            entry = entry_in(index[slot])
            same = True
            for word in range(KEY_WORDS):
                if entries[entry, word] != key[word]:
                    same = False
            if same:
                return entry
        slot = (slot + 1) & mask
    return -1


@inner
def list_entry(index, hashed, entry):
    """Let an index name an entry; the index is never full."""
    mask = len(index) - 1
    slot = hashed & mask
    while index[slot] != 0:
        slot = (slot + 1) & mask
    index[slot] = (hashed << _ENTRY_BITS) | (entry + 1)


@inner
def insert_entry(index, entries, key, hashed, entry):
    """Put an entry under a key that is not there yet."""
    list_entry(index, hashed, entry)
    for word in range(KEY_WORDS):
        entries[entry, word] = key[word]


@inner
def remove_entry(index, entries, entry):
    """Take an entry out; those behind it move up, so that no probe ends too early (Knuth, volume 3, 6.4, R)."""
    mask = len(index) - 1
    hole = hash_of(entries[entry]) & mask
    while entry_in(index[hole]) != entry:
        hole = (hole + 1) & mask
    slot = (hole + 1) & mask
    while index[slot] != 0:
        home = hash_in(index[slot]) & mask
        if (slot - home) & mask >= (slot - hole) & mask:
            index[hole] = index[slot]
            hole = slot
        slot = (slot + 1) & mask
    index[hole] = 0
