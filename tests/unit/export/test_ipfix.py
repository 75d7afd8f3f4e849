"""Rows become flows, flows become messages that a reader of its own takes apart."""

from __future__ import annotations

import doctest
import ipaddress
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.consumer import Batch
from streamgauge.export import ipfix
from streamgauge.export.flows import End, Flow, Flows
from streamgauge.export.ipfix import TEMPLATES, Exporter
from streamgauge.subjects import Envelope
from streamgauge.testing import batch_of

SECOND = 1_000_000_000
START = 1_764_079_200 * SECOND
UDP = {
    "src_ip": "10.0.0.1",
    "dst_ip": "10.0.0.2",
    "src_port": 4000,
    "dst_port": 53,
    "ip_protocol": 17,
    "eth_type": 2048,
}


def batch(rows: list[dict[str, Any]]) -> Batch:
    made = batch_of([{"time": START, "bytes": 60, **row} for row in rows])
    times = made.column("time").cast("int64").to_pylist()
    packets, size = sum(made.column("packets").to_pylist()), sum(made.column("bytes").to_pylist())
    envelope = Envelope("node-a", "b", 1, "eth0", "interface", len(rows), packets, size, min(times), max(times))
    return Batch(made, "udp", envelope)


def flows(**options: Any) -> Flows:
    return Flows(**{"active": 60, "inactive": 15, "limit": 1000, **options})


def at(seconds: float, **row: Any) -> dict[str, Any]:
    return {**UDP, "time": START + int(seconds * SECOND), **row}


def read(messages: list[bytes]) -> list[dict[str, int | bytes | str]]:
    """Take messages apart by what their own templates say."""
    templates: dict[int, list[tuple[int, int]]] = {}
    records: list[dict[Any, Any]] = []
    for message in messages:
        version, length, _, sequence, domain = struct.unpack_from("!HHIII", message)
        assert (version, length) == (10, len(message))
        assert sequence == len(records)
        at = 16
        while at < length:
            kind, size = struct.unpack_from("!HH", message, at)
            content, at = message[at + 4 : at + size], at + size
            if kind == 2:
                position = 0
                while position < len(content):
                    number, count = struct.unpack_from("!HH", content, position)
                    fields = struct.unpack_from(f"!{2 * count}H", content, position + 4)
                    templates[number] = list(zip(fields[::2], fields[1::2], strict=True))
                    position += 4 + 4 * count
                continue
            width = sum(size for _, size in templates[kind])
            for start in range(0, len(content) - width + 1, width):
                first = start
                record: dict[Any, Any] = {"domain": domain}
                for element, size in templates[kind]:
                    record[element] = content[first : first + size]
                    first += size
                    if size < 16 and element not in (8, 12):
                        record[element] = int.from_bytes(record[element])
                    else:
                        record[element] = str(ipaddress.ip_address(record[element]))
                records.append(record)
    return records


def test_rows_of_a_flow_are_one_record() -> None:
    """Packets and bytes are summed, flags gathered, times are the ends; the link header is no octet of IP."""
    open_flows = flows()
    tcp = {"ip_protocol": 6, "dst_port": 443}
    rows = [at(0, **tcp, tcp_flags=2), at(1, **tcp, packets=3, bytes=300, duration=SECOND, tcp_flags=16)]
    assert list(open_flows.take(batch(rows))) == []
    (record,) = read(list(Exporter(9, template_interval=60).messages(open_flows.flush(End.FORCED), 1.0)))

    assert (record[8], record[12], record[7], record[11], record[4]) == ("10.0.0.1", "10.0.0.2", 4000, 443, 6)
    assert (record[2], record[1], record[352], record[6]) == (4, 360 - 4 * 14, 360, 18)
    assert (record[152], record[153]) == (START // 10**6, START // 10**6 + 2000)
    assert (record[136], record["domain"]) == (End.FORCED, 9)


def test_what_is_not_common_is_another_flow() -> None:
    """Direction, port, protocol, DSCP, VLAN."""
    other = [
        {"src_ip": "10.0.0.2", "dst_ip": "10.0.0.1"},
        {"src_port": 1},
        {"ip_protocol": 6},
        {"dscp": 46},
        {"vlan": 7},
    ]
    open_flows = flows()
    list(open_flows.take(batch([at(0), *(at(0, **one) for one in other)])))

    assert len(open_flows) == 6
    records = read(list(Exporter(1, template_interval=60).messages(open_flows.flush(End.FORCED), 1.0)))
    assert sorted((record[5], record[58], record[1]) for record in records)[-2:] == [(0, 7, 60 - 18), (184, 0, 46)]


def test_ipv6_icmp_and_what_is_no_flow() -> None:
    """Type and code are where NetFlow has them and where IPFIX has them; ARP is counted."""
    six = {"src_ip": "2001:db8::1", "dst_ip": "2001:db8::2", "ip_protocol": 58, "icmp_type": 128, "icmp_code": 1}
    open_flows = flows()
    list(open_flows.take(batch([six, {"arp_opcode": 1}])))
    (record,) = read(list(Exporter(1, template_interval=60).messages(open_flows.flush(End.FORCED), 1.0)))

    assert (record[27], record[28], record[139], record[11]) == ("2001:db8::1", "2001:db8::2", 0x8001, 0x8001)
    assert open_flows.not_ip == 1


def test_timeouts_go_by_capture_time() -> None:
    """A pause ends a flow, a long flow is told in parts; of whatever speed the replay is."""
    open_flows = flows(active=60, inactive=15)
    ended: list[tuple[Flow, End]] = []
    for seconds in (0, 14, 28, 42, 56, 60.5, 80):
        ended += open_flows.take(batch([at(seconds)]))

    assert [(flow.packets, reason) for flow, reason in ended] == [(5, End.ACTIVE), (1, End.IDLE)]
    assert len(open_flows) == 1


def test_flows_of_others_end_while_a_node_goes_on() -> None:
    """The clock is the node's, not the flow's."""
    open_flows = flows()
    list(open_flows.take(batch([at(0, src_port=1)])))

    assert [reason for _, reason in open_flows.take(batch([at(15, src_port=2)]))] == [End.IDLE]


def test_memory_is_bounded() -> None:
    """Past the limit all are exported, with the reason."""
    open_flows = flows(limit=3)
    ended = list(open_flows.take(batch([at(0, src_port=port) for port in range(1, 5)])))

    assert [reason for _, reason in ended] == [End.NO_RESOURCES] * 3
    assert len(open_flows) == 1


def test_templates_come_first_and_again() -> None:
    """And the sequence counts records, not messages."""
    exporter = Exporter(1, template_interval=60)
    flow = Flow((4, bytes(16), bytes(16), 1, 2, 17, None, 0, None), 1, 46, 60, 0, 0, 0)
    first, second = (list(exporter.messages([(flow, End.IDLE)] * 30, now)) for now in (0.0, 59.0))
    third = list(exporter.messages([(flow, End.IDLE)], 60.0))

    assert [struct.unpack_from("!H", message, 16)[0] for message in [*first, *second, *third]] == [
        2,
        256,
        256,
        256,
        256,
        2,
        256,
    ]
    assert len(read([*first, *second, *third])) == exporter.sequence == 61
    assert max(map(len, first)) <= ipfix.LARGEST


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 4), st.integers(1, 9), st.integers(60, 1500)), max_size=80)
)
def test_totals_are_exact(packets: list[tuple[int, int, int, int]]) -> None:
    """Whatever timeouts and limits do, nothing is lost and nothing is told twice."""
    open_flows = flows(active=30, inactive=7, limit=5)
    ended: list[tuple[Flow, End]] = []
    for seconds, port, count, size in sorted(packets):
        ended += open_flows.take(batch([at(seconds, src_port=port, packets=count, bytes=size)]))
    ended += open_flows.flush(End.FORCED)

    assert sum(flow.packets for flow, _ in ended) == sum(count for _, _, count, _ in packets)
    assert sum(flow.wire for flow, _ in ended) == sum(size for *_, size in packets)
    assert all(flow.last - flow.first < 30 * SECOND for flow, _ in ended)


@pytest.mark.parametrize("version", list(TEMPLATES))
def test_templates_and_records_are_of_one_length(version: int) -> None:
    """Else every reader is off by some bytes."""
    _, elements = TEMPLATES[version]

    assert sum(element.length for element in elements) == ipfix._RECORDS[version].size


def test_examples_are_true() -> None:
    """In the source."""
    assert doctest.testmod(ipfix) == (0, 1)
