"""Lines for the eye."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from streamgauge.cli import table
from tests.support.rows import any_batch, batch_from

ENDS = {"ip_version": 4, "src_ip": "10.0.0.1", "dst_ip": "10.0.0.2"}
TCP = {**ENDS, "ip_protocol": 6, "src_port": 4000, "dst_port": 80, "tcp_seq": 7, "tcp_ack": 9, "tcp_window": 512}


def line(**row: Any) -> str:
    """Return the line of one row from its protocol on."""
    (text,) = table.Summary(header=False).lines(batch_from([{"bytes": 60, **row}]))
    return " ".join(text[62:].split())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**TCP, "tcp_flags": 0x02}, "tcp 60 [S] seq 7 win 512 len 0"),
        ({**TCP, "tcp_flags": 0x12}, "tcp 60 [SA] seq 7 ack 9 win 512 len 0"),
        ({**TCP, "tcp_flags": 0x11}, "tcp 60 [FA] seq 7 ack 9 win 512 len 0"),
        ({**TCP, "tcp_flags": 0xFF}, "tcp 60 [SFRPAUEC] seq 7 ack 9 win 512 len 0"),
        ({**TCP, "app": "tls", "tls_sni": "a.b", "tcp_flags": 24}, "tls 60 client hello a.b"),
        ({**TCP, "app": "http", "http_method": "GET", "http_host": "h", "http_path": "/p"}, "http 60 GET h/p"),
        ({**TCP, "app": "http", "http_status": 404}, "http 60 status 404"),
        (
            {**ENDS, "app": "dns", "dns_id": 255, "dns_response": True, "dns_name": "", "dns_type": 28, "dns_rcode": 3},
            "dns 60 response 0x00ff AAAA . NXDOMAIN",
        ),
        (
            {**ENDS, "app": "dns", "dns_id": 1, "dns_response": False, "dns_name": "x", "dns_type": 999},
            "dns 60 query 0x0001 999 x",
        ),
        ({**ENDS, "ip_protocol": 1, "icmp_type": 8, "icmp_code": 0}, "icmp 60 echo request"),
        ({**ENDS, "ip_protocol": 1, "icmp_type": 3, "icmp_code": 1}, "icmp 60 unreachable code 1"),
        ({**ENDS, "ip_protocol": 1, "icmp_type": 77, "icmp_code": 0}, "icmp 60 type 77"),
        ({**ENDS, "ip_protocol": 17, "fragment": True}, "udp 60 fragment"),
        ({**ENDS, "ip_protocol": 200}, "ip/200 60"),
        ({"eth_type": 0x88CC}, "lldp 60"),
        ({"eth_type": 0x1234}, "0x1234 60"),
        ({}, "- 60"),
        ({"decode_status": "unsupported"}, "- 60 [unsupported]"),
        ({**ENDS, "ip_protocol": 17, "src_port": 1, "dst_port": 2, "packets": 5}, "udp 60 len 0 (5 packets)"),
    ],
)
def test_line_tells_what_a_packet_is_about(row: dict[str, Any], words: str) -> None:
    """The most telling layer decides; damage is named."""
    assert line(**row) == words


def test_columns_widen_and_never_narrow() -> None:
    """The lines of one output stay below each other as far as they can."""
    summary = table.Summary(header=False)
    long = {"ip_version": 6, "src_ip": "2001:db8:1111:2222:3333:4444:5555:6666", "dst_ip": "::1"}
    first, second = (next(iter(summary.lines(batch_from([row])))) for row in ({**long}, {**ENDS}))

    assert first.index(" > ") == second.index(" > ") == 16 + len(long["src_ip"])


def test_time_of_day_has_microseconds() -> None:
    """As tcpdump writes it, in UTC."""
    (text,) = table.Summary(header=False).lines(batch_from([{"time": 1_764_079_200_000_001_999}]))

    assert text.startswith("14:00:00.000001 ")


@given(any_batch)
def test_any_row_is_one_line(batch: Any) -> None:
    """Whatever is in a row, it neither fails nor steers the terminal."""
    for layout in (table.Summary(header=False), table.Columns(("http_path", "src_ip", "frame", "time"))):
        lines = list(layout.lines(batch))
        assert len(lines) == len(batch) + isinstance(layout, table.Columns)
        assert all(text.endswith("\n") and text[:-1].isprintable() for text in lines)
