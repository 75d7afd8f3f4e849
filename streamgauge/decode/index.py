"""Where the packets of a buffer are: what the container readers and the live ring fill, and the decode kernel walks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class PacketIndex(NamedTuple):
    """One element a packet, in preallocated arrays; whoever fills them owns and reuses them."""

    #: Position of the first captured byte in the buffer.
    offset: npt.NDArray[np.int64]
    #: Bytes that were captured.
    captured: npt.NDArray[np.uint32]
    #: Bytes the packet had on the wire.
    wire: npt.NDArray[np.uint32]
    #: Capture time, nanoseconds since 1970 UTC; 0 where the container has none (pcapng Simple Packet Blocks).
    time: npt.NDArray[np.uint64]
    #: Link type (https://www.tcpdump.org/linktypes.html).
    link: npt.NDArray[np.uint16]
    #: VLAN tag control information the kernel stripped from the frame, -1 if none.
    tag: npt.NDArray[np.int32]
    #: EtherType of that tag (0x8100, 0x88a8).
    tag_protocol: npt.NDArray[np.uint16]


def new_index(capacity: int) -> PacketIndex:
    """Allocate an index for ``capacity`` packets."""
    return PacketIndex(
        offset=np.zeros(capacity, np.int64),
        captured=np.zeros(capacity, np.uint32),
        wire=np.zeros(capacity, np.uint32),
        time=np.zeros(capacity, np.uint64),
        link=np.zeros(capacity, np.uint16),
        tag=np.full(capacity, -1, np.int32),
        tag_protocol=np.zeros(capacity, np.uint16),
    )
