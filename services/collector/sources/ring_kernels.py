# mypy: allow-untyped-defs, allow-untyped-decorators
"""Walks one block of a TPACKET_V3 ring and says where its packets are; they are decoded where they lie.

Layout: ``struct tpacket_block_desc``, ``struct tpacket3_hdr``, ``struct sockaddr_ll`` of linux/if_packet.h. All fields
are in the byte order of the host, so they are read through views of the ring of 4 and 2 bytes an element.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from streamgauge.decode import new_index
from streamgauge.decode.accelerate import INTERPRETED, entry, hot
from streamgauge.decode.load_kernels import prefetch, signed

# struct tpacket_block_desc, in 4-byte words
BLOCK_STATUS, BLOCK_PACKETS, BLOCK_FIRST, BLOCK_LENGTH = 2, 3, 4, 5
KERNEL_OWNS, USER_OWNS = 0, 1

# struct tpacket3_hdr, in 4-byte words; two fields of 2 bytes counted in halves
NEXT, SECONDS, NANOSECONDS, CAPTURED, WIRE, STATUS, TAG = 0, 1, 2, 3, 4, 5, 8
MAC_HALF, TAG_PROTOCOL_HALF = 12, 18
# struct sockaddr_ll follows the header, which is aligned to 16 bytes
INTERFACE, HARDWARE_TYPE_HALF = 13, 28
# Its type of packet is the first byte of the half behind.
PACKET_TYPE_HALF, PACKET_TYPE_SHIFT, OUTGOING = 29, 0 if sys.byteorder == "little" else 8, 4

VLAN_VALID, VLAN_PROTOCOL_VALID = 1 << 4, 1 << 6
VLAN = 0x8100

# Hardware types (linux/if_arp.h) and the link types they carry (https://www.tcpdump.org/linktypes.html)
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
ARPHRD_PPP, ARPHRD_RAWIP, ARPHRD_TUNNEL, ARPHRD_TUNNEL6, ARPHRD_SIT = 512, 519, 768, 769, 776
ARPHRD_IPGRE, ARPHRD_IP6GRE, ARPHRD_NONE = 778, 823, 0xFFFE
ARPHRD_WLAN, ARPHRD_WLAN_RADIOTAP = 801, 803
EN10MB, RAW, WLAN, WLAN_RADIOTAP, UNKNOWN_LINK = 1, 101, 105, 127, 147


#: Bytes of a block that are fetched ahead of the header being read, all of them in their order. Where the next header
#: is, only the one before it tells, so each would be waited for: 115 → 20 ns a packet, with decoding 183 → 70 (30,000
#: packets of 424 bytes; 1024 to 4096 are as good, every other line half as good).
FETCHED_AHEAD, LINE = 2048, 64


@intrinsic
def _compiled_fence(_typing_context):
    """Keep loads and stores on their side: the block's status before its packets, and the other way round."""

    def emit(context, builder, _signature, _arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), emit


def _interpreted_fence() -> None:
    """Do nothing: the interpreter's own calls are barrier enough."""


_fence: Any = _interpreted_fence if INTERPRETED else _compiled_fence


@hot
def link_of(hardware_type):
    """Return the link type of an interface's hardware type."""
    if hardware_type == ARPHRD_ETHER or hardware_type == ARPHRD_LOOPBACK:
        return EN10MB
    if (
        hardware_type == ARPHRD_NONE
        or hardware_type == ARPHRD_RAWIP
        or hardware_type == ARPHRD_PPP
        or hardware_type == ARPHRD_TUNNEL
        or hardware_type == ARPHRD_TUNNEL6
        or hardware_type == ARPHRD_SIT
        or hardware_type == ARPHRD_IPGRE
        or hardware_type == ARPHRD_IP6GRE
    ):
        return RAW
    if hardware_type == ARPHRD_WLAN:
        return WLAN
    if hardware_type == ARPHRD_WLAN_RADIOTAP:
        return WLAN_RADIOTAP
    return UNKNOWN_LINK


@entry
def index_block(words, halves, block, index, places):
    """Fill ``index`` with the packets of the block at byte ``block``; return how many, -1 if the kernel still owns it.

    words u4[b / 4], halves u2[b / 2] are views of the ring. The index holds as many packets as fit into a block.
    places i4: unless it has no elements, as many, filled with twice the number of the interface, plus one if it sends.
    """
    if signed(words[(block >> 2) + BLOCK_STATUS]) & USER_OWNS == 0:
        return -1
    _fence()
    packets = min(signed(words[(block >> 2) + BLOCK_PACKETS]), len(index.offset))
    at = block + signed(words[(block >> 2) + BLOCK_FIRST])
    fetched, filled = at, block + signed(words[(block >> 2) + BLOCK_LENGTH])
    for packet in range(packets):
        while fetched < min(at + FETCHED_AHEAD, filled):
            prefetch(words, fetched)
            fetched += LINE
        word, half = at >> 2, at >> 1
        status = signed(words[word + STATUS])
        index.offset[packet] = at + signed(halves[half + MAC_HALF])
        index.captured[packet] = words[word + CAPTURED]
        index.wire[packet] = words[word + WIRE]
        index.time[packet] = signed(words[word + SECONDS]) * 1_000_000_000 + signed(words[word + NANOSECONDS])
        index.link[packet] = link_of(signed(halves[half + HARDWARE_TYPE_HALF]))
        index.tag[packet] = -1
        if status & VLAN_VALID:
            index.tag[packet] = signed(words[word + TAG]) & 0xFFFF
            index.tag_protocol[packet] = VLAN
            if status & VLAN_PROTOCOL_VALID:
                index.tag_protocol[packet] = halves[half + TAG_PROTOCOL_HALF]
        if len(places):
            kind = (signed(halves[half + PACKET_TYPE_HALF]) >> PACKET_TYPE_SHIFT) & 0xFF
            places[packet] = (signed(words[word + INTERFACE]) << 1) | (1 if kind == OUTGOING else 0)
        at += signed(words[word + NEXT])
    return packets


@entry
def release_block(words, block):
    """Give a block back to the kernel, after every read of it."""
    _fence()
    words[(block >> 2) + BLOCK_STATUS] = KERNEL_OWNS


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, before packets arrive."""
    block = np.zeros(64, np.uint8)
    index_block(block.view(np.uint32), block.view(np.uint16), 0, new_index(1), np.zeros(0, np.int32))
    release_block(block.view(np.uint32), 0)
