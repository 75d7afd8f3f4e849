"""From row buffers to Arrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from streamgauge import schema
from streamgauge.demo import packets
from streamgauge.encode import Origin, by_class, to_arrow
from streamgauge.rows import Rows
from streamgauge.schema import TrafficClass
from tests.support.rows import ORIGIN, decoded, readable_rows

DNS = packets.ethernet(
    packets.ipv4(packets.udp(packets.dns_query(7, "a.example"), 4000, 53), "10.0.0.1", "10.0.0.2", 17)
)
SYN = packets.ethernet(packets.ipv6(packets.tcp(b"", 4000, 443, flags=2), "2001:db8::1", "2001:db8::2", 6), 0x86DD)
ARP = packets.ethernet(packets.arp("10.0.0.1", "10.0.0.2"), 0x0806)


def test_no_rows_are_an_empty_batch() -> None:
    """A batch of nothing has the schema of any batch."""
    batch = to_arrow(Rows(1), ORIGIN)

    assert len(batch) == 0
    assert batch.schema.equals(schema.arrow_schema())


def test_batch_is_valid_and_owns_its_memory() -> None:
    """The rows may be cleared and overwritten as soon as the batch exists."""
    rows = decoded([DNS, SYN, ARP])
    batch = to_arrow(rows, ORIGIN)
    before = readable_rows(batch)
    for buffer in rows.buffers:
        buffer[:] = 255
    rows.clear()

    batch.validate(full=True)
    assert readable_rows(batch) == before


def test_values_and_nulls_stand_where_they_belong() -> None:
    """Columns of one row do not leak into another."""
    dns, syn, arp = readable_rows(to_arrow(decoded([DNS, SYN, ARP]), ORIGIN))

    assert (dns["src_ip"], dns["dst_port"], dns["dns_name"], dns["app"]) == ("10.0.0.1", 53, "a.example", "dns")
    assert (syn["dst_ip"], syn["tcp_flags"]) == ("2001:db8::2", 2)
    assert "dns_name" not in syn
    assert arp["arp_opcode"] == 1
    assert "src_ip" not in arp
    assert {row["node"] for row in (dns, syn, arp)} == {"node-a"}


def test_large_numbers_beside_nulls_stay_exact() -> None:
    """A 64-bit number has more digits than a float keeps, and what stands under a null is zero."""
    rows = decoded([SYN, DNS])
    rows.buffers.u8[schema.SLOTS["tcp_rtt"], :2] = (1 << 60) + 1
    rows.buffers.u8[schema.SLOTS["present"], 0] |= np.uint64(schema.Present.TCP_RTT)
    column = to_arrow(rows, ORIGIN).column("tcp_rtt")

    assert column.to_pylist() == [(1 << 60) + 1, None]
    assert np.frombuffer(column.buffers()[1], np.int64)[1] == 0


def test_a_sparse_batch_lacks_what_no_row_has() -> None:
    """It is the whole batch without the columns that are null in every row."""
    rows = decoded([DNS, SYN])
    whole, sparse = to_arrow(rows, ORIGIN), to_arrow(rows, ORIGIN, sparse=True)

    assert sparse.schema.metadata == whole.schema.metadata
    assert set(whole.schema.names) - set(sparse.schema.names) == {
        name for name in whole.schema.names if whole.column(name).null_count == 2
    }
    assert sparse.equals(whole.select(sparse.schema.names))


def test_chosen_rows_keep_their_order() -> None:
    """A batch of some rows is these rows, as they were captured."""
    rows = decoded([DNS, SYN, DNS, ARP, DNS])
    batch = to_arrow(rows, ORIGIN, np.array([0, 2, 4]))

    assert batch.column("time").view(pa.int64()).to_pylist() == rows.column("time")[[0, 2, 4]].tolist()
    assert batch.column("dns_name").to_pylist() == ["a.example"] * 3


def test_by_class_splits_without_loss() -> None:
    """Each row is in exactly one class."""
    rows = decoded([DNS, SYN, DNS, ARP])
    split = {kind: positions.tolist() for kind, positions in by_class(rows)}

    assert split == {TrafficClass.DNS: [0, 2], TrafficClass.TCP: [1], TrafficClass.ARP: [3]}


def test_text_that_is_no_utf8_is_replaced() -> None:
    """Bytes of the traffic never make an invalid batch."""
    request = b"GET /\xff\xfe HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n"
    frame = packets.ethernet(packets.ipv4(packets.tcp(request, 4000, 80), "10.0.0.1", "10.0.0.2", 6))
    batch = to_arrow(decoded([frame, DNS]), ORIGIN)

    batch.validate(full=True)
    assert batch.column("http_path").to_pylist() == ["/\ufffd\ufffd", None]


def test_origin_is_metadata() -> None:
    """Node, interface and observation point are constant, so they are not columns on the wire."""
    batch = to_arrow(decoded([DNS]), Origin("n", "if0", "host"))

    assert batch.schema.metadata[b"streamgauge.observation_point"] == b"host"
    assert set(schema.ORIGIN_COLUMNS) & set(batch.schema.names) == set()
