"""Rows at rest back into batches as a collector publishes them: addresses packed, one origin and traffic class each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streamgauge import schema, text
from streamgauge.protocols import App
from streamgauge.schema import Kind, TrafficClass

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Rows of a batch, as a collector closes them.
_BATCH_ROWS: Final = 8192

_BY_PROTOCOL: Final = {6: TrafficClass.TCP, 17: TrafficClass.UDP, 1: TrafficClass.ICMP, 58: TrafficClass.ICMP}
_BY_APP: Final = {
    App.DNS: TrafficClass.DNS,
    App.MDNS: TrafficClass.DNS,
    App.LLMNR: TrafficClass.DNS,
    App.TLS: TrafficClass.TLS,
    App.HTTP: TrafficClass.HTTP,
    App.QUIC: TrafficClass.QUIC,
}


class Batch(NamedTuple):
    """One batch as it is published."""

    node: str
    interface: str
    observation_point: str
    traffic_class: TrafficClass
    rows: pa.RecordBatch


def batches(rows: pa.Table) -> Iterator[Batch]:
    """Yield rows in time order as batches, each in time order, the batches by their first row."""
    if not len(rows):
        return
    classes = traffic_classes(rows)
    origins = [rows[name].combine_chunks() for name in schema.ORIGIN_COLUMNS]
    key = classes.astype(np.int64)
    for origin in origins:
        key = key * (len(origin.dictionary) + 1) + origin.indices.fill_null(len(origin.dictionary)).to_numpy()
    groups = []
    for value in np.unique(key):
        positions = np.flatnonzero(key == value)
        groups += [positions[start : start + _BATCH_ROWS] for start in range(0, len(positions), _BATCH_ROWS)]
    for positions in sorted(groups, key=lambda positions: int(positions[0])):
        first = int(positions[0])
        node, interface, point = (origin[first].as_py() or "" for origin in origins)
        taken = rows.take(pa.array(positions))
        origin_metadata = dict(zip(schema.ORIGIN_COLUMNS, (node, interface, point), strict=True))
        yield Batch(node, interface, point, TrafficClass(int(classes[first])), to_wire(taken, origin_metadata))


def traffic_classes(rows: pa.Table) -> npt.NDArray[np.uint8]:
    """Return the class of each row: by application, else by protocol, as the decoder gives it."""
    found = np.zeros(len(rows), np.uint8)
    protocols = rows["ip_protocol"].fill_null(255).to_numpy()
    for protocol, traffic_class in _BY_PROTOCOL.items():
        found[protocols == protocol] = traffic_class
    # ARP has no address columns; RARP neither.
    found[rows["arp_opcode"].is_valid().to_numpy()] = TrafficClass.ARP
    apps = rows["app"].cast(pa.string())
    for app, traffic_class in _BY_APP.items():
        found[pc.equal(apps, app.name.lower()).fill_null(False).to_numpy()] = traffic_class
    return found


def to_wire(rows: pa.Table, origin: dict[str, str]) -> pa.RecordBatch:
    """Return rows of one origin with the columns of ``schema.arrow_schema``."""
    arrays = [_column(column, rows[column.name].combine_chunks()) for column in schema.COLUMNS]
    metadata = {f"streamgauge.{name}": value for name, value in origin.items()}
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow_schema(metadata=metadata))


def _column(column: schema.Column, values: pa.Array) -> pa.Array:
    if column.kind in (Kind.IP, Kind.MAC):
        return _packed(column, values)
    if column.kind is Kind.WORD:
        words = pa.array(column.words, pa.string())
        codes = pc.index_in(values.cast(pa.string()), value_set=words).cast(pa.int8())
        codes = codes if column.nullable else codes.fill_null(0)
        return pa.DictionaryArray.from_arrays(codes, words)
    return values if column.nullable or not values.null_count else values.fill_null(0)


def _packed(column: schema.Column, values: pa.DictionaryArray) -> pa.Array:
    if values.null_count == len(values):
        return pa.nulls(len(values), column.arrow_type)
    pack = text.address_bytes if column.kind is Kind.IP else lambda word: bytes.fromhex(word.replace(":", ""))
    packed = pa.array([pack(word) for word in values.dictionary.to_pylist()], column.arrow_type)
    return packed.take(values.indices)
