"""The table of the record and what is derived from it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from streamgauge import schema
from streamgauge.schema import BY_NAME, COLUMNS, SLOT_COUNTS, SLOTS, Kind, Present, TrafficClass

#: Columns design and consumers rely on; a name that is gone breaks queries over stored data.
PROMISED = """
    time duration packets bytes captured_bytes payload_bytes src_mac dst_mac eth_type vlan ip_version src_ip dst_ip
    ip_protocol ttl dscp fragment src_port dst_port tcp_flags tcp_seq tcp_ack tcp_window icmp_type icmp_code arp_opcode
    app dns_id dns_response dns_name dns_type dns_rcode tls_sni http_method http_host http_path http_status
    decode_status frame node interface observation_point
"""


def test_promised_columns_stay() -> None:
    """Within a version columns are only added, never renamed or removed."""
    assert set(PROMISED.split()) - set(schema.NAMES) == set()


def test_each_column_is_listed_once_and_explained() -> None:
    """Names are unique, and a meaning is a sentence."""
    assert len(schema.NAMES) == len(set(schema.NAMES))
    assert [column.name for column in COLUMNS if not column.meaning.endswith(".")] == []


def test_no_two_columns_share_a_slot() -> None:
    """Each line of a buffer belongs to one column, or to the second half of one."""
    used: set[tuple[str, int]] = set()
    for name, first in SLOTS.items():
        double = name in BY_NAME and BY_NAME[name].kind in (Kind.IP, Kind.TEXT, Kind.BYTES)
        for slot in range(first, first + 1 + double):
            assert (schema.width(name), slot) not in used
            used.add((schema.width(name), slot))

    assert sum(SLOT_COUNTS.values()) == len(used)


def test_presence_bits_fit_a_word_and_are_used() -> None:
    """Every bit says something about at least one column."""
    assert max(Present) < 1 << 64
    assert {column.present for column in COLUMNS} - {None} == set(Present)


def test_words_are_there_for_word_columns_only() -> None:
    """A dictionary column has its words, no other column has any."""
    assert [column.name for column in COLUMNS if bool(column.words) != (column.kind is Kind.WORD)] == []


def test_arrow_schema_carries_version_and_origin() -> None:
    """The metadata of a batch says which version it is and where it came from."""
    made = schema.arrow_schema(metadata={"streamgauge.node": "n"})

    assert made.metadata == {b"streamgauge.schema": b"1", b"streamgauge.node": b"n"}
    assert made.names == list(BY_NAME)
    assert [field.name for field in made if field.nullable] == [column.name for column in COLUMNS if column.nullable]


def test_no_unsigned_64_bit_integer_leaves_the_process() -> None:
    """Spark and Trino cannot read one."""
    assert pa.uint64() not in schema.arrow_schema().types


@pytest.mark.parametrize("member", TrafficClass)
def test_class_tokens_are_subject_tokens(member: TrafficClass) -> None:
    """A class stands in a subject as one lower-case word."""
    assert member.token.isalpha()
    assert member.token == member.token.lower()
