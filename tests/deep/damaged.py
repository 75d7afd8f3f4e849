"""A million damaged packets, each read with every element access checked: python -m tests.deep.damaged [--packets N]

A packet fills its buffer exactly, so that a read behind it is an error. Each must become one row, and each in a hundred
is compared with the oracle. ``NUMBA_BOUNDSCHECK=1`` must be set before Numba is imported: this program sees to it.
"""

from __future__ import annotations

import argparse
import os
import random
import sys

os.environ.setdefault("NUMBA_BOUNDSCHECK", "1")

import numpy as np

from streamgauge.decode import Decoder, new_index
from streamgauge.rows import Rows
from tests.deep.seeds import SEEDS
from tests.support import oracle
from tests.support.decoding import as_dictionaries

COMPARED = 100


def damage(packet, chance):
    """Cut a packet, change bytes of it, repeat or swap a part."""
    packet = bytearray(packet)
    for _ in range(chance.randrange(4)):
        packet[chance.randrange(len(packet))] = chance.choice(
            (0, 1, 0x45, 0x7F, 0x80, 0xC0, 0xFF, chance.randrange(256))
        )
    if chance.random() < 0.3:
        at, length = chance.randrange(len(packet)), chance.randrange(40)
        packet[at:at] = packet[at : at + length]
    if chance.random() < 0.5:
        del packet[chance.randrange(1, len(packet) + 1) :]
    return bytes(packet)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    rows, index, decoder = Rows(1), new_index(1), Decoder()
    for number in range(arguments.packets):
        link, packet = chance.choice(SEEDS)
        packet = damage(packet, chance)
        wire = len(packet) if chance.random() < 0.5 else chance.randrange(2000)
        index.captured[0], index.wire[0], index.link[0] = len(packet), wire, link
        rows.clear()
        taken = decoder.decode(np.frombuffer(bytearray(packet), np.uint8), index, 0, 1, rows)
        if taken != 1 or len(rows) != 1:
            sys.exit(f"packet {number} is {len(rows)} rows: {link} {packet.hex()}")
        if number % COMPARED == 0:
            fresh = Rows(1)
            Decoder().decode(np.frombuffer(bytearray(packet), np.uint8), index, 0, 1, fresh)
            [row] = as_dictionaries(fresh)
            if row != oracle.decode(packet, wire=wire, link=link):
                sys.exit(f"packet {number} differs from the oracle: link {link}, wire {wire}, {packet.hex()}")
    sys.stdout.write(f"{arguments.packets:,} damaged packets, each one row; {decoder.handshakes}\n")


if __name__ == "__main__":
    main()
