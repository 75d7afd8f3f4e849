"""Whatever the bytes, the kernels agree with the oracle, and a packet is a row."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamgauge.rows import Rows
from tests.support import oracle
from tests.support.decoding import decode_packets
from tests.support.packets import LINKS, frames

# The first example may compile the kernels; the deep profile searches long.
pytestmark = pytest.mark.timeout(3600 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 300)

lengths = st.one_of(st.none(), st.integers(0, 3000))
tags = st.one_of(st.just(-1), st.integers(0, 0xFFFF))


#: Ends inside of the second of two tags, as captured and on the wire: found by the guided search.
CUT_TAG = bytes.fromhex("0000001100020242ac11000388a80007810000")


@example((1, CUT_TAG), 20, -1, True)
@example((1, CUT_TAG[:15]), 17, -1, True)
@given(frames, lengths, tags, st.booleans())
def test_kernels_agree_with_the_oracle(frame, wire, tag, decapsulate):
    """A frame from the grammar, damaged or not, gives the row the oracle gives."""
    link, packet = frame
    how = {"link": link, "wire": wire, "tag": tag, "decapsulate": decapsulate}

    assert [oracle.decode(packet, **how)] == decode_packets([packet], **how)


@given(st.binary(max_size=200), st.sampled_from(LINKS), lengths)
def test_any_bytes_are_a_row(packet, link, wire):
    """Bytes that are no packet at all are a row too, the one the oracle gives."""
    assert [oracle.decode(packet, wire=wire, link=link)] == decode_packets([packet], link=link, wire=wire)


@given(st.lists(frames.map(lambda frame: frame[1]), min_size=1, max_size=12), st.integers(1, 12), st.integers(1, 2000))
def test_no_batch_split_changes_a_row(packets, capacity, pool_bytes):
    """Rows are the same however few rows a block holds; a pool that is too small splits the batch, it loses nothing."""
    rows = decode_packets(packets, rows=Rows(len(packets)))

    assert len(packets) == len(rows)
    assert rows == decode_packets(packets, rows=Rows(capacity))
    assert len(packets) == len(decode_packets(packets, rows=Rows(capacity, pool_bytes)))
