"""The format of a spool file: what was written is read back, and what is damaged is known as such."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.spool_records import Kind, Scan, envelope_of, message_head, pack
from tests.unit.collector.making import message


def records(content):
    scan = Scan(bytes(content))
    return list(scan), scan.torn


def test_records_are_read_back_in_order():
    """Kind, head and the place of the payload survive; a file of whole records has no torn end."""
    one = message(7, b"payload seven")
    content = pack(Kind.MESSAGE, message_head(one), one.payload) + pack(Kind.DONE, {"sequences": [7]})
    (first, second), torn = records(content)

    assert torn == 0
    assert (first.kind, second.kind) == (Kind.MESSAGE, Kind.DONE)
    assert content[first.offset : first.offset + first.length] == b"payload seven"
    assert envelope_of(first.head) == one.envelope
    assert second.head == {"sequences": [7]}


@pytest.mark.parametrize("tail", [b"", bytes(300), b"SGS1" * 80])
def test_a_torn_tail_is_cut_and_counted(tail):
    """At whatever byte the last record breaks off, those before it are read and its rest is counted.

    After a loss of power a file may have its length and not its content: zeros, or what lay on the disk before.
    """
    whole = pack(Kind.DONE, {"sequences": [1]})
    last = pack(Kind.MESSAGE, message_head(message(2)), b"x" * 200)
    for length in range(len(last)):
        content = whole + last[:length] + tail
        found, torn = records(content)

        assert [record.kind for record in found] == [Kind.DONE]
        assert torn == length + len(tail)


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_is_believed(position, bit):
    """A record with any bit changed is not read, nor what follows it in the file."""
    one, two = (pack(Kind.MESSAGE, message_head(message(n)), b"payload") for n in (1, 2))
    content = bytearray(one + two)
    position %= len(content)
    content[position] ^= 1 << bit
    found, torn = records(content)

    assert len(found) == (0 if position < len(one) else 1)
    assert torn == len(content) - (0 if position < len(one) else len(one))


@given(st.binary(max_size=400))
def test_any_bytes_are_survived(content):
    """A file that is something else altogether raises nothing."""
    found, torn = records(content)

    assert found == []
    assert torn == len(content)


@pytest.mark.parametrize("payload", [b"", b"x" * 300_000])
def test_payloads_of_any_length(payload):
    """Empty and large payloads are records like others."""
    (record,), _ = records(pack(Kind.MESSAGE, {}, payload))

    assert record.length == len(payload)
