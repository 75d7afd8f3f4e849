"""Columns as a person reads them."""

from __future__ import annotations

import ipaddress

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge import schema, text
from tests.support.rows import any_batch, batch_from


@given(st.ip_addresses())
def test_addresses_survive_both_ways(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Text to bytes to text is the same address, written the canonical way."""
    packed = text.address_bytes(str(address))
    mapped = getattr(address, "ipv4_mapped", None)

    assert len(packed) == 16
    assert ipaddress.ip_address(text.address_text(packed)) == (mapped or address)


@pytest.mark.parametrize("wrong", ["", "10.0.0", "10.0.0.0/8", "host", "1.2.3.4 ", "::g"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    """No guess is made."""
    with pytest.raises(ValueError, match="does not appear to be"):
        text.address_bytes(wrong)


def test_mapped_address_of_an_ipv6_packet_stays_ipv6() -> None:
    """An IPv6 packet from ::ffff:10.0.0.1 is told from an IPv4 packet from 10.0.0.1, which has the same 16 bytes."""
    packed = pa.array([text.address_bytes("10.0.0.1")] * 2 + [None, text.address_bytes("fd00::1")], pa.binary(16))
    shown = text.addresses(packed, pa.array([4, 6, None, 6], pa.uint8()))

    assert shown.to_pylist() == ["10.0.0.1", "::ffff:10.0.0.1", None, "fd00::1"]


def test_the_outer_address_has_a_version_of_its_own() -> None:
    """IPv6 in IPv4 (6in4, a VXLAN of an IPv6 cluster) and the other way round: each is written as what it is."""
    one = {"ip_version": 6, "src_ip": "fd00::1", "outer_src_ip": "10.0.0.1", "outer_dst_ip": "10.0.0.2"}
    other = {"ip_version": 4, "src_ip": "10.0.0.1", "outer_src_ip": "fd00::1", "outer_dst_ip": "fd00::2"}
    shown = text.readable(batch_from([one, other])).select(["src_ip", "outer_src_ip", "outer_dst_ip"])

    assert shown.to_pylist() == [
        {"src_ip": "fd00::1", "outer_src_ip": "10.0.0.1", "outer_dst_ip": "10.0.0.2"},
        {"src_ip": "10.0.0.1", "outer_src_ip": "fd00::1", "outer_dst_ip": "fd00::2"},
    ]


def test_hardware_addresses_have_colons() -> None:
    """Six bytes are written as usual; null stays null."""
    shown = text.hardware_addresses(pa.array([b"\x02\0\x5e\x10\0\xff", None], pa.binary(6)))

    assert shown.to_pylist() == ["02:00:5e:10:00:ff", None]


@given(any_batch)
def test_readable_has_all_columns_of_any_batch(batch: pa.RecordBatch) -> None:
    """Whatever is in a batch can be shown."""
    shown = text.readable(batch)

    shown.validate(full=True)
    assert shown.schema.names == list(schema.NAMES)
    assert len(shown) == len(batch)


def test_time_is_a_whole_number_or_a_timestamp() -> None:
    """Text output has nanoseconds, Parquet a timestamp."""
    batch = batch_from([{"time": 1_764_079_200_000_000_001}])

    assert text.readable(batch).column("time").to_pylist() == [1_764_079_200_000_000_001]
    assert text.readable(batch, time_as_integer=False).column("time").type == pa.timestamp("ns", "UTC")
