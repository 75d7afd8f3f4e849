"""Subjects and message headers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import subjects
from streamgauge.errors import PayloadError, SubjectError
from streamgauge.schema import TrafficClass
from streamgauge.subjects import Envelope, TrafficSubject

ENVELOPE = Envelope(
    node="node-a",
    boot="b1",
    sequence=7,
    interface="eth0",
    observation_point="interface",
    rows=3,
    packets=4,
    bytes=500,
    first_time=1,
    last_time=2,
)


@given(st.text(min_size=1, max_size=30), st.sampled_from(TrafficClass), st.none() | st.integers(0, 255))
def test_any_node_makes_a_subject_that_can_be_parsed(node: str, kind: TrafficClass, shard: int | None) -> None:
    """Whatever a node is called, its subject has four tokens, or five with the shard."""
    subject = subjects.traffic(node, kind) + ("" if shard is None else f".{shard}")

    assert subjects.parse(subject) == TrafficSubject(subjects.node_token(node), kind, shard)
    assert not any(character.isspace() or character in "*>" for character in subject)


def test_dots_in_a_node_name_do_not_split_the_subject() -> None:
    """A fully qualified host name is one token."""
    assert subjects.traffic("a.example.com", TrafficClass.DNS) == "traffic.v1.a_example_com.dns"
    assert subjects.ledger("a.b") == "ledger.v1.a_b"


def test_empty_node_is_refused() -> None:
    """An empty token would make a subject NATS does not deliver."""
    with pytest.raises(SubjectError, match="STREAMGAUGE_COLLECTOR_NODE"):
        subjects.traffic("", TrafficClass.TCP)


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("traffic.v2.n.dns", "is not traffic.v1"),
        ("traffic.v1.n", "is not traffic.v1"),
        ("traffic.v1.n.dns.1.2", "is not traffic.v1"),
        ("ledger.v1.n", "is not traffic.v1"),
        ("traffic.v1.n.smtp", "unknown class 'smtp'"),
        ("traffic.v1.n.dns.x", "no number"),
        ("", "is not traffic.v1"),
    ],
)
def test_foreign_subject_says_what_is_wrong(subject: str, words: str) -> None:
    """A subject of another version or shape is refused with the reason."""
    with pytest.raises(SubjectError, match=words):
        subjects.parse(subject)


def test_shard_filters() -> None:
    """Replicas split the work by the last token."""
    assert subjects.stored_shard() == "traffic.v1.*.*.*"
    assert subjects.stored_shard(3) == "traffic.v1.*.*.3"


def test_headers_survive_both_ways() -> None:
    """What a collector writes a consumer reads; the identity is node, boot and sequence."""
    headers = ENVELOPE.headers()

    assert Envelope.from_headers(headers) == ENVELOPE
    assert headers["Nats-Msg-Id"] == "node-a/b1/7" == ENVELOPE.message_id
    assert all(isinstance(value, str) for value in headers.values())


def test_numbers_within_a_class_may_be_absent() -> None:
    """They came later within version 1: a message without them is as good, and none is sent that says nothing."""
    numbered = replace(ENVELOPE, class_sequence=3, class_packets=70)

    assert Envelope.from_headers(numbered.headers()) == numbered
    assert Envelope.from_headers(ENVELOPE.headers()).class_sequence == 0
    assert "Streamgauge-Class-Sequence" not in ENVELOPE.headers()


def test_further_headers_are_ignored() -> None:
    """A newer sender may add some."""
    assert Envelope.from_headers({**ENVELOPE.headers(), "Streamgauge-Colour": "red"}) == ENVELOPE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Streamgauge-Rows": None}, "headers missing: Streamgauge-Rows"),
        ({"Streamgauge-Rows": None, "Streamgauge-Node": None}, "Streamgauge-Node, Streamgauge-Rows"),
        ({"Streamgauge-Bytes": "many"}, "Streamgauge-Bytes is 'many'"),
        ({"Streamgauge-Bytes": ""}, "no number"),
        ({"Streamgauge-Schema": "2"}, "schema version 2 is not 1"),
        ({"Streamgauge-Sequence": "²"}, "no number"),
        ({"Streamgauge-Sequence": "--5"}, "no number"),
        ({"Streamgauge-Sequence": "9" * 30}, "no number of 64 bits"),
        ({"Streamgauge-Packets": "9" * 5000}, "no number of 64 bits"),
        ({"Streamgauge-First-Time": str(1 << 63)}, "no number of 64 bits"),
    ],
)
def test_damaged_headers_say_what_is_wrong(change: dict[str, str | None], words: str) -> None:
    """All that is missing is named at once."""
    headers = {name: value for name, value in (ENVELOPE.headers() | change).items() if value is not None}
    with pytest.raises(PayloadError, match=words):
        Envelope.from_headers(headers)


def test_no_headers_at_all() -> None:
    """A message from somebody else has none."""
    with pytest.raises(PayloadError, match="headers missing"):
        Envelope.from_headers(None)


@given(st.dictionaries(st.sampled_from(list(ENVELOPE.headers())), st.text(max_size=8)))
def test_any_headers_are_an_envelope_or_a_payload_error(change: dict[str, str]) -> None:
    """Nobody can stop a consumer with a header."""
    try:
        Envelope.from_headers(ENVELOPE.headers() | change)
    except PayloadError:
        return
