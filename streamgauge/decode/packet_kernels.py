"""The hot loop: one packet, one row, whatever the packet holds."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import entry, hot
from streamgauge.decode.application_kernels import UNKNOWN, application_class, read_application
from streamgauge.decode.link_kernels import read_link
from streamgauge.decode.link_words import OK, TAG
from streamgauge.decode.load_kernels import prefetch, signed
from streamgauge.decode.network_kernels import HAS_ARP, HAS_IP, IP_PROTOCOL, NO_TRANSPORT, read_network
from streamgauge.decode.output import COUNT, DECAPSULATE, PER_PACKET, RESERVED, SLOW
from streamgauge.decode.text_kernels import MAX_TEXT, TEXTS_PER_PACKET, keep_bytes
from streamgauge.decode.transport_kernels import CLASS_OTHER, read_transport, traffic_class
from streamgauge.decode.tunnel_kernels import HAS_OUTER, HAS_TUNNEL_ID, NONE, may_be_tunnel, read_tunnels
from streamgauge.schema import SLOTS, Present, TrafficClass

#: How many packets ahead the header is fetched; 1 to 8 are equally good.
LOOKAHEAD = 4
#: Pool bytes a packet may need beside its own text: a DNS name may be longer than the packet that compresses it, and
#: escaped it grows up to four times.
NAME_RESERVE = 1100

HAS_APP, HAS_FRAME = int(Present.APP), int(Present.FRAME)
CLASS_ARP = int(TrafficClass.ARP)

TIME, DURATION, PACKETS, BYTES = SLOTS["time"], SLOTS["duration"], SLOTS["packets"], SLOTS["bytes"]
CAPTURED_BYTES, PAYLOAD_BYTES = SLOTS["captured_bytes"], SLOTS["payload_bytes"]
PRESENT, TRAFFIC_CLASS, APP = SLOTS["present"], SLOTS["traffic_class"], SLOTS["app"]
DECODE_STATUS, FRAME = SLOTS["decode_status"], SLOTS["frame"]


@hot
def decode_packet(data, at, end, wire_end, link, tag, rows, row):
    """Fill every column of a row that comes from the packet's bytes."""
    rows.u8[PAYLOAD_BYTES, row] = 0
    kind = CLASS_OTHER
    protocol, at, present, status = read_link(data, at, end, wire_end, link, tag, rows, row)
    if status == OK:
        transport, at, wire_end, found, status = read_network(data, protocol, at, end, wire_end, rows, row)
        end = min(end, wire_end)
        if transport != NO_TRANSPORT and may_be_tunnel(data, transport, at, end) and rows.mark_state[DECAPSULATE]:
            transport, at, wire_end, inside, tunnel, kept, failure = read_tunnels(
                data, transport, at, end, wire_end, rows, row
            )
            end = min(end, wire_end)
            status = status if status != OK else failure
            if tunnel != NONE:
                present = (present & ~HAS_TUNNEL_ID) | kept
            if kept & HAS_OUTER:
                found = inside
        present |= found
        if found == HAS_IP:
            kind = traffic_class(rows.u1[IP_PROTOCOL, row])
        elif found == HAS_ARP:
            kind = CLASS_ARP
        if transport != NO_TRANSPORT:
            header = at
            at, wire_end, found, failure = read_transport(data, transport, header, end, wire_end, rows, row)
            present |= found
            status = status if status != OK else failure
            application, found, failure = read_application(
                data, transport, header, at, min(end, wire_end), wire_end, rows, row
            )
            if application != UNKNOWN:
                rows.u1[APP, row] = application
                present |= found | HAS_APP
                kind = application_class(application, kind)
            status = status if status != OK else failure
    rows.u8[PRESENT, row] = present
    rows.u1[TRAFFIC_CLASS, row] = kind
    rows.u1[DECODE_STATUS, row] = status
    return status


@entry
def decode_packets(data, index, first, last, rows, capacity, frame_bytes):
    """Append a row for each packet ``first`` to ``last - 1`` of ``index``; return how many were taken.

    ``rows`` is an ``output.Output``. Stops early when ``capacity`` rows or all marks are in use, or when the pool might
    not hold the next packet's texts. An empty block always takes one packet: its texts are cut to the pool.
    """
    rows.mark_state[COUNT] = 0
    rows.mark_state[RESERVED] = 0
    rows.mark_state[SLOW] = 0
    row = rows.state[0]
    size = data.size
    packet = first
    while packet < last and row < capacity:
        ahead = min(packet + LOOKAHEAD, last - 1)
        prefetch(data, index.offset[ahead])
        at = index.offset[packet]
        captured = signed(index.captured[packet])
        end = min(at + captured, size)
        kept = min(frame_bytes, end - at)
        needed = min(captured, MAX_TEXT * TEXTS_PER_PACKET) + NAME_RESERVE + kept
        if row > 0 and rows.state[1] + rows.mark_state[RESERVED] + needed > rows.pool.size:
            break
        if rows.mark_state[COUNT] + PER_PACKET > len(rows.marks):
            break
        wire = max(signed(index.wire[packet]), captured)
        tag = signed(index.tag[packet])
        extra = TAG if tag >= 0 else 0
        rows.u8[TIME, row] = index.time[packet]
        rows.u8[DURATION, row] = 0
        rows.u4[PACKETS, row] = 1
        rows.u8[BYTES, row] = signed(index.wire[packet]) + extra
        rows.u8[CAPTURED_BYTES, row] = captured + extra
        decode_packet(data, at, end, at + wire, signed(index.link[packet]), tag, rows, row)
        if kept > 0:
            keep_bytes(data, at, kept, rows, row, FRAME)
            rows.u8[PRESENT, row] |= HAS_FRAME
        row += 1
        packet += 1
    rows.state[0] = row
    return packet - first
