"""The walk through a ring block, on blocks made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from services.collector.sources.ring_kernels import UNKNOWN_LINK, index_block, link_of, release_block
from streamgauge.decode import Decoder, new_index
from streamgauge.rows import Rows
from tests.unit.collector.making import DNS, TCP, UDP, ring_block


def walk(block, capacity=16, places=np.zeros(0, np.int32)):  # noqa: B008 nothing is written into it
    index = new_index(capacity)
    return index_block(block.view(np.uint32), block.view(np.uint16), 0, index, places), index


def test_every_packet_of_a_block_is_indexed():
    """Offset, lengths, time and link type are those of the headers."""
    frames = [TCP, UDP, DNS]
    block = ring_block(frames)
    count, index = walk(block)

    assert count == 3
    for position, frame in enumerate(frames):
        at = index.offset[position]
        assert block[at : at + len(frame)].tobytes() == frame
        assert index.captured[position] == len(frame)
        assert index.wire[position] == len(frame) + 7
        assert index.time[position] == 1_700_000_000 * 10**9 + position
        assert index.link[position] == 1
        assert index.tag[position] == -1


def test_a_block_the_kernel_owns_is_left_alone():
    """Without the user bit there is nothing to read; releasing a block clears the bit."""
    block = ring_block([TCP])
    assert walk(block)[0] == 1

    release_block(block.view(np.uint32), 0)

    assert walk(block)[0] == -1


def test_the_tag_the_kernel_took_off_is_kept():
    """Tag and its EtherType come from the header; without the second flag it is 802.1Q."""
    block = ring_block([TCP, TCP, TCP], tags={0: (0x6064, 0x88A8), 1: (100, 0)})
    _, index = walk(block)

    assert index.tag[:3].tolist() == [0x6064, 100, -1]
    assert index.tag_protocol[:2].tolist() == [0x88A8, 0x8100]


def test_a_tagged_packet_decodes_as_it_was_on_the_wire():
    """The row of a packet whose tag was taken off has its VLAN and its four bytes."""
    block = ring_block([UDP], tags={0: (100, 0)})
    _, index = walk(block)
    rows = Rows(1)
    Decoder().decode(block, index, 0, 1, rows)

    assert rows.column("vlan").tolist() == [100]
    assert rows.column("bytes").tolist() == [len(UDP) + 7 + 4]


def test_an_empty_block_and_a_full_index():
    """A block handed over by the timer may be empty; no more packets are indexed than the index holds."""
    assert walk(ring_block([]))[0] == 0
    assert walk(ring_block([TCP] * 5), capacity=3)[0] == 3


@pytest.mark.parametrize(
    ("hardware_type", "link"),
    [(1, 1), (772, 1), (0xFFFE, 101), (768, 101), (776, 101), (778, 101), (801, 105), (803, 127), (32, UNKNOWN_LINK)],
)
def test_link_types(hardware_type, link):
    """Interfaces with a link header are Ethernet, those without are raw IP, what is not known is said to be so."""
    assert link_of(hardware_type) == link
    _, index = walk(ring_block([TCP], hardware_type=hardware_type))
    assert index.link[0] == link
