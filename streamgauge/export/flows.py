"""Rows become flows: packets of one direction, one node and interface, with the same addresses, ports and protocol.

A flow is exported when it ends: no packet for ``inactive`` seconds, or ``active`` seconds after its first (it then goes
on as another). Its clock is the capture time of the rows, so a replay gives the flows that would have been exported
live. Pure policy: batches in, ended flows out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.consumer import Batch

#: What is common to the packets of a flow.
KEY: Final = ("ip_version", "src_ip", "dst_ip", "src_port", "dst_port", "ip_protocol", "icmp", "dscp", "vlan")
#: Ethernet header, and a VLAN tag, in bytes: not part of what IPFIX counts as octets.
_ETHERNET, _TAG = 14, 4


class End(IntEnum):
    """Why a flow was exported (information element 136)."""

    IDLE = 1
    ACTIVE = 2
    FORCED = 4
    NO_RESOURCES = 5


@dataclass(slots=True)
class Flow:
    """One flow. Times are ns since 1970; ``octets`` from the IP header on, ``wire`` with the link header."""

    key: tuple[Any, ...]
    packets: int
    octets: int
    wire: int
    flags: int
    first: int
    last: int


class Flows:
    """The flows of one observation domain: a node and interface."""

    def __init__(self, *, active: float, inactive: float, limit: int) -> None:
        """Set the timeouts in seconds, and how many flows are kept at the most."""
        self._active = int(active * 1e9)
        self._inactive = int(inactive * 1e9)
        self._limit = limit
        self._open: dict[tuple[Any, ...], Flow] = {}
        self._clock = self._looked = 0
        #: Packets of rows that are no IP packets: no flow.
        self.not_ip = 0

    def __len__(self) -> int:
        """Flows that are open."""
        return len(self._open)

    def take(self, batch: Batch) -> Iterator[tuple[Flow, End]]:
        """Take a batch; yield the flows that ended by it."""
        table = _reduced(batch.arrow)
        self.not_ip += batch.packets - pc.sum(table["packets"]).as_py() if len(table) else batch.packets
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            yield from self._add(row[: len(KEY)], *row[len(KEY) :])
        self._clock = max(self._clock, batch.last_time)
        # A second of capture time is fine enough for timeouts that are at least one.
        if self._clock - self._looked >= 1_000_000_000:
            self._looked = self._clock
            yield from self._expire()

    def flush(self, reason: End) -> Iterator[tuple[Flow, End]]:
        """Yield all flows; none is open then."""
        flows, self._open = self._open, {}
        for flow in flows.values():
            yield flow, reason

    def _add(
        self, key: tuple[Any, ...], packets: int, octets: int, wire: int, flags: int, first: int, last: int
    ) -> Iterator[tuple[Flow, End]]:
        flow = self._open.get(key)
        if flow is not None and first - flow.last >= self._inactive:
            yield self._open.pop(key), End.IDLE
            flow = None
        elif flow is not None and last - flow.first >= self._active:
            yield self._open.pop(key), End.ACTIVE
            flow = None
        if flow is not None:
            flow.packets += packets
            flow.octets += octets
            flow.wire += wire
            flow.flags |= flags
            flow.first, flow.last = min(flow.first, first), max(flow.last, last)
            return
        if len(self._open) >= self._limit:
            yield from self.flush(End.NO_RESOURCES)
        self._open[key] = Flow(key, packets, octets, wire, flags, first, last)

    def _expire(self) -> Iterator[tuple[Flow, End]]:
        ended = [
            (key, End.IDLE if self._clock - flow.last >= self._inactive else End.ACTIVE)
            for key, flow in self._open.items()
            if self._clock - flow.last >= self._inactive or self._clock - flow.first >= self._active
        ]
        for key, reason in ended:
            yield self._open.pop(key), reason


def _reduced(rows: pa.RecordBatch) -> pa.Table:
    """Return the IP rows of a batch, one a flow: the key, then what a ``Flow`` counts."""
    rows = rows.filter(rows.column("ip_version").is_valid())
    packets, wire = rows.column("packets").cast(pa.int64()), rows.column("bytes")
    link = pc.if_else(rows.column("vlan").is_valid(), _ETHERNET + _TAG, _ETHERNET)
    link = pc.if_else(rows.column("eth_type").is_valid(), link, 0)
    octets = pc.max_element_wise(pc.subtract(wire, pc.multiply(link.cast(pa.int64()), packets)), 0)
    first = rows.column("time").view(pa.int64())
    icmp = pc.add(
        pc.multiply(rows.column("icmp_type").cast(pa.uint16()), pa.scalar(256, pa.uint16())),
        rows.column("icmp_code").cast(pa.uint16()),
    )
    flags = rows.column("tcp_flags").fill_null(0)
    values: dict[str, pa.Array] = {
        **{name: rows.column(name) for name in KEY if name != "icmp"},
        "icmp": icmp,
        "packets": packets,
        "octets": octets,
        "wire": wire,
        "first": first,
        "last": pc.add(first, rows.column("duration")),
    }
    bits = {f"flag{bit}": pc.bit_wise_and(flags, pa.scalar(1 << bit, pa.uint8())) for bit in range(8)}
    sums = [(name, "sum") for name in ("packets", "octets", "wire")]
    ends = [("first", "min"), ("last", "max")]
    grouped = (
        pa.table({**values, **bits})
        .group_by(list(KEY), use_threads=False)
        .aggregate([*sums, *ends, *((name, "max") for name in bits)])
    )
    together = grouped["flag0_max"]
    for bit in range(1, 8):
        together = pc.bit_wise_or(together, grouped[f"flag{bit}_max"])
    names = [*KEY, "packets", "octets", "wire", "flags", "first", "last"]
    columns = [
        *(grouped[name] for name in KEY),
        *(grouped[f"{name}_sum"] for name in ("packets", "octets", "wire")),
        together,
        grouped["first_min"],
        grouped["last_max"],
    ]
    return pa.table(dict(zip(names, columns, strict=True)))
