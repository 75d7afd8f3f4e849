"""Tunnels and encapsulations: what each kind gives, opened and not."""

from __future__ import annotations

import pytest

from tests.support import oracle
from tests.support.decoding import decode_packets
from tests.support.packets import (
    erspan,
    ethernet,
    geneve,
    gre,
    ipv4,
    ipv6,
    mpls,
    pppoe,
    snap,
    tcp,
    udp,
    vxlan,
)

INSIDE = ipv6(6, tcp(b"12345"))
FRAME = ethernet(0x86DD, INSIDE, tags=[(0x8100, 9)])
PPTP = b"\x30\x81\x88\x0b" + len(INSIDE).to_bytes(2, "big") + b"\0\x05" + bytes(8)


def around(protocol, payload):
    return ethernet(0x0800, ipv4(protocol, payload))


TUNNELS = {
    "6in4": (around(41, INSIDE), "6in4", None),
    "gre": (around(47, gre(0x86DD, INSIDE)), "gre", None),
    "gre with a key": (around(47, gre(0x86DD, INSIDE, flags=0x3000)), "gre", 7),
    "gre with frames": (around(47, gre(0x6558, FRAME)), "gre", None),
    "gre with labels": (around(47, gre(0x8847, mpls(7, 8) + INSIDE)), "gre", None),
    "pptp": (around(47, PPTP + b"\xff\3\0\x57" + INSIDE), "gre", 5),
    "erspan type I": (around(47, gre(0x88BE, FRAME)), "erspan", None),
    "erspan type II": (around(47, gre(0x88BE, erspan(FRAME), flags=0x1000)), "erspan", 42),
    "erspan type III": (around(47, gre(0x22EB, erspan(FRAME, version=2, flags=1), flags=0x1000)), "erspan", 42),
    "erspan type III with IP": (around(47, gre(0x22EB, erspan(INSIDE, version=2, flags=0x800))), "erspan", 42),
    "vxlan": (around(17, udp(vxlan(FRAME), target=4789)), "vxlan", 0x123456),
    "vxlan on flannel's port": (around(17, udp(vxlan(FRAME), target=8472)), "vxlan", 0x123456),
    "vxlan extension": (around(17, udp(vxlan(INSIDE, flags=12, following=2), target=4790)), "vxlan", 0x123456),
    "geneve": (around(17, udp(geneve(0x6558, FRAME, options=bytes(8)), target=6081)), "geneve", 0x123456),
    "geneve with IP": (around(17, udp(geneve(0x86DD, INSIDE), target=6081)), "geneve", 0x123456),
    "frames in ip": (around(143, FRAME), "ethernet", None),
    "etherip": (around(97, b"\x30\0" + FRAME), "ethernet", None),
    "labels in ip": (around(137, mpls(5) + INSIDE), "mpls", 5),
    "labels in udp": (around(17, udp(mpls(5) + INSIDE, target=6635)), "mpls", 5),
    "gre in udp": (around(17, udp(gre(0x86DD, INSIDE), target=4754)), "gre", None),
    "nested": (around(47, gre(0x0800, ipv4(17, udp(vxlan(FRAME), target=4789)), flags=0x2000)), "gre", 7),
    "behind labels": (ethernet(0x8847, mpls(5) + ipv4(47, gre(0x86DD, INSIDE))), "gre", None),
}


@pytest.mark.parametrize("case", TUNNELS)
def test_the_inner_packet_is_described(case):
    """The main columns are those of the innermost packet; kind, identifier and outer addresses are kept."""
    packet, kind, identifier = TUNNELS[case]
    [row] = decode_packets([packet])

    assert (kind, identifier) == (row["tunnel"], row.get("tunnel_id"))
    assert (row["ip_version"], row["dst_port"], row["payload_bytes"], row["ttl"]) == (6, 443, 5, 63)
    assert (row["outer_src_ip"], row["outer_dst_ip"]) == (0xFFFF_0A000001, 0xFFFF_0A000002)
    assert row["decode_status"] == "ok"
    assert oracle.decode(packet) == row


@pytest.mark.parametrize("case", TUNNELS)
def test_tunnels_stay_closed_on_request(case):
    """Without decapsulation the columns are those of the outermost header, and there is no tunnel."""
    packet = TUNNELS[case][0]
    [row] = decode_packets([packet], decapsulate=False)

    assert (row["ip_version"], row["ttl"], row.get("outer_src_ip")) == (4, 64, None)
    assert row["tunnel"] == ("mpls" if case == "behind labels" else "none")
    assert oracle.decode(packet, decapsulate=False) == row


ENCAPSULATIONS = {
    "labels": (ethernet(0x8847, mpls(1, 17) + INSIDE), "mpls", 17),
    "pseudowire": (ethernet(0x8847, mpls(18) + FRAME), "mpls", 18),
    "pseudowire with a control word": (ethernet(0x8848, mpls(18) + bytes(4) + FRAME), "mpls", 18),
    "pppoe": (ethernet(0x8864, pppoe(INSIDE, number=b"\0\x57")), "pppoe", 0x1234),
    "pppoe with a short protocol": (ethernet(0x8864, pppoe(INSIDE, number=b"\x57")), "pppoe", 0x1234),
    "snap": (ethernet(60, snap(0x86DD, INSIDE)), "none", None),
    "bridged": (ethernet(0x6558, FRAME), "none", None),
}


@pytest.mark.parametrize("decapsulate", [True, False])
@pytest.mark.parametrize("case", ENCAPSULATIONS)
def test_encapsulations_are_read_through(case, decapsulate):
    """There is no IP header outside of these, so they are read through in any case."""
    packet, kind, identifier = ENCAPSULATIONS[case]
    [row] = decode_packets([packet], decapsulate=decapsulate)

    assert (kind, identifier, 443) == (row["tunnel"], row.get("tunnel_id"), row["dst_port"])
    assert "outer_src_ip" not in row
    assert oracle.decode(packet, decapsulate=decapsulate) == row


def test_an_arp_inside():
    """What is inside need not be IP."""
    arp = ethernet(0x0806, b"\0\1\x08\0\6\4\0\2" + bytes(20))
    [row] = decode_packets([around(17, udp(vxlan(arp), target=4789))])

    assert (row["arp_opcode"], row.get("ip_version"), row["outer_src_ip"]) == (2, None, 0xFFFF_0A000001)


@pytest.mark.parametrize(
    ("packet", "kind", "status"),
    [
        (around(47, gre(0x1234, bytes(40))), "gre", "unsupported"),
        (around(47, gre(0x0800, b"")), "gre", "ok"),
        (around(47, b"\x20\0"), "gre", "malformed"),
        (around(17, udp(geneve(0x6558, FRAME, version=1), target=6081)), "geneve", "malformed"),
        (around(17, udp(FRAME, source=53, target=4789)), "none", "malformed"),
        (around(4, b"\x90" + bytes(30)), "none", "malformed"),
    ],
)
def test_what_cannot_be_opened_stays_outside(packet, kind, status):
    """A tunnel without a packet that can be read leaves the outer header in the row."""
    [row] = decode_packets([packet])

    assert (kind, status, 64, None) == (row["tunnel"], row["decode_status"], row["ttl"], row.get("outer_src_ip"))
    assert oracle.decode(packet) == row


def test_depth_is_bounded():
    """Eight tunnels in each other are opened; the ninth is payload."""
    packet = ipv4(17, udp(b"x", target=9))
    for _ in range(10):
        packet = ipv4(4, packet)
    [row] = decode_packets([ethernet(0x0800, packet)])

    assert (row["ip_protocol"], row["payload_bytes"], row["tunnel"]) == (4, 20 + 20 + 9, "ipip")
    assert oracle.decode(ethernet(0x0800, packet)) == row
