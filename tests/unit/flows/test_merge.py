"""What becomes of the columns of rows that are merged."""

from __future__ import annotations

import pytest

from streamgauge import schema
from streamgauge.decode import Decoder
from streamgauge.flows import FlowTable
from streamgauge.flows.merge import Merger
from streamgauge.flows.merge_rules import RULES
from streamgauge.rows import Rows
from tests.support.decoding import as_dictionaries, index_of
from tests.support.segments import ACK, MS, SYN, message, rows_of, segment

pytestmark = pytest.mark.timeout(300)

START = 1_764_079_200_000_000_000


def merged(*timed, window=1.0, table=None):
    """Return the merged rows of ``(ms, frame)`` as dictionaries."""
    rows, target = rows_of([(START + time * MS, frame) for time, frame in timed]), Rows(64)
    (FlowTable(16) if table is None else table).fill(rows, 0)
    Merger(window).merge(rows, 0, target)
    return as_dictionaries(target)


def test_every_rule_is_of_a_column():
    """A column that was renamed does not silently fall back to its first value."""
    assert RULES.keys() <= schema.BY_NAME.keys()


def test_directions_and_windows_stay_apart():
    """A row is one direction of a flow in one window."""
    rows = merged(
        (0, segment(ACK, 1, 1, b"ab", window=500)),
        (10, segment(ACK, 1, 3, back=True)),
        (20, segment(ACK | SYN, 3, 1, b"cd", window=300)),
        (1000, segment(ACK, 5, 1, b"ef")),
    )

    assert [(row["packets"], row["duration"], row["payload_bytes"]) for row in rows] == [
        (2, 20 * MS, 4),
        (1, 0, 0),
        (1, 0, 2),
    ]
    assert rows[0]["tcp_flags"] == ACK | SYN
    assert rows[0]["tcp_window"] == 300
    assert rows[0]["tcp_seq"] == 1


def test_the_least_round_trip_and_any_retransmission_stay():
    """A measurement stays one that was made; a truth stays one if it was once so."""
    rows = merged(
        (0, segment(ACK, 1, 1, b"ab")),
        (8, segment(ACK, 1, 3, back=True)),
        (10, segment(ACK, 3, 1, b"cd")),
        (13, segment(ACK, 1, 5, back=True)),
        (20, segment(ACK, 3, 1, b"cd")),
    )

    assert rows[0]["retransmission"]
    assert rows[1]["tcp_rtt"] == 3 * MS


def test_transactions_of_dns_stay_apart():
    """Queries from one port are rows of their own, each with its name; their reports are not merged."""
    table = FlowTable(16, dns_timeout=0.001)
    rows = merged((0, message(1)), (1, message(2)), table=table)

    assert [(row["dns_id"], row["packets"]) for row in rows] == [(1, 1), (2, 1)]


def test_only_a_row_of_one_packet_has_a_frame():
    """A frame stands for its packet; several packets have none."""
    data, index = index_of([segment(ACK, 1, 1), segment(ACK, 1, 1), segment(ACK, 1, 1, port=1001)])
    rows, target = Rows(3), Rows(3)
    Decoder(frame_bytes=100).decode(data, index, 0, 3, rows)
    Merger(1.0).merge(rows, 0, target)

    assert [(row["packets"], "frame" in row) for row in as_dictionaries(target)] == [(2, False), (1, True)]
