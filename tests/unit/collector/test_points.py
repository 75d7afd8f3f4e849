"""Packets of all interfaces are told apart by where they were seen."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from services.collector.sources.points import Points
from services.collector.sources.ring_kernels import index_block
from streamgauge.decode import Decoder, new_index
from streamgauge.flows import FlowTable
from streamgauge.rows import Rows
from tests.unit.collector.making import DNS, TCP, UDP, ring_block

NAMES = {1: "lo", 2: "eth0", 3: "veth1a", 4: "cni0", 5: "eth1", 6: "bond0", 7: "eth0.20", 8: "br-ex", 9: "calia1"}
#: What /sys/class/net has of them.
PARTS = {
    "eth1": ["bonding_slave"],
    "bond0": ["bonding", "lower_eth1"],
    "eth0.20": ["lower_eth0"],
    "br-ex": ["bridge", "lower_eth0"],
}


@pytest.fixture
def points(tmp_path, monkeypatch):
    def name(number):
        if number not in NAMES:
            raise OSError("no such interface")
        return NAMES[number]

    monkeypatch.setattr(socket, "if_indextoname", name)
    for interface in NAMES.values():
        for part in ["statistics", *PARTS.get(interface, [])]:
            (tmp_path / interface / part).mkdir(parents=True)
    return Points(tmp_path)


@pytest.mark.parametrize(
    ("number", "received", "sent"),
    [
        (1, "inside", "inside"),
        (2, "from-outside", "to-outside"),
        (3, "from-pod", "to-pod"),
        (4, "inside", "inside"),
        (5, "inside", "inside"),
        (6, "from-outside", "to-outside"),
        (7, "inside", "inside"),
        (8, "inside", "inside"),
        (9, "from-pod", "to-pod"),
        (77, "from-pod", "to-pod"),
    ],
)
def test_places_by_interface_and_direction(points, number, received, sent):
    """Bond before its parts, an interface before what stands on top of it; one that has gone was a pod's."""
    assert (points.point(2 * number), points.point(2 * number + 1)) == (received, sent)


def test_packets_keep_their_order_at_each_place(points):
    """A block comes apart in as many blocks as it has places; each packet is in one of them."""
    frames = [TCP, UDP, DNS, TCP, UDP]
    block = ring_block(frames)
    # struct sockaddr_ll of each packet: the number of its interface, and the type of packet 6 bytes behind it.
    at = 48
    block = block.copy()
    for number, outgoing in ((2, 0), (3, 4), (2, 0), (3, 0), (3, 4)):
        block[at + 52 : at + 56] = np.frombuffer(np.int32(number).tobytes(), np.uint8)
        block[at + 58] = outgoing
        at += int(block[at : at + 4].view(np.uint32)[0])
    index, places = new_index(16), np.zeros(16, np.int32)
    count = index_block(block.view(np.uint32), block.view(np.uint16), 0, index, places)

    found = [
        (part.point, part.link, (part.packets.time[part.first : part.last] % 10**9).tolist())
        for part in points.blocks(block, index, places, count)
    ]

    assert places[:count].tolist() == [4, 7, 4, 6, 7]
    assert found == [("from-outside", 2, [0, 2]), ("from-pod", 3, [3]), ("to-pod", 3, [1, 4])]
    assert list(points.blocks(block, index, places, 0)) == []


@pytest.mark.parametrize(("links", "again"), [((3, 3), 1), ((3, 9), 0)])
def test_a_segment_seen_at_two_interfaces_is_not_sent_again(links, again):
    """At one interface, the same bytes again are a retransmission."""
    block = ring_block([TCP])
    index = new_index(1)
    index_block(block.view(np.uint32), block.view(np.uint16), 0, index, np.zeros(0, np.int32))
    decoder, table, rows = Decoder(), FlowTable(), Rows(8)
    for link in links:
        first = len(rows)
        decoder.decode(block, index, 0, 1, rows)
        rows.column("payload_bytes")[first] = 10
        table.fill(rows, first, link)

    assert int(rows.column("retransmission").sum()) == again
