"""Families of columns that only some rows, or only later versions of the record, have."""

from __future__ import annotations

import pyarrow as pa
import pytest

from services.exporter import networks, optional
from services.exporter.aggregate import Aggregator
from services.exporter.metrics import TrafficMetrics
from streamgauge import schema
from streamgauge.metrics import Metrics
from tests.support import packets as build
from tests.support.traffic import batch_of, envelope_of

#: Columns that a later record has.
LATER = {
    "tls_cipher": pa.uint16(),
    "tls_version": pa.uint16(),
    "retransmission": pa.bool_(),
    "out_of_order": pa.bool_(),
    "zero_window": pa.bool_(),
    "tcp_rtt": pa.int64(),
    "tcp_handshake": pa.int64(),
    "dns_latency": pa.int64(),
}
EVERYTHING = {*schema.BY_NAME, *LATER}


def plain(count):
    return batch_of([build.ethernet(0x0800, build.ipv4(6, build.tcp(b"")))] * count)


def with_columns(batch, **values):
    """Return a batch with columns added or replaced."""
    for name, column in values.items():
        array = pa.array(column, LATER.get(name) or batch.schema.field(name).type)
        position = batch.schema.get_field_index(name)
        batch = batch.append_column(name, array) if position < 0 else batch.set_column(position, name, array)
    for name, kind in LATER.items():
        if name not in batch.schema.names:
            batch = batch.append_column(name, pa.nulls(len(batch), kind))
    return batch


def page_of(batch):
    """Return the page after one batch of the later record, by series without prefix."""
    aggregator, metrics = Aggregator(networks.parse("10.0.0.0/8"), 1000, record=EVERYTHING), Metrics()
    TrafficMetrics(metrics, aggregator, 1000)
    aggregator.fold(envelope_of(batch), batch)
    lines = [line.rpartition(" ") for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    return {name.removeprefix("streamgauge_").replace('node="node-a"', "N"): float(value) for name, _, value in lines}


def test_families_exist_where_the_record_has_their_columns():
    """A column that the record lacks declares no family; one that it gains lights its family up."""
    now = {"http_method", "http_status"}
    assert {family.columns[0] for family in optional.count_families(now)} == now
    assert optional.time_families(now) == ()
    assert len(optional.count_families(EVERYTHING)) == 7
    assert len(optional.time_families(EVERYTHING)) == 3


def test_http_requests_count_by_method_and_responses_by_class():
    """Methods are a closed list; a merged row counts as its packets."""
    batch = with_columns(
        plain(5),
        http_method=["GET", "GET", "BREW", None, None],
        http_status=[None, None, None, 204, 999],
        packets=[1, 4, 1, 1, 1],
    )
    page = page_of(batch)
    assert page['http_requests_total{N,method="GET"}'] == 5
    assert page['http_requests_total{N,method="other"}'] == 1
    assert page['http_responses_total{N,status_class="2xx"}'] == 1
    assert page['http_responses_total{N,status_class="other"}'] == 1


def test_a_handshake_counts_once_by_what_the_server_chose():
    """A ClientHello, which offers a version and has no cipher suite, is no handshake."""
    batch = with_columns(plain(4), tls_version=[772, 772, 771, 9], tls_cipher=[None, 0x1301, 0xC02F, 5])
    page = page_of(batch)
    assert page['tls_handshakes_total{N,version="TLS 1.3"}'] == 1
    assert page['tls_handshakes_total{N,version="TLS 1.2"}'] == 1
    assert page['tls_handshakes_total{N,version="other"}'] == 1


@pytest.mark.parametrize(
    ("column", "family"),
    [
        ("retransmission", "tcp_retransmits_total"),
        ("out_of_order", "tcp_out_of_order_total"),
        ("zero_window", "tcp_zero_windows_total"),
    ],
)
def test_troubles_of_tcp_count_where_they_are_true(column, family):
    """False and unknown count nothing."""
    assert page_of(with_columns(plain(4), **{column: [True, False, None, True]}))[f"{family}{{N}}"] == 2


def test_times_fall_into_their_buckets_in_seconds():
    """Nanoseconds become seconds; a bound belongs to its bucket; the sum is exact."""
    times = [500_000, 500_001, 30_000_000, 9_000_000_000, None]
    page = page_of(with_columns(plain(5), tcp_rtt=times))
    assert page['tcp_rtt_seconds_bucket{N,le="0.0005"}'] == 1
    assert page['tcp_rtt_seconds_bucket{N,le="0.001"}'] == 2
    assert page['tcp_rtt_seconds_bucket{N,le="0.03"}'] == 3
    assert page['tcp_rtt_seconds_bucket{N,le="5.0"}'] == 3
    assert page['tcp_rtt_seconds_bucket{N,le="+Inf"}'] == 4
    assert page["tcp_rtt_seconds_count{N}"] == 4
    assert page["tcp_rtt_seconds_sum{N}"] == pytest.approx(9.031000001)
