"""Families counted from columns that only some rows have, or that only a later version of the record has.

A family exists where the record has its columns, so a column that is added to the record lights its family up, and none
is declared that could never have data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from services.exporter.columns import filled, rows_with_value, true_rows
from services.exporter.words import UNKNOWN
from streamgauge import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa

    from services.exporter.columns import Columns

    #: Packets by label values.
    Found = dict[tuple[str, ...], int]

#: Upper bounds in seconds: NetObserv's, with finer ones below (a round trip inside a cluster) and coarser ones above.
TIME_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 1.0, 2.5, 5.0)

_BOUNDS: Final = np.array([round(bound * 1e9) for bound in TIME_BUCKETS], np.int64)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_TLS_VERSIONS: Final = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}


@dataclass(frozen=True, slots=True)
class CountFamily:
    """A counter of packets by ``node`` and more labels."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    #: Columns it is counted from; the first tells whether a batch has anything to count.
    columns: tuple[str, ...]
    count: Callable[[pa.RecordBatch, Columns], Found]
    #: Most series, if the budget is larger; None: as many as the budget.
    most: int | None = None


@dataclass(frozen=True, slots=True)
class TimeFamily:
    """A histogram in seconds, by ``node``, of a column in nanoseconds."""

    name: str
    meaning: str
    column: str


def _by_text(batch: pa.RecordBatch, columns: Columns, name: str, known: frozenset[str] | None) -> Found:
    column = batch.column(name)
    # Few rows have a text, so the others are left out first: hashing their nulls would cost more than all the rest.
    packets = columns.packets[rows_with_value(column)]
    encoded = column.drop_null().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    found: Found = {}
    for text, sum_ in zip(texts, _sums(encoded.indices.to_numpy(), packets, len(texts)), strict=True):
        key = (text if known is None or text in known else "other",)
        found[key] = found.get(key, 0) + sum_
    return found


def _sums(codes: npt.NDArray[Any], packets: npt.NDArray[np.uint32], length: int) -> list[int]:
    # Weights are floats of 53 bits: exact, since a batch has at most 2**16 rows of 2**32 packets.
    sums: list[int] = np.bincount(codes, packets, length).astype(np.int64).tolist()
    return sums


def _values(column: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """Return which rows have a value, and those values."""
    rows = rows_with_value(column)
    values = np.frombuffer(column.buffers()[1], column.type.to_pandas_dtype(), len(column) + column.offset)
    return rows, values[column.offset :][rows]


def _http_methods(batch: pa.RecordBatch, columns: Columns) -> Found:
    return _by_text(batch, columns, "http_method", _METHODS)


def _http_statuses(batch: pa.RecordBatch, columns: Columns) -> Found:
    rows, statuses = _values(batch.column("http_status"))
    sums = _sums(np.minimum(statuses // 100, 6), columns.packets[rows], 7)
    return {(f"{number}xx" if number < 6 else "other",): sums[number] for number in range(1, 7) if sums[number]}


def _ja4(batch: pa.RecordBatch, columns: Columns) -> Found:
    return _by_text(batch, columns, "ja4", None)


def _tls_versions(batch: pa.RecordBatch, columns: Columns) -> Found:
    # A cipher suite is what a ServerHello has and a ClientHello has not: a handshake counts once, by what was chosen.
    chosen = rows_with_value(batch.column("tls_cipher"))
    versions = filled(batch.column("tls_version"), 0)[chosen]
    packets = columns.packets[chosen]
    found: Found = {}
    for number in np.unique(versions).tolist():
        key = (_TLS_VERSIONS.get(number, UNKNOWN if number == 0 else "other"),)
        found[key] = found.get(key, 0) + int(packets[versions == number].sum())
    return found


def _flagged(name: str) -> Callable[[pa.RecordBatch, Columns], Found]:
    def count(batch: pa.RecordBatch, columns: Columns) -> Found:
        packets = int(columns.packets[true_rows(batch.column(name))].sum())
        return {(): packets} if packets else {}

    return count


_COUNTS: Final = (
    CountFamily("http_requests_total", "HTTP/1 requests by method.", ("method",), ("http_method",), _http_methods),
    CountFamily(
        "http_responses_total",
        "HTTP/1 responses by class of status.",
        ("status_class",),
        ("http_status",),
        _http_statuses,
    ),
    CountFamily(
        "tls_handshakes_total",
        "TLS handshakes by the version the server chose.",
        ("version",),
        ("tls_cipher", "tls_version"),
        _tls_versions,
    ),
    # Clients choose their fingerprint, so an outsider could make up any number: few have a series.
    CountFamily(
        "tls_client_hellos_total", "TLS and QUIC ClientHellos by JA4 fingerprint.", ("ja4",), ("ja4",), _ja4, 200
    ),
    CountFamily(
        "tcp_retransmits_total", "TCP segments sent again.", (), ("retransmission",), _flagged("retransmission")
    ),
    CountFamily(
        "tcp_out_of_order_total",
        "TCP segments that came before an earlier one.",
        (),
        ("out_of_order",),
        _flagged("out_of_order"),
    ),
    CountFamily(
        "tcp_zero_windows_total",
        "TCP packets by which a receiver says it can take no more.",
        (),
        ("zero_window",),
        _flagged("zero_window"),
    ),
)
_TIMES: Final = (
    TimeFamily("tcp_rtt_seconds", "Round-trip time of TCP, from a segment to its acknowledgement.", "tcp_rtt"),
    TimeFamily("tcp_handshake_seconds", "Time from a SYN to the end of the handshake.", "tcp_handshake"),
    TimeFamily("dns_latency_seconds", "Time from a DNS query to its answer.", "dns_latency"),
)

#: Names of the families that tell of troubles of TCP, and of the histograms, in the order the live page has them.
TROUBLES: Final = ("tcp_retransmits_total", "tcp_out_of_order_total", "tcp_zero_windows_total")
TIMES: Final = tuple(family.name for family in _TIMES)


def count_families(names: Iterable[str] = schema.BY_NAME) -> tuple[CountFamily, ...]:
    """Return the counters that a record with these columns has."""
    there = set(names)
    return tuple(family for family in _COUNTS if there.issuperset(family.columns))


def time_families(names: Iterable[str] = schema.BY_NAME) -> tuple[TimeFamily, ...]:
    """Return the histograms that a record with these columns has."""
    there = set(names)
    return tuple(family for family in _TIMES if family.column in there)


def count_times(batch: pa.RecordBatch, columns: Columns, name: str) -> list[int]:
    """Return packets by bucket of ``TIME_BUCKETS`` (and above), then the sum in nanoseconds."""
    rows, times = _values(batch.column(name))
    packets = columns.packets[rows]
    buckets = np.searchsorted(_BOUNDS, times, side="left")
    return [*_sums(buckets, packets, len(_BOUNDS) + 1), int((times.astype(np.int64) * packets).sum())]


def has_values(batch: pa.RecordBatch, name: str) -> bool:
    """Return whether any row of a batch has a value in a column."""
    column = batch.column(name)
    return bool(column.null_count < len(column))
