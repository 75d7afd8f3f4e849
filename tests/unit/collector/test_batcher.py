"""The batcher: when windows close and which messages they become."""

from __future__ import annotations

import pytest

from services.collector.batcher import HEADER_BYTES, Batcher
from streamgauge import codec
from streamgauge.schema import TrafficClass
from streamgauge.settings import CollectorSettings
from streamgauge.subjects import NDJSON
from tests.unit.collector.making import CUT, DNS, TCP, UDP, rows_of


def batcher(largest_payload: int = 1 << 20, **settings: object) -> Batcher:
    return Batcher(
        CollectorSettings(node="node-a", **settings),
        "boot-1",
        interface="eth0",
        largest_payload=lambda: largest_payload,
    )


def test_a_window_closes_when_full_or_old():
    """A window closes when it has no room left, or when its first row is old enough; an empty one never does."""
    policy = batcher(batch_age=0.25)

    assert not policy.due(rows_of([TCP], capacity=2), 0.1)
    assert policy.due(rows_of([TCP], capacity=2), 0.25)
    assert policy.due(rows_of([TCP, TCP], capacity=2), 0.0)
    assert not policy.due(rows_of([], capacity=2), 9.0)


def test_one_message_a_class_with_each_row_once():
    """A window becomes a message for each class in it; envelope and payload agree; sequences count from 1."""
    messages = list(batcher().messages(rows_of([TCP, DNS, TCP, UDP, CUT])))

    assert [m.subject for m in messages] == [f"traffic.v1.node-a.{c}" for c in ("other", "tcp", "udp", "dns")]
    assert [m.envelope.sequence for m in messages] == [1, 2, 3, 4]
    assert [m.envelope.rows for m in messages] == [1, 2, 1, 1]
    for message in messages:
        batch = codec.decode(message.payload, message.envelope.content_type)

        assert len(batch) == message.envelope.rows == message.envelope.packets
        assert sum(batch.column("bytes").to_pylist()) == message.envelope.bytes
        assert batch.schema.metadata[b"streamgauge.interface"] == b"eth0"


def test_messages_of_a_class_are_numbered_without_gaps_too():
    """A consumer of one class sees no other numbers; the packets so far tell what a gap held."""
    policy = batcher()
    messages = [m for _ in range(2) for m in policy.messages(rows_of([TCP, DNS, TCP, UDP]))]
    numbers = [(m.subject.rpartition(".")[2], m.envelope.class_sequence, m.envelope.class_packets) for m in messages]

    assert sorted(numbers) == [("dns", 1, 1), ("dns", 2, 2), ("tcp", 1, 2), ("tcp", 2, 4), ("udp", 1, 1), ("udp", 2, 2)]


def test_a_large_class_is_cut_into_batches_in_capture_order():
    """No message has more rows than ``batch_rows``; together they hold the packets in the order of their capture."""
    messages = list(batcher(batch_rows=4).messages(rows_of([TCP] * 10)))

    assert [m.envelope.rows for m in messages] == [4, 4, 2]
    times = [t for m in messages for t in codec.decode(m.payload).column("time").cast("int64").to_pylist()]
    assert times == sorted(times)


def test_batch_bytes_limit_the_rows_once_their_size_is_known():
    """After a first message has told the bytes of a row, later ones stay near ``batch_bytes``."""
    policy = batcher(batch_bytes=16_384, encoding="ndjson")
    rows = rows_of([DNS] * 2000)
    list(policy.messages(rows))

    sizes = [len(m.payload) for m in policy.messages(rows)]

    assert len(sizes) > 10
    assert max(sizes) <= 16_384 * 1.1


def test_a_message_larger_than_the_server_takes_is_halved():
    """A batch whose payload the server would refuse is split until each part fits; no row is lost."""
    limit = HEADER_BYTES + 9_000
    messages = list(batcher(limit, encoding="ndjson").messages(rows_of([DNS] * 300)))

    assert all(len(m.payload) + HEADER_BYTES <= limit for m in messages)
    assert sum(m.envelope.rows for m in messages) == 300
    assert [m.envelope.sequence for m in messages] == list(range(1, len(messages) + 1))


@pytest.mark.parametrize("encoding", ["arrow", "ndjson"])
def test_encodings(encoding):
    """Both encodings carry the same rows, and the envelope says which it is."""
    (message,) = batcher(encoding=encoding).messages(rows_of([DNS]))

    assert (message.envelope.content_type == NDJSON) == (encoding == "ndjson")
    batch = codec.decode(message.payload, message.envelope.content_type)
    assert batch.column("dns_name").to_pylist() == ["www.example.com"]
    assert message.subject.endswith(TrafficClass.DNS.token)
