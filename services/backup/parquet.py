"""Writes a table as Parquet: which column is encoded how, measured on the generated trace (benchmarks/backup.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Columns whose values hardly repeat: a dictionary would only be built to be thrown away.
_PLAIN: Final = ("time", "tcp_seq", "tcp_ack", "frame", "event")
#: Where the packets of a flow stand together, numbers are runs that zstd sees by itself: smaller and twice as quick.
_PLAIN_IN_FLOWS: Final = (
    *("duration", "packets", "eth_type", "ip_version", "ttl", "dscp", "src_port", "dst_port", "tcp_window"),
    *("icmp_type", "icmp_code", "arp_opcode", "dns_id", "dns_type", "dns_rcode", "http_status"),
)
# Readers of Parquet know this encoding for years; BYTE_STREAM_SPLIT of integers many do not know yet.
_ENCODINGS: Final = {"time": "DELTA_BINARY_PACKED"}
#: Columns whose least and greatest value help a query to skip an object; for all columns they take a fifth of the time.
_STATISTICS: Final = ("time", "stored", "node", "interface", "src_port", "dst_port", "ip_protocol", "vlan", "cluster")
#: Values handed to a column's encoder at once: fewer, larger steps (default 1,024).
_WRITE_BATCH: Final = 64 << 10
_DICTIONARY_PAGE: Final = 4 << 20  # bytes


def write(
    rows: pa.Table, metadata: Mapping[str, str], *, level: int, row_group_rows: int, in_flows: bool = False
) -> pa.Buffer:
    """Return the object: a Parquet file with the footer's key-value metadata.

    Args:
        rows: the content, in its order.
        metadata: of the footer.
        level: of zstd.
        row_group_rows: rows of a row group.
        in_flows: whether the packets of a flow stand together.

    """
    sink = pa.BufferOutputStream()
    names = rows.schema.names
    plain = _PLAIN + (_PLAIN_IN_FLOWS if in_flows else ())
    with pq.ParquetWriter(
        sink,
        rows.schema,
        compression="zstd",
        compression_level=level,
        use_dictionary=[name for name in names if name not in plain],
        column_encoding={name: encoding for name, encoding in _ENCODINGS.items() if name in names},
        write_statistics=[name for name in names if name in _STATISTICS],
        write_batch_size=_WRITE_BATCH,
        dictionary_pagesize_limit=_DICTIONARY_PAGE,
    ) as writer:
        writer.write_table(rows, row_group_size=row_group_rows)
        writer.add_key_value_metadata(dict(metadata))
    return sink.getvalue()
