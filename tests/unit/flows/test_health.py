"""Health columns of connections and queries a reader can follow by hand."""

from __future__ import annotations

import pytest

from streamgauge.flows import FlowTable
from streamgauge.rows import Rows
from tests.support.decoding import as_dictionaries
from tests.support.segments import ACK, FIN, MS, RST, SYN, message, rows_of, segment, tracked, unanswered

pytestmark = pytest.mark.timeout(300)

START = 1_764_079_200_000_000_000


def health(*timed, **options):
    """Return of each row what the flow table found, falsehoods left out; times are in ms."""
    rows, _ = tracked([(START + int(time * MS), frame) for time, frame in timed], **options)
    names = ("tcp_rtt", "tcp_handshake", "retransmission", "out_of_order", "zero_window", "dns_latency")
    return [{name: row[name] for name in names if row.get(name)} for row in rows]


HANDSHAKE = (
    (0, segment(SYN, 100)),
    (10, segment(SYN | ACK, 500, 101, back=True)),
    (14, segment(ACK, 101, 501)),
)


def test_handshake_is_measured_on_the_packet_that_completes_it():
    """SYN to SYN/ACK and SYN/ACK to ACK are round trips; the whole is the handshake."""
    assert health(*HANDSHAKE) == [{}, {"tcp_rtt": 10 * MS}, {"tcp_rtt": 4 * MS, "tcp_handshake": 14 * MS}]


def test_handshake_counts_from_the_first_syn_but_karns_rule_measures_no_repeated_one():
    """A SYN that was sent twice gives no round trip time; the user waited from the first."""
    found = health(
        (0, segment(SYN, 100)),
        (1000, segment(SYN, 100)),
        (1010, segment(SYN | ACK, 500, 101, back=True)),
        (1012, segment(ACK, 101, 501)),
    )

    assert found == [{}, {"retransmission": True}, {}, {"tcp_rtt": 2 * MS, "tcp_handshake": 1012 * MS}]


def test_data_is_timed_until_its_acknowledgement():
    """A cumulative acknowledgement measures the segment that is timed; one that stops before it does not."""
    found = health(
        *HANDSHAKE,
        (20, segment(ACK, 101, 501, b"0123456789")),
        (21, segment(ACK, 111, 501, b"0123456789")),
        (25, segment(ACK, 501, 105, back=True)),
        (30, segment(ACK, 501, 121, back=True)),
    )

    assert found[3:] == [{}, {}, {}, {"tcp_rtt": 10 * MS}]


def test_a_syn_with_number_zero_is_no_repetition_of_one_never_seen():
    """A connection seen from its middle has no first SYN, whatever its sequence numbers are."""
    assert health((0, segment(ACK, 0, 0, b"x", back=True)), (0, segment(SYN, 0, back=True))) == [{}, {}]


def test_retransmission_is_not_timed():
    """What was sent again is marked, and its acknowledgement measures nothing."""
    found = health(
        *HANDSHAKE,
        (20, segment(ACK, 101, 501, b"0123456789")),
        (220, segment(ACK, 101, 501, b"0123456789")),
        (230, segment(ACK, 501, 111, back=True)),
    )

    assert found[3:] == [{}, {"retransmission": True}, {}]


def test_late_segment_is_out_of_order_within_a_round_trip_and_a_retransmission_after():
    """A segment that fills a gap is late if the gap is young, else it was lost on the way here and sent again."""
    skipped = [(20, segment(ACK, 111, 501, b"0123456789")), (21, segment(ACK, 121, 501, b"0123456789"))]
    filling = segment(ACK, 101, 501, b"0123456789")

    assert health(*HANDSHAKE, *skipped, (33, filling))[-1] == {"out_of_order": True}
    assert health(*HANDSHAKE, *skipped, (35, filling))[-1] == {"retransmission": True}
    assert health(*HANDSHAKE, *skipped, (22, filling), (23, filling))[-1] == {"retransmission": True}


def test_numbers_wrap():
    """Sequence numbers go on behind 2^32 - 1 with 0."""
    found = health(
        (0, segment(ACK, 2**32 - 4, 1, b"01234567")),
        (1, segment(ACK, 4, 1, b"0123")),
        (2, segment(ACK, 1, 8, back=True)),
        (3, segment(ACK, 2**32 - 4, 1, b"01234567")),
    )

    assert found == [{}, {}, {"tcp_rtt": 2 * MS}, {"retransmission": True}]


def test_keep_alive_and_reset_are_no_retransmissions():
    """A keep-alive repeats one octet by design; a reset carries no stream."""
    found = health(
        *HANDSHAKE,
        (20, segment(ACK, 101, 501, b"0123456789")),
        (9000, segment(ACK, 110, 501, b"9")),
        (9001, segment(RST | ACK, 101, 501)),
    )

    assert found[3:] == [{}, {}, {}]


def test_zero_window_is_what_a_receiver_says_not_a_reset():
    """Resets and the ends of a connection have a window of zero for no reason."""
    found = health(
        (0, segment(ACK, 1, 1, window=0)), (1, segment(RST, 1, window=0)), (2, segment(FIN | ACK, 1, 1, window=0))
    )

    assert found == [{"zero_window": True}, {}, {}]


def test_ports_used_again_are_a_new_connection():
    """A SYN with another initial sequence number forgets what was known under the same ports."""
    found = health(*HANDSHAKE, (60_000, segment(SYN, 50)), (60_001, segment(SYN | ACK, 40, 51, back=True)))

    assert found[3:] == [{}, {"tcp_rtt": 1 * MS}]


def test_rows_without_tcp_have_no_health():
    """Retransmission, order and window are null where there is no TCP."""
    rows, _ = tracked([(START, message(1))])

    assert not {"retransmission", "out_of_order", "zero_window", "tcp_rtt"} & rows[0].keys()


def test_connections_are_bounded_and_evictions_counted():
    """A full table forgets a connection that was not used of late; one in use keeps its place."""
    table = FlowTable(4)
    for number in range(40):
        steady = segment(ACK, 10 * number, 1, b"0123456789")
        tracked([(START + number, steady), (START + number, segment(ACK, 5, 1, b"0", port=2000 + number))], table=table)
    again, _ = tracked([(START + 50, segment(ACK, 390, 1, b"0123456789"))], table=table)

    assert table.connections == 4
    assert table.evicted in (37, 38)  # the hand's first round finds all of them in use, and takes any
    assert again[0]["retransmission"]


def test_latency_of_a_response():
    """A response measures from the first of the same queries; a second response answers nothing."""
    found = health((0, message(7)), (3, message(7)), (8, message(7, response=True)), (9, message(7, response=True)))

    assert found == [{}, {}, {"dns_latency": 8 * MS}, {}]


def test_query_without_response_is_reported_once_when_its_time_is_over():
    """The report stands for no packet, names the query, and carries the time at which it was given up."""
    table = FlowTable(4, dns_timeout=1.0)
    tracked([(START, message(7)), (START, message(8)), (START + 5, message(8, response=True))], table=table)

    assert unanswered(table) == []
    table.advance(START + 1000 * MS)
    [row] = unanswered(table)
    assert {
        "packets": 0,
        "bytes": 0,
        "dns_id": 7,
        "dns_name": b"www.example",
        "dns_unanswered": True,
    }.items() <= row.items()
    assert row["time"] == START + 1000 * MS
    assert unanswered(table) == []
    late, _ = tracked([(START + 1001 * MS, message(7, response=True))], table=table)
    assert "dns_latency" not in late[0]


def test_reports_wait_for_room():
    """A full block takes no report; the next one does, and none is lost."""
    table = FlowTable(4, dns_timeout=1.0)
    table.fill(rows_of([(START + number, message(number)) for number in range(3)]), 0)
    table.advance(START + 2000 * MS)
    block, numbers = Rows(2), []
    while table.report(block):
        numbers.append([row["dns_id"] for row in as_dictionaries(block)])
        block.clear()

    assert numbers == [[0, 1], [2]]


def test_queries_are_bounded_and_evictions_counted():
    """Past the bound the oldest query is given up without a report, which is counted."""
    table = FlowTable(4, queries=4, dns_timeout=1.0)
    table.fill(rows_of([(START + number, message(number)) for number in range(7)]), 0)
    table.advance(START + 2000 * MS)

    assert [row["dns_id"] for row in unanswered(table)] == [3, 4, 5, 6]
    assert table.queries_evicted == 3


def test_a_growing_directory_forgets_nothing():
    """Connections are found again after the directory that names them was replaced by a larger one."""
    table = FlowTable(1 << 16)
    frames = [(START, segment(ACK, 1, 1, b"0", port=1 + number)) for number in range(300)]
    for at in range(0, 300, 10):
        tracked(frames[at : at + 10], table=table)
    table.fill(rows_of(frames * 40), 0)
    again, _ = tracked([(START, segment(ACK, 1, 1, b"01", port=1 + number)) for number in range(300)], table=table)

    assert table.connections == 300
    assert all(row["retransmission"] for row in again)
