"""scapy and tshark as second and third opinions: what they say of a packet's outermost headers is what the row says.

The oracle is our own reading of the RFCs, made by the same minds as the kernels. These two are not.
"""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
import sys

import pytest

from streamgauge import encode, text
from streamgauge.decode import Decoder
from streamgauge.rows import Rows
from tests.deep.seeds import SEEDS
from tests.support import require
from tests.support.decoding import index_of

ETHERNET = [packet for link, packet in SEEDS if link == 1]

#: A program of its own: scapy's licence is not ours.
SCAPY = """
import json, sys
from scapy.all import ARP, DNS, Dot1AD, Dot1Q, Ether, ICMP, IP, IPv6, TCP, UDP, SCTP
for line in sys.stdin:
    packet, row = Ether(bytes.fromhex(line)), {}
    tag = packet.payload
    if isinstance(tag, (Dot1Q, Dot1AD)):
        row["vlan"] = tag.vlan
        while isinstance(tag, (Dot1Q, Dot1AD)):
            tag = tag.payload
    row["src_mac"] = packet.src
    if isinstance(tag, ARP):
        row["arp_opcode"] = tag.op
    if isinstance(tag, IP):
        row.update(ip_version=4, src_ip=tag.src, dst_ip=tag.dst, ip_protocol=tag.proto, ttl=tag.ttl, dscp=tag.tos >> 2)
    if isinstance(tag, IPv6):
        row.update(ip_version=6, src_ip=tag.src, dst_ip=tag.dst, ttl=tag.hlim, dscp=tag.tc >> 2)
    above = tag.payload if isinstance(tag, (IP, IPv6)) else None
    if isinstance(above, (TCP, UDP, SCTP)):
        row.update(src_port=above.sport, dst_port=above.dport)
    if isinstance(above, TCP):
        row.update(tcp_seq=above.seq, tcp_ack=above.ack, tcp_window=above.window, tcp_flags=int(above.flags) & 0xFF)
    if isinstance(above, ICMP):
        row.update(icmp_type=above.type, icmp_code=above.code)
    if isinstance(above, UDP) and isinstance(above.payload, DNS) and 53 in (above.sport, above.dport):
        message = above.payload
        row.update(dns_id=message.id, dns_response=bool(message.qr))
        if message.qd:
            name = message.qd[0].qname.decode().rstrip(".").lower()
            row.update(dns_name=name, dns_type=message.qd[0].qtype)
    print(json.dumps(row))
"""

IPV4, ARP = 0x0800, 0x0806
#: tshark's fields and our columns; where a field comes several times, the first is that of the outermost header.
TSHARK = {
    "eth.src": "src_mac", "arp.opcode": "arp_opcode", "ip.src": "src_ip", "ip.dst": "dst_ip",
    "ip.proto": "ip_protocol", "ip.ttl": "ttl", "ip.dsfield.dscp": "dscp",
}  # fmt: skip


@pytest.fixture(name="rows", scope="module")
def _rows():
    rows, (data, index) = Rows(len(ETHERNET)), index_of(ETHERNET)
    assert Decoder(decapsulate=False).decode(data, index, 0, len(ETHERNET), rows) == len(ETHERNET)
    return text.readable(encode.to_arrow(rows, encode.Origin("node", "interface"))).to_pylist()


def test_scapy_says_the_same(rows):
    """Addresses, ports, TCP's header, ICMP, ARP, DNS questions."""
    if importlib.util.find_spec("scapy") is None:
        require.missing("scapy")
    lines = "\n".join(packet.hex() for packet in ETHERNET)
    run = subprocess.run([sys.executable, "-c", SCAPY], input=lines, capture_output=True, text=True, check=True)
    opinions = [json.loads(line) for line in run.stdout.splitlines()]
    ours = [{name: row[name] for name in opinion} for row, opinion in zip(rows, opinions, strict=True)]

    assert ours == opinions
    assert sum(map(len, opinions)) > 8 * len(ETHERNET)


def test_tshark_says_the_same(rows, tmp_path):
    """Addresses and the IPv4 header, ARP."""
    require.program("tshark")
    capture = tmp_path / "seeds.pcap"
    records = [struct.pack("<IIII", 1, 0, len(packet), len(packet)) + packet for packet in ETHERNET]
    capture.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))
    fields = [part for field in TSHARK for part in ("-e", field)]
    command = ["tshark", "-r", capture, "-T", "fields", "-E", "occurrence=f", *fields]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    opinions = [
        {
            column: word
            for column, word in zip(TSHARK.values(), line.split("\t"), strict=True)
            if word and (column == "src_mac" or row["eth_type"] in {IPV4, ARP})  # else it is of an inner header
        }
        for row, line in zip(rows, run.stdout.splitlines(), strict=True)
    ]
    ours = [{name: str(row[name]) for name in opinion} for row, opinion in zip(rows, opinions, strict=True)]

    assert ours == opinions
    assert sum(map(len, opinions)) > 4 * len(ETHERNET)
