"""The ledger record."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import PayloadError
from streamgauge.ledger import LedgerRecord


def _changed(**values: object) -> bytes:
    return orjson.dumps(orjson.loads(LedgerRecord("n", "b", "eth0", 1, "tick").encode()) | values)


COUNTS = ("kernel_received", "kernel_dropped", "filtered", "decoded", "malformed", "coarsened", "published", "spooled")


@given(st.dictionaries(st.sampled_from(COUNTS), st.integers(0, (1 << 63) - 1)))
def test_any_record_survives_the_wire(counts: dict[str, int]) -> None:
    """Counts are exact whole numbers, also above 2**53."""
    record = LedgerRecord("n", "b", "eth0", 1, "tick", **counts)

    assert LedgerRecord.decode(record.encode()) == record


def test_equations() -> None:
    """What is received and not accounted for is in the ring; what is decoded and not accounted for is a fault."""
    record = LedgerRecord(
        "n",
        "b",
        "eth0",
        1,
        "tick",
        kernel_received=100,
        kernel_dropped=5,
        filtered=3,
        decoded=90,
        published=80,
        spooled=7,
    )

    assert record.undecoded == 2
    assert record.unpublished == 3


def test_fields_of_a_newer_sender_are_left_out() -> None:
    """Within a version fields are only added."""
    values = orjson.loads(LedgerRecord("n", "b", "eth0", 1, "start").encode()) | {"colour": "red"}

    assert LedgerRecord.decode(orjson.dumps(values)).node == "n"


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[]", "not a ledger record"),
        (b"{}", "not a ledger record"),
        (b'{"version":2}', "not a ledger record"),
        (b'{"version":1,"node":"n"}', "is incomplete"),
        (_changed(published=True), "published is True"),
        (_changed(time="noon"), "time is 'noon'"),
        (_changed(node=["n"]), "node is "),
        (_changed(decoded=-1), "decoded is -1"),
        (_changed(decoded=1 << 63), "decoded is 9223372036854775808"),
        (_changed(sequence=1.5), "sequence is 1.5"),
        (_changed(reason=None), "reason is None"),
    ],
)
def test_damaged_record_says_what_is_wrong(payload: bytes, words: str) -> None:
    """It goes to quarantine with its reason."""
    with pytest.raises(PayloadError, match=words):
        LedgerRecord.decode(payload)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_a_payload_error(payload: bytes) -> None:
    """Nobody can stop a consumer with a message."""
    with pytest.raises(PayloadError):
        LedgerRecord.decode(payload)
