"""A pcap has one link type: frames of another one must not be written as if they were of it."""

from __future__ import annotations

import io
import struct

import pyarrow as pa
import pytest

from streamgauge.errors import StoreError
from streamgauge.restore.outputs import LINK_TYPES, Pcap
from streamgauge.restore.read import at_rest_schema

_MAC = "02:00:00:00:00:01"
_IP = b"\x45" + bytes(39)
#: A frame of each kind, and what the decoder finds in it; an IP packet inside of IP may be of another version.
FOUND = {
    "ethernet": (bytes(12) + b"\x08\x00" + _IP, {"src_mac": _MAC, "eth_type": 0x0800, "ip_version": 4}),
    "linux-cooked": (
        bytes.fromhex("0000000100060200000000010000") + b"\x08\x00" + _IP,
        {"eth_type": 0x0800, "ip_version": 4},
    ),
    "linux-cooked-v2": (b"\x08\x00" + bytes(18) + _IP, {"eth_type": 0x0800, "ip_version": 4}),
    "raw": (_IP, {"eth_type": 0x0800, "ip_version": 6}),
    "loopback": (b"\x02\0\0\0" + _IP, {"eth_type": 0x0800, "ip_version": 4}),
    "unreadable": (bytes(3), {}),
}


def frames(*kinds: str, node: str = "node-a") -> pa.Table:
    """Return one row of each kind, each of an interface of its own."""
    made = at_rest_schema()
    rows = [
        {"time": at, "bytes": 60, "frame": FOUND[kind][0], "node": node, "interface": kind, **FOUND[kind][1]}
        for at, kind in enumerate(kinds)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([field.with_nullable(True) for field in made]))


def link_type(stream: io.BytesIO) -> int:
    return int(struct.unpack_from("<I", stream.getvalue(), 20)[0])


@pytest.mark.parametrize("kind", [kind for kind in FOUND if kind != "unreadable"])
def test_the_link_type_is_what_the_frames_begin_with(kind: str) -> None:
    """A frame that could not be read says nothing about it."""
    stream = io.BytesIO()
    output = Pcap(stream)
    output.write(frames("unreadable", kind))
    output.write(frames("unreadable"))
    output.write(frames(kind, node="node-b"))

    assert (link_type(stream), output.packets) == (LINK_TYPES[kind], 4)


@pytest.mark.parametrize("tables", [[("ethernet", "raw")], [("ethernet",), ("raw",)], [("unreadable",), ("raw",)]])
def test_several_link_types_are_refused(tables: list[tuple[str, ...]]) -> None:
    """In one table or in a later one: a packet of a tunnel read as Ethernet would be another packet."""
    output = Pcap(io.BytesIO())
    *before, last = [frames(*kinds) for kinds in tables]
    for table in before:
        output.write(table)
    with pytest.raises(StoreError, match=r"several link types.*raw of node-a/raw.*choose a --node") as error:
        output.write(last)

    assert "\n" not in str(error.value)


def test_who_names_the_link_type_is_believed() -> None:
    """``--link-type`` is for what the frames do not tell."""
    stream = io.BytesIO()
    Pcap(stream, "loopback").write(frames("ethernet", "raw"))

    assert link_type(stream) == LINK_TYPES["loopback"]
