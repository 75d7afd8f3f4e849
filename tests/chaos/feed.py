"""What the collectors are fed: a small capture in which no packet is like another, replayed for ever.

Packet n of the file carries the TCP sequence number n. So whatever a collector read, up to the moment it was killed, is
known without asking it: the first c packets of the endless replay, for some c, each as often as it came by.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from tests.support import packets

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Counts = npt.NDArray[np.int64]

#: Name and packets of the file.
NAME: Final = "feed.pcap"
PACKETS: Final = 4000
PORT: Final = 9999
_START: Final = 1_700_000_000  # seconds since 1970


def write(path: Path, *, rate: int) -> None:
    """Write the capture; by its own clock it runs at ``rate`` packets a second."""
    content = bytearray(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
    for number in range(PACKETS):
        seconds, fraction = divmod(number * 10**9 // rate, 10**9)
        packet = frame(number)
        content += struct.pack("<IIII", _START + seconds, fraction, len(packet), len(packet)) + packet
    path.write_bytes(content)


def frame(number: int) -> bytes:
    """Return a packet of the file."""
    head = struct.pack("!HHIIBBHHH", 1024 + number, PORT, number, 0, 5 << 4, 0x18, 512, 0, 0)
    packet: bytes = packets.ethernet(0x0800, packets.ipv4(6, head + bytes(6)))  # type: ignore[no-untyped-call]
    return packet


def counts(numbers: Counts, weights: Counts | None = None) -> Counts:
    """Return how often each packet of the file is among ``numbers``."""
    return np.bincount(numbers, weights=weights, minlength=PACKETS).astype(np.int64)


def replayed(count: int) -> Counts:
    """Return how often each packet of the file is among the first ``count`` of the endless replay."""
    rounds, rest = divmod(count, PACKETS)
    expected = np.full(PACKETS, rounds, dtype=np.int64)
    expected[:rest] += 1
    return expected


def breaks(numbers: Counts) -> Counts:
    """Return how many packets of the replay are left out before each number; it begins with the file."""
    before = np.concatenate((np.array([-1], dtype=np.int64), numbers[:-1]))
    return (numbers - before - 1) % PACKETS
