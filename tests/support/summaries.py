"""Batches of summaries made up from a seed, and the messages a collector would publish them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streamgauge import codec, schema, subjects
from streamgauge.schema import Kind, TrafficClass
from streamgauge.subjects import Envelope

if TYPE_CHECKING:
    from nats.js import JetStreamContext

START = 1_764_079_200_000_000_000  # 2025-11-25T14:00:00Z in ns


def batch(rows: int = 100, *, seed: int = 1, start: int = START, node: str = "node-a") -> pa.RecordBatch:
    """Return TCP summaries between a few hosts, 1 µs apart."""
    random = np.random.default_rng(seed)
    hosts = np.zeros((16, 16), np.uint8)
    hosts[:, 10:12], hosts[:, 12], hosts[:, 15] = 255, 10, np.arange(16)
    values: dict[str, Any] = {
        "time": pa.array(start + np.arange(rows) * 1000, pa.timestamp("ns", "UTC")),
        "packets": pa.array(np.ones(rows, np.uint32)),
        "bytes": pa.array(random.integers(60, 1500, rows)),
        "captured_bytes": pa.array(np.full(rows, 60)),
        "eth_type": pa.array(np.full(rows, 0x0800, np.uint16)),
        "ip_version": pa.array(np.full(rows, 4, np.uint8)),
        "src_ip": pa.array([row.tobytes() for row in hosts[random.integers(0, 16, rows)]], pa.binary(16)),
        "dst_ip": pa.array([row.tobytes() for row in hosts[random.integers(0, 16, rows)]], pa.binary(16)),
        "src_port": pa.array(random.integers(1024, 65535, rows).astype(np.uint16)),
        "dst_port": pa.array(np.full(rows, 443, np.uint16)),
        "tcp_seq": pa.array(random.integers(0, 1 << 32, rows).astype(np.uint32)),
        "decode_status": pa.array(["ok"] * rows, pa.string()).dictionary_encode(),
    }
    arrays = [_column(column, values.get(column.name), rows) for column in schema.COLUMNS]
    origin = {"streamgauge.node": node, "streamgauge.interface": "eth0", "streamgauge.observation_point": "interface"}
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow_schema(metadata=origin))


def _column(column: schema.Column, given: pa.Array | None, rows: int) -> pa.Array:
    if given is None and column.kind is Kind.WORD and not column.nullable:
        return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), pa.array(column.words, pa.string()))
    if given is None:
        given = pa.nulls(rows, column.arrow_type) if column.nullable else pa.array(np.zeros(rows, np.int64))
    return given if column.kind is Kind.WORD and given.type == column.arrow_type else given.cast(column.arrow_type)


def envelope(
    of: pa.RecordBatch, sequence: int, *, node: str = "node-a", boot: str = "boot-1", content_type: str = subjects.ARROW
) -> Envelope:
    """Return the headers a collector would give a batch."""
    times = of.column("time").view(pa.int64())
    return Envelope(
        node=node,
        boot=boot,
        sequence=sequence,
        interface="eth0",
        observation_point="interface",
        rows=len(of),
        packets=pc.sum(of.column("packets")).as_py() or 0,
        bytes=pc.sum(of.column("bytes")).as_py() or 0,
        first_time=pc.min(times).as_py() or 0,
        last_time=pc.max(times).as_py() or 0,
        content_type=content_type,
    )


async def publish(
    jetstream: JetStreamContext,
    sequence: int,
    *,
    rows: int = 100,
    node: str = "node-a",
    boot: str = "boot-1",
    message_id: str | None = None,
    content_type: str = subjects.ARROW,
) -> pa.RecordBatch:
    """Publish one batch, its rows a function of the sequence; return it. Another ``message_id`` stores it twice."""
    made = batch(rows, seed=sequence, start=START + sequence * 1_000_000, node=node)
    headers = envelope(made, sequence, node=node, boot=boot, content_type=content_type).headers()
    if message_id is not None:
        headers["Nats-Msg-Id"] = message_id
    payload = codec.encode(made, content_type)
    await jetstream.publish(subjects.traffic(node, TrafficClass.TCP), payload, headers=headers)
    return made
