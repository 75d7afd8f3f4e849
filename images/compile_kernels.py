"""Compile every kernel that the services use, into NUMBA_CACHE_DIR: one packet goes the way of all packets."""

from __future__ import annotations

import struct

import numpy as np

from services.collector.sources import ring_kernels
from services.exporter import service as exporter
from streamgauge import encode, flows
from streamgauge.decode import Decoder, new_index, warm_up
from streamgauge.rows import Rows


def _packet() -> bytes:
    """Return a DNS question in an Ethernet frame: it has text in it, so the kernels for text are compiled as well."""
    question = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + b"\x07example\x03org\x00" + b"\x00\x01\x00\x01"
    datagram = struct.pack(">HHHH", 40000, 53, 8 + len(question), 0) + question
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    return bytes(12) + b"\x08\x00" + header + datagram


def main() -> None:
    """Compile."""
    warm_up()
    flows.warm_up()
    encode.warm_up()
    packet = _packet()
    data = np.frombuffer(packet, np.uint8).copy()
    index = new_index(1)
    index.offset[0], index.captured[0], index.wire[0], index.link[0] = 0, len(packet), len(packet), 1
    rows = Rows(64)
    taken = Decoder().decode(data, index, 0, 1, rows)
    batch = encode.to_arrow(rows, encode.Origin("image", "none"))
    assert taken == batch.num_rows == 1
    assert batch.column("dns_name")[0].as_py() == "example.org"
    exporter.warm_up()
    block = np.zeros(4096, np.uint8)
    assert ring_kernels.index_block(block.view(np.uint32), block.view(np.uint16), 0, index, np.zeros(0, np.int32)) < 0
    ring_kernels.release_block(block.view(np.uint32), 0)


main()
