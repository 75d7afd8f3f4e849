"""What rows are restored to: Parquet, NDJSON, CSV, or the packets themselves where their frames were kept."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from streamgauge import codec
from streamgauge.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS: Final = ("parquet", "ndjson", "csv", "pcap")
#: Link types a capture file can be written with, by name.
LINK_TYPES: Final = {"ethernet": 1, "raw": 101, "linux-cooked": 113, "linux-cooked-v2": 276, "loopback": 0}

_PCAP_NANOSECONDS: Final = 0xA1B23C4D
_SNAPLEN: Final = 262_144
_RECORD: Final = struct.Struct("<IIII")
_TAGS: Final = {b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00", b"\x93\x00"}
_MACS: Final = 12  # bytes of both hardware addresses


class Output(Protocol):
    """Takes tables of rows at rest, in time order; closed once."""

    def write(self, rows: pa.Table) -> None:
        """Write rows."""

    def close(self) -> None:
        """Write what belongs at the end."""

    def abandon(self) -> None:
        """End without it: not all rows came."""


class Ndjson:
    """One JSON object a row; time in ns, nulls left out."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, rows: pa.Table) -> None:
        """Write rows."""
        for batch in _with_integer_time(rows).to_batches():
            self._stream.write(codec.ndjson_of(batch))

    def close(self) -> None:
        """Do nothing: each line stands for itself."""

    def abandon(self) -> None:
        """Do nothing, likewise."""


class Csv:
    """Comma-separated values under a line of names; time in ns, null is an empty field."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._begun = False

    def write(self, rows: pa.Table) -> None:
        """Write rows."""
        from pyarrow import csv

        options = csv.WriteOptions(include_header=not self._begun, quoting_style="needed")
        csv.write_csv(_spelled_out(_with_integer_time(rows)), self._stream, options)
        self._begun = True

    def close(self) -> None:
        """Write the line of names if there was no row."""
        if not self._begun:
            from streamgauge.restore.read import at_rest_schema

            self.write(at_rest_schema().empty_table())

    def abandon(self) -> None:
        """Do nothing: each line stands for itself."""


class Parquet:
    """A Parquet file with the columns as they are in the bucket."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writer: Any = None

    def write(self, rows: pa.Table) -> None:
        """Write rows."""
        from pyarrow import parquet

        rows = _spelled_out(rows)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._stream, rows.schema, compression="zstd")
        self._writer.write_table(rows)

    def close(self) -> None:
        """Write the footer."""
        from streamgauge.restore.read import at_rest_schema

        if self._writer is None:
            self.write(at_rest_schema().empty_table())
        self._writer.close()

    def abandon(self) -> None:
        """Give the file up: without a footer nobody takes a part for the whole."""
        if self._writer is not None:
            # Or else it tries to write one when it is collected, and complains that the stream is closed.
            self._writer.is_open = False


class Pcap:
    """The packets: column ``frame``, with the tag back in that the kernel takes out of a frame."""

    def __init__(self, stream: BinaryIO, link_type: str | None = None) -> None:
        self._stream = stream
        self._link_type = link_type
        #: What the frames of a node and interface begin with; not looked at when the caller knows.
        self._found: dict[str, tuple[str, str]] | None = {} if link_type is None else None
        self._begun = False
        #: Rows that have no frame: merged under overload, or captured without keeping it.
        self.without_frame = 0
        self.packets = 0

    def write(self, rows: pa.Table) -> None:
        """Write the packets of rows that have one.

        Raises:
            StoreError: the frames are of several link types, and one file has one.

        """
        with_frame = rows.filter(rows["frame"].is_valid())
        self.without_frame += len(rows) - len(with_frame)
        if not len(with_frame):
            return
        if self._found is not None:
            self._found |= {kind: who for who, kind in _link_types(with_frame)}
            self._check(self._found)
        if not self._begun:
            # Frames of which none could be read so far are taken for what most are.
            link_type = self._link_type = self._link_type or next(iter(self._found or ()), "ethernet")
            self._begun = True
            header = struct.pack("<IHHiIII", _PCAP_NANOSECONDS, 2, 4, 0, 0, _SNAPLEN, LINK_TYPES[link_type])
            self._stream.write(header)
        self.packets += len(with_frame)
        self._stream.write(b"".join(_records(with_frame, ethernet=self._link_type == "ethernet")))

    def _check(self, found: dict[str, tuple[str, str]]) -> None:
        kinds = {*found, *([self._link_type] if self._begun else [])}
        if len(kinds) > 1:
            said = " and ".join(f"{kind} of {node}/{interface}" for kind, (node, interface) in found.items())
            raise StoreError(
                f"the window has frames of several link types, {said}, and a pcap has one: choose a --node, "
                "or --format parquet, which keeps the column frame"
            )

    def close(self) -> None:
        """Check that there was something to write.

        Raises:
            StoreError: no row has a frame.

        """
        if not self.packets:
            raise StoreError(
                "no row of the window has a frame; frames are kept from when STREAMGAUGE_COLLECTOR_FRAME_BYTES is set"
            )

    def abandon(self) -> None:
        """Do nothing: each packet stands for itself."""


def open_output(form: str, stream: BinaryIO, link_type: str | None = None) -> Output:
    """Return the output of one of ``FORMATS``; ``link_type`` is of a pcap."""
    if form == "pcap":
        return Pcap(stream, link_type)
    kinds: dict[str, type[Ndjson | Csv | Parquet]] = {"ndjson": Ndjson, "csv": Csv, "parquet": Parquet}
    return kinds[form](stream)


def _link_types(rows: pa.Table) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield node and interface, and what the frames of it begin with; nothing where no frame could be read.

    The record does not say; what the decoder found in the frames does.
    """
    seen: set[tuple[str, str]] = set()
    with_mac = rows["src_mac"].is_valid()
    for chosen in (with_mac, pc.and_not(rows["ip_version"].is_valid(), with_mac), rows["eth_type"].is_valid()):
        table = rows.filter(chosen)
        table = table.append_column("at", pa.array(range(len(table)), pa.int64()))
        for origin in table.group_by(["node", "interface"]).aggregate([("at", "min")]).to_pylist():
            who = origin["node"], origin["interface"]
            if who not in seen:
                seen.add(who)
                frame = table["frame"][origin["at_min"]].as_py()
                yield who, "ethernet" if chosen is with_mac else _link_type(frame)


def _link_type(frame: bytes) -> str:
    """Return what a frame without hardware addresses, in which an IP packet was found, begins with."""
    for at, kind in ((0, "raw"), (4, "loopback")):
        # The version of IP: cooked headers have their type, and the length of an address or an interface's index there.
        if len(frame) > at and frame[at] >> 4 in (4, 6):
            return kind
    # Version 1 begins with the kind of packet, 0 to 4; version 2 with the protocol.
    return "linux-cooked" if frame[:1] == b"\0" else "linux-cooked-v2"


def _records(rows: pa.Table, *, ethernet: bool) -> Iterator[bytes]:
    times = rows["time"].cast(pa.int64()).to_pylist()
    columns = (rows[name].to_pylist() for name in ("bytes", "vlan", "frame"))
    for time, length, vlan, frame in zip(times, *columns, strict=True):
        if ethernet and vlan is not None and len(frame) > _MACS + 1 and frame[_MACS : _MACS + 2] not in _TAGS:
            frame = frame[:_MACS] + struct.pack("!HH", 0x8100, vlan) + frame[_MACS:]  # noqa: PLW2901 the whole frame
        seconds, rest = divmod(time, 10**9)
        yield _RECORD.pack(seconds, rest, len(frame), max(length, len(frame))) + frame


def _with_integer_time(rows: pa.Table) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index("time"), "time", rows["time"].cast(pa.int64()))


def _spelled_out(rows: pa.Table) -> pa.Table:
    """Return rows with dictionaries as plain text: their words differ from table to table."""
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in rows.columns
    ]
    return pa.Table.from_arrays(columns, names=rows.schema.names)


def totals(rows: pa.Table) -> dict[str, tuple[int, int, int]]:
    """Return rows, packets and bytes of each node."""
    if not len(rows):
        return {}
    summed = rows.group_by("node").aggregate([("packets", "count"), ("packets", "sum"), ("bytes", "sum")])
    return {row["node"]: (row["packets_count"], row["packets_sum"], row["bytes_sum"]) for row in summed.to_pylist()}


def span(rows: pa.Table) -> tuple[int, int]:
    """Return the first and last capture time, ns UTC; zeros when there is no row."""
    ends = pc.min_max(rows["time"].cast(pa.int64())).as_py()
    return ends["min"] or 0, ends["max"] or 0
