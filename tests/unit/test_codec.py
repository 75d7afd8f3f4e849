"""Batches as bytes and back."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import codec, schema
from streamgauge.errors import PayloadError
from streamgauge.subjects import ARROW, NDJSON
from tests.support.rows import any_batch, batch_from, readable_rows, round_trip


@given(any_batch, st.sampled_from([ARROW, NDJSON]), st.sampled_from(codec.COMPRESSIONS))
def test_any_batch_survives_the_wire(batch: pa.RecordBatch, content_type: str, compression: str) -> None:
    """What comes out is what went in, null for null, with its origin."""
    received = round_trip(batch, content_type, compression=compression)

    received.validate(full=True)
    assert readable_rows(received) == readable_rows(batch)
    if content_type == ARROW or len(batch):
        assert received.schema.metadata == batch.schema.metadata


@given(any_batch)
def test_ndjson_is_what_a_json_parser_reads(batch: pa.RecordBatch) -> None:
    """Each line is one object with the readable values of one row; bytes are base64."""
    lines = codec.encode_ndjson(batch).splitlines()
    rows = readable_rows(batch)

    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        read = json.loads(line)
        assert list(read) == [name for name in schema.NAMES if name in row]
        assert {name: value for name, value in read.items() if name != "frame"} == {
            name: value for name, value in row.items() if name != "frame"
        }


def test_ndjson_takes_a_choice_of_columns() -> None:
    """Chosen columns come in the order they were asked for; a row without any of them is an empty object."""
    batch = batch_from([{"dst_port": 53, "bytes": 7}, {}])

    assert codec.encode_ndjson(batch, ("dst_port", "bytes")) == b'{"dst_port":53,"bytes":7}\n{"bytes":0}\n'
    assert codec.encode_ndjson(batch, ("dst_port",)) == b'{"dst_port":53}\n{}\n'
    assert codec.encode_ndjson(batch, ("tls_sni",)) == b"{}\n{}\n"


@given(st.text(max_size=40))
def test_text_of_the_traffic_cannot_break_a_line(name: str) -> None:
    """Quotes, commas and line feeds in a name stay inside of its string."""
    (line,) = codec.encode_ndjson(batch_from([{"http_path": name}])).rstrip(b"\n").split(b"\n")

    assert json.loads(line)["http_path"] == name


def test_columns_without_values_are_not_sent() -> None:
    """A batch holds one class of traffic; half of its columns hold nothing."""
    payload = codec.encode(batch_from([{"dst_port": 53}]))
    with pa.ipc.open_stream(payload) as reader:
        names = reader.schema.names

    assert "dst_port" in names
    assert "tls_sni" not in names


def test_unknown_column_of_a_newer_sender_is_left_out() -> None:
    """Within a version columns are only added, so older readers go on."""
    batch = batch_from([{"dst_port": 53}])
    newer = batch.append_column("colour", pa.array(["red"]))

    assert round_trip(newer, ARROW).schema.names == batch.schema.names


def _sent(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _two_batches() -> bytes:
    batch = batch_from([{}])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _with_null(name: str) -> pa.RecordBatch:
    batch = batch_from([{}])
    position = batch.schema.get_field_index(name)
    return batch.set_column(position, batch.schema.field(name), pa.nulls(1, batch.schema.field(name).type))


@pytest.mark.parametrize(
    ("payload", "content_type", "words"),
    [
        (b"", ARROW, "no Arrow stream"),
        (b"\xff\xff\xff\xff\x00", ARROW, "no Arrow stream"),
        (_sent(batch_from([{}]).drop_columns(["bytes"])), ARROW, "column bytes is missing"),
        (
            _sent(batch_from([{}]).drop_columns(["ttl"]).append_column("ttl", pa.array(["x"]))),
            ARROW,
            "column ttl is string, not uint8",
        ),
        (_two_batches(), ARROW, "holds 2 record batches"),
        (_sent(_with_null("time")), ARROW, "column time has 1 nulls"),
        (_sent(_with_null("decode_status")), ARROW, "column decode_status has 1 nulls"),
        (b"{}", "text/html", "content type 'text/html' is neither"),
        (b"not json\n", NDJSON, "line 1 is not JSON"),
        (b'{"time":1}\n[]\n', NDJSON, "line 2 is no JSON object"),
        (b"{}\n", NDJSON, "column time is missing in line 1"),
        (codec.encode_ndjson(batch_from([{}])).replace(b'"ok"', b'"fine"'), NDJSON, "column decode_status"),
        (codec.encode_ndjson(batch_from([{"ttl": 5}])).replace(b'"ttl":5', b'"ttl":500'), NDJSON, "column ttl"),
        (codec.encode_ndjson(batch_from([{"ttl": 5}])).replace(b'"ttl":5', b'"src_ip":"x"'), NDJSON, "column src_ip"),
        (codec.encode_ndjson(batch_from([{"ttl": 5}])).replace(b'"ttl":5', b'"src_mac":"0"'), NDJSON, "column src_mac"),
        (codec.encode_ndjson(batch_from([{"ttl": 5}])).replace(b'"ttl":5', b'"src_mac":5'), NDJSON, "column src_mac"),
    ],
)
def test_damaged_payload_says_what_is_wrong(payload: bytes, content_type: str, words: str) -> None:
    """A message that cannot be read goes to quarantine with its reason; nothing else is raised."""
    with pytest.raises(PayloadError, match=words):
        codec.decode(payload, content_type)


@given(st.binary(max_size=200), st.sampled_from([ARROW, NDJSON]))
def test_any_bytes_are_a_batch_or_a_payload_error(payload: bytes, content_type: str) -> None:
    """Nobody can stop a consumer with a message."""
    try:
        batch = codec.decode(payload, content_type)
    except PayloadError:
        return
    batch.validate(full=True)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_damage_inside_a_message_is_a_batch_or_a_payload_error(position: int, damage: bytes) -> None:
    """A flipped byte of a real message never raises anything else."""
    payload = bytearray(codec.encode(batch_from([{"dst_port": 53, "dns_name": "a"}]), compression="none"))
    position %= len(payload)
    payload[position : position + len(damage)] = damage
    try:
        codec.decode(bytes(payload))
    except PayloadError:
        return
