"""Rows, messages and ring blocks made by hand."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np

from services.collector.batcher import Message
from services.collector.pending import Entry
from services.collector.spool_records import Location
from streamgauge.decode import Decoder
from streamgauge.rows import Rows
from streamgauge.subjects import Envelope
from tests.support import packets
from tests.support.decoding import index_of

UDP = packets.ethernet(0x0800, packets.ipv4(17, packets.udp(b"x" * 32, source=5000, target=5001)))
TCP = packets.ethernet(0x0800, packets.ipv4(6, packets.tcp(b"")))
DNS = packets.ethernet(0x0800, packets.ipv4(17, packets.udp(packets.dns())))
CUT = UDP[:20]


def rows_of(frames: list[bytes], capacity: int | None = None) -> Rows:
    """Return decoded frames."""
    data, index = index_of(frames)
    rows = Rows(capacity or max(len(frames), 1))
    Decoder().decode(data, index, 0, len(frames), rows)
    return rows


def message(sequence: int, payload: bytes = b"payload", packets: int = 1) -> Message:
    """Return a message with a number."""
    envelope = Envelope(
        node="node-a",
        boot="boot-1",
        sequence=sequence,
        interface="eth0",
        observation_point="interface",
        rows=packets,
        packets=packets,
        bytes=100 * packets,
        first_time=1,
        last_time=2,
    )
    return Message("traffic.v1.node-a.tcp", payload, envelope, sequence * packets)


def entry(sequence: int, *, spooled: bool = False, boot: str = "boot-1", closed_at: float = 0.0) -> Entry:
    """Return the queue entry of a message, on disk as well if ``spooled``."""
    of = message(sequence)
    where = Location(0, 100 * sequence, 7) if spooled else None
    return Entry(of.subject, replace(of.envelope, boot=boot), of.size, of.payload, where, closed_at)


def ring_block(frames: list[bytes], *, size: int = 1 << 16, tags: dict[int, tuple[int, int]] | None = None, **header):
    """Return one TPACKET_V3 block, owned by the user, as the kernel writes it; ``tags`` is position → (TCI, TPID)."""
    block = bytearray(size)
    at = 48
    for position, frame in enumerate(frames):
        tci, protocol = (tags or {}).get(position, (0, 0))
        status = 1 | (0x10 if protocol or tci else 0) | (0x40 if protocol else 0)
        following = (48 + 20 + 14 + len(frame) + 15) & ~15
        last = position == len(frames) - 1
        struct.pack_into(
            "=6IHH",
            block,
            at,
            0 if last else following,
            1_700_000_000,
            position,
            len(frame),
            len(frame) + 7,
            status,
            82,
            96,
        )
        struct.pack_into("=IIHH", block, at + 28, 0, tci, protocol, 0)
        struct.pack_into("=HHiHBB", block, at + 48, 17, 8, 3, header.get("hardware_type", 1), 0, 6)
        block[at + 82 : at + 82 + len(frame)] = frame
        at += following
    struct.pack_into("=6I", block, 0, 1, 0, header.get("block_status", 1), len(frames), 48, at)
    return np.frombuffer(block, np.uint8)
