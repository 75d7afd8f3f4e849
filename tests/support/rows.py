"""Rows and batches as the decoder makes them, from values a test chooses; hypothesis strategies for any of them."""

from __future__ import annotations

import base64
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from streamgauge import codec, schema, text
from streamgauge.decode import Decoder, new_index
from streamgauge.encode import Origin, to_arrow
from streamgauge.rows import Rows
from streamgauge.schema import Kind
from streamgauge.testing import array_of

ORIGIN = Origin(node="node-a", interface="eth0")

_BITS = {Kind.U1: 8, Kind.U2: 16, Kind.U4: 32, Kind.U8: 63, Kind.TIME: 62}


def decoded(frames: list[bytes], *, link: int = 1, time: int = 1_764_079_200_000_000_000) -> Rows:
    """Return the rows of frames that lie 1 µs apart."""
    import numpy as np

    data = np.frombuffer(b"".join(frames) or b"\0", np.uint8).copy()
    index = new_index(max(len(frames), 1))
    position = 0
    for number, frame in enumerate(frames):
        index.offset[number] = position
        index.captured[number] = index.wire[number] = len(frame)
        index.time[number] = time + number * 1000
        index.link[number] = link
        position += len(frame)
    rows = Rows(max(len(frames), 1))
    taken = Decoder().decode(data, index, 0, len(frames), rows) if frames else 0
    assert taken == len(frames)
    return rows


def batch_of(frames: list[bytes], **options: Any) -> pa.RecordBatch:
    """Return the batch of frames."""
    return to_arrow(decoded(frames, **options), ORIGIN)


def batch_from(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Return a batch of rows in the readable form (addresses as text); what is not given is null, 0 or ok."""
    arrays = []
    for column in schema.COLUMNS:
        values = [row.get(column.name, _neutral(column)) for row in rows]
        arrays.append(array_of(column, values))
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow_schema(metadata=ORIGIN.metadata()))


def _neutral(column: schema.Column) -> Any:
    if column.nullable:
        return None
    return column.words[0] if column.words else int(column.name == "packets")


def _value(column: schema.Column) -> st.SearchStrategy[Any]:
    if column.kind in _BITS:
        return st.integers(0, (1 << _BITS[column.kind]) - 1)
    return {
        Kind.BOOL: st.booleans(),
        Kind.MAC: st.binary(min_size=6, max_size=6).map(lambda value: value.hex(":")),
        Kind.IP: st.ip_addresses().map(str),
        Kind.TEXT: st.text(max_size=30),
        Kind.BYTES: st.binary(max_size=30).map(lambda value: base64.b64encode(value).decode()),
        Kind.WORD: st.sampled_from(column.words or ("",)),
    }[column.kind]


def _row(values: dict[str, Any]) -> dict[str, Any]:
    # What the address is decides the version, as in a decoded packet.
    for side in ("src_ip", "dst_ip"):
        if values.get(side) is not None:
            values["ip_version"] = 6 if ":" in values[side] else 4
    if values.get("src_ip") and values.get("dst_ip") and (":" in values["src_ip"]) != (":" in values["dst_ip"]):
        values["dst_ip"] = values["src_ip"]
    return values


#: Any row there can be, in the readable form.
any_row = st.fixed_dictionaries(
    {
        column.name: st.none() | _value(column) if column.nullable else _value(column)
        for column in schema.COLUMNS
        if column.name != "ip_version"
    }
).map(_row)

any_batch = st.lists(any_row, max_size=8).map(batch_from)


def readable_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return the rows as text output shows them, nulls left out."""
    rows = text.readable(batch).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def round_trip(batch: pa.RecordBatch, content_type: str, **options: Any) -> pa.RecordBatch:
    """Return the batch after it went over the wire."""
    return codec.decode(codec.encode(batch, content_type, **options), content_type)
