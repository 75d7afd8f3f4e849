"""Transport layer: TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792), ICMPv6 (RFC 4443).

Readers fill ports and header fields and ``payload_bytes`` (what the headers say follows, captured or not), and return
``(offset of the payload, its end on the wire, presence bits, status)``.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import hot, inner
from streamgauge.decode.link_words import MALFORMED, OK, cut
from streamgauge.decode.load_kernels import load8, load16, load32
from streamgauge.schema import SLOTS, Present, TrafficClass

ICMP, TCP, UDP, ICMPV6, SCTP, UDP_LITE = 1, 6, 17, 58, 132, 136

TCP_HEADER, UDP_HEADER, SCTP_HEADER, ICMP_HEADER = 20, 8, 12, 8
#: Ports, sequence, acknowledgement, flags and window: the part of a TCP header that is in our columns.
TCP_COLUMNS = 16

HAS_PORTS, HAS_TCP, HAS_ICMP = int(Present.PORTS), int(Present.TCP), int(Present.ICMP)

SRC_PORT, DST_PORT, PAYLOAD_BYTES = SLOTS["src_port"], SLOTS["dst_port"], SLOTS["payload_bytes"]
TCP_FLAGS, TCP_SEQ, TCP_ACK, TCP_WINDOW = SLOTS["tcp_flags"], SLOTS["tcp_seq"], SLOTS["tcp_ack"], SLOTS["tcp_window"]
FRAGMENTED = SLOTS["fragment"]
ICMP_TYPE, ICMP_CODE = SLOTS["icmp_type"], SLOTS["icmp_code"]

CLASS_OTHER, CLASS_TCP, CLASS_UDP = int(TrafficClass.OTHER), int(TrafficClass.TCP), int(TrafficClass.UDP)
CLASS_ICMP = int(TrafficClass.ICMP)


@hot
def read_ports(data, at, end, wire_end, rows, row):
    """Read the two ports that TCP, UDP and SCTP begin with."""
    if at + 4 > end:
        return 0, cut(at + 4, wire_end)
    rows.u2[SRC_PORT, row] = load16(data, at)
    rows.u2[DST_PORT, row] = load16(data, at + 2)
    return HAS_PORTS, OK


@hot
def read_tcp(data, at, end, wire_end, rows, row):
    """Read a TCP header."""
    if at + TCP_COLUMNS > end:
        present, _ = read_ports(data, at, end, wire_end, rows, row)
        return end, end, present, cut(at + TCP_HEADER, wire_end)
    present, _ = read_ports(data, at, end, wire_end, rows, row)
    rows.u4[TCP_SEQ, row] = load32(data, at + 4)
    rows.u4[TCP_ACK, row] = load32(data, at + 8)
    rows.u1[TCP_FLAGS, row] = load8(data, at + 13)
    rows.u2[TCP_WINDOW, row] = load16(data, at + 14)
    present |= HAS_TCP
    header = (load8(data, at + 12) >> 4) << 2
    payload = at + header
    if header < TCP_HEADER or payload > wire_end:
        return end, end, present, MALFORMED
    rows.u8[PAYLOAD_BYTES, row] = wire_end - payload
    if payload > end:
        return end, end, present, cut(payload, wire_end)
    return payload, wire_end, present, OK


@inner
def read_udp(data, at, end, wire_end, rows, row):
    """Read a UDP header; a length of 0 means that the datagram fills the packet (RFC 2675, TSO)."""
    present, status = read_ports(data, at, end, wire_end, rows, row)
    if at + UDP_HEADER > end:
        return end, end, present, cut(at + UDP_HEADER, wire_end)
    length = load16(data, at + 4)
    payload = at + UDP_HEADER
    if length == 0:
        length = wire_end - at
    elif length < UDP_HEADER:
        return end, end, present, MALFORMED
    elif at + length > wire_end and rows.u1[FRAGMENTED, row] == 0:  # the rest of a fragment is elsewhere
        status = MALFORMED
    wire_end = min(wire_end, at + length)
    rows.u8[PAYLOAD_BYTES, row] = wire_end - payload
    return payload, wire_end, present, status


@inner
def read_sctp(data, at, end, wire_end, rows, row):
    """Read the common header of SCTP; its chunks are not read."""
    present, status = read_ports(data, at, end, wire_end, rows, row)
    if at + SCTP_HEADER > end:
        status = cut(at + SCTP_HEADER, wire_end)
    rows.u8[PAYLOAD_BYTES, row] = max(wire_end - at - SCTP_HEADER, 0)
    return end, end, present, status


@inner
def read_icmp(data, at, end, wire_end, rows, row):
    """Read type and code of ICMP or ICMPv6; the packet that an error quotes is not read."""
    if at + 2 > end:
        return end, end, 0, cut(at + ICMP_HEADER, wire_end)
    rows.u1[ICMP_TYPE, row] = load8(data, at)
    rows.u1[ICMP_CODE, row] = load8(data, at + 1)
    rows.u8[PAYLOAD_BYTES, row] = max(wire_end - at - ICMP_HEADER, 0)
    status = OK if at + 4 <= end else cut(at + 4, wire_end)
    return end, end, HAS_ICMP, status


@inner
def read_other(at, end, wire_end, rows, row):
    """Count all behind the IP headers as payload: this decoder does not read the protocol."""
    rows.u8[PAYLOAD_BYTES, row] = max(wire_end - at, 0)
    return end, end, 0, OK


@hot
def traffic_class(protocol):
    """Return the class of a packet by its IP protocol; a recognised application overrides it."""
    if protocol == TCP:
        return CLASS_TCP
    if protocol == UDP:
        return CLASS_UDP
    if protocol == ICMP or protocol == ICMPV6:
        return CLASS_ICMP
    return CLASS_OTHER


@hot
def read_transport(data, protocol, at, end, wire_end, rows, row):
    """Read the transport layer that ``protocol``, an IP protocol number, announces."""
    if protocol == TCP:
        return read_tcp(data, at, end, wire_end, rows, row)
    if protocol == UDP:
        return read_udp(data, at, end, wire_end, rows, row)
    if protocol == ICMP or protocol == ICMPV6:
        return read_icmp(data, at, end, wire_end, rows, row)
    if protocol == SCTP:
        return read_sctp(data, at, end, wire_end, rows, row)
    return read_other(at, end, wire_end, rows, row)
