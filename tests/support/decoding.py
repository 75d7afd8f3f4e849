"""Decode packets or files with the kernels into dictionaries like those of the oracle."""

from __future__ import annotations

import numpy as np

from streamgauge import schema
from streamgauge.decode import Decoder, new_index
from streamgauge.rows import Rows
from streamgauge.schema import Kind


def as_dictionaries(rows):
    """Return the rows as dictionaries: only columns with a value, text as bytes, addresses as integers of 128 bits."""
    present = rows.column("present")
    return [
        {
            column.name: value(rows, column, row)
            for column in schema.COLUMNS
            if column.present is None or int(present[row]) & column.present
        }
        for row in range(len(rows))
    ]


def value(rows, column, row):
    first = int(rows.column(column.name)[row])
    if column.kind is Kind.IP:
        return first << 64 | int(rows.second(column.name)[row])
    if column.kind in (Kind.TEXT, Kind.BYTES):
        return rows.buffers.pool[first : first + int(rows.second(column.name)[row])].tobytes()
    if column.kind is Kind.BOOL:
        return bool(first)
    return column.words[first] if column.kind is Kind.WORD else first


def index_of(packets, *, link=1, wire=None, tag=-1, gap=0):
    """Lay packets into one exactly fitting buffer; return it and their index."""
    data = np.frombuffer(bytearray(bytes(gap).join(packets)), np.uint8)
    index = new_index(max(len(packets), 1))
    at = 0
    for number, packet in enumerate(packets):
        index.offset[number] = at
        index.captured[number] = len(packet)
        index.wire[number] = len(packet) if wire is None else wire
        index.time[number] = number
        index.link[number] = link
        index.tag[number] = tag
        at += len(packet) + gap
    return data, index


def decode_packets(packets, *, rows=None, frame_bytes=0, decapsulate=True, **how):
    """Decode packets (bytes); return their rows as dictionaries."""
    data, index = index_of(packets, **how)
    rows = Rows(len(packets) or 1) if rows is None else rows
    decoder = Decoder(frame_bytes=frame_bytes, decapsulate=decapsulate)
    result, at = [], 0
    while at < len(packets):
        rows.clear()
        taken = decoder.decode(data, index, at, len(packets), rows)
        assert taken > 0
        result += as_dictionaries(rows)
        at += taken
    return result


def decode_capture(capture, *, rows=None):
    """Decode an open capture; return ``(rows, packets with their link, wire length and time)``."""
    rows = Rows(256) if rows is None else rows
    decoder = Decoder()
    result, packets = [], []
    for data, index, count in capture.blocks():
        for number in range(count):
            at, length = int(index.offset[number]), int(index.captured[number])
            packets.append(
                (
                    data[at : at + length].tobytes(),
                    int(index.wire[number]),
                    int(index.link[number]),
                    int(index.time[number]),
                )
            )
        at = 0
        while at < count:
            rows.clear()
            at += decoder.decode(data, index, at, count, rows)
            result += as_dictionaries(rows)
    return result, packets
