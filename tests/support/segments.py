"""Frames of connections and of DNS with chosen addresses, numbers and times; and their rows."""

from __future__ import annotations

import ipaddress
import struct

from streamgauge.decode import Decoder
from streamgauge.flows import FlowTable
from streamgauge.rows import Rows
from tests.support.decoding import as_dictionaries, index_of

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
#: Nanoseconds of a millisecond.
MS = 1_000_000


def packet(protocol, payload, *, src=CLIENT, dst=SERVER):
    addresses = ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + addresses
    return bytes.fromhex("020000000002 020000000001 0800") + header + payload


def segment(flags, seq, ack=0, payload=b"", *, back=False, port=1000, window=500):
    """Return a segment from the client, or back from the server, to and from port 80."""
    ports = (80, port) if back else (port, 80)
    numbers = struct.pack("!HHIIBBHHH", *ports, seq % 2**32, ack % 2**32, 0x50, flags, window, 0, 0)
    ends = {"src": SERVER, "dst": CLIENT} if back else {}
    return packet(6, numbers + payload, **ends)


def datagram(payload, *, source=5000, target=53, **ends):
    return packet(17, struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload, **ends)


def message(number, *, response=False, name=b"\x03www\x07example\0", port=5000):
    """Return a DNS query, or its response."""
    body = struct.pack("!HHHHHH", number, 0x8180 if response else 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1"
    if response:
        return datagram(body, source=53, target=port, src=SERVER, dst=CLIENT)
    return datagram(body, source=port, target=53)


def rows_of(timed):
    """Return the rows of ``(time in ns, frame)``, without the columns of the flow table."""
    data, index = index_of([frame for _, frame in timed])
    index.time[: len(timed)] = [time for time, _ in timed]
    rows = Rows(max(len(timed), 1))
    assert len(timed) == Decoder().decode(data, index, 0, len(timed), rows)
    return rows


def take(rows, first, last):
    """Return some of the rows, in buffers of their own."""
    part = Rows(max(last - first, 1), len(rows.buffers.pool))
    for name in ("u8", "u4", "u2", "u1"):
        getattr(part.buffers, name)[:, : last - first] = getattr(rows.buffers, name)[:, first:last]
    part.buffers.pool[:] = rows.buffers.pool
    part.buffers.state[:] = last - first, rows.pool_used
    return part


def tracked(timed, *, sizes=(1 << 30,), table=None):
    """Return the rows as dictionaries with health columns, and those of unanswered queries.

    The rows are handed to the table in batches whose sizes repeat ``sizes``.
    """
    rows, table = rows_of(timed), FlowTable(64) if table is None else table
    filled, reported, at, turn = [], [], 0, 0
    while at < len(rows):
        part = take(rows, at, min(at + sizes[turn % len(sizes)], len(rows)))
        table.fill(part, 0)
        filled += as_dictionaries(part)
        at, turn = at + len(part), turn + 1
        reported += unanswered(table)
    return filled, reported


def unanswered(table):
    """Return the rows that a table reports."""
    rows = Rows(256)
    table.report(rows)
    return as_dictionaries(rows)
