"""Every family of the exporter counted another way: Arrow's own kernels over the rows that ``decode`` gives.

Nothing of services/exporter/ is used but the words that stand in labels. What needs the order of packets (flows,
connection attempts) is counted by the slow, obvious twins below.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter, OrderedDict

import pyarrow as pa
import pyarrow.compute as pc

from services.exporter import optional, words
from streamgauge.text import address_text

PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6", 132: "sctp"}
SECOND = 10**9
_DOMAIN = re.compile(
    r"([^.]+\.(?:svc|pod)\.cluster\.local|[^.]+\.(?:ac|co|com|edu|gob|gov|ne|net|or|org)\.[a-z]{2}"
    r"|[^.]+\.(?:in-addr|ip6)\.arpa|[^.]+\.[^.]+|[^.]*)$"
)


def count_families(batches, inside, node):
    """Return ``{family: {labels without node: value}}``; a histogram's values are lists, buckets and then the sum."""
    table = pa.Table.from_batches([batch.replace_schema_metadata(None) for batch in batches]).combine_chunks()
    networks = [ipaddress.ip_network(name) for name in inside]
    table = table.append_column("protocol", _protocols(table)).append_column("direction", _directions(table, networks))
    app = pc.fill_null(table.column("app").cast(pa.string()), "unknown")
    table = table.append_column("app_label", pc.if_else(pc.equal(app, "unknown"), words.UNKNOWN, app))
    flows, unanswered = count_flows(table)
    return {
        **_traffic(table),
        "decode_status_packets_total": _by(table, ["decode_status"]),
        "tcp_flags_total": _flags(table),
        **_dns(table),
        "packet_size_bytes": {(): _sizes(table)},
        "tcp_resets_total": _by(_where(table, pc.bit_wise_and(table.column("tcp_flags"), 4)), ["direction"]),
        "flows_total": flows,
        "connection_attempts_unanswered_total": unanswered,
        **_ports(table),
        **_talkers(table),
        **_web(table),
        **{
            f"tcp_{name}_total": {(): _sum(table, table.column(column))}
            for name, column in (
                ("retransmits", "retransmission"),
                ("out_of_order", "out_of_order"),
                ("zero_windows", "zero_window"),
            )
        },
        **{f"{column}_seconds": {(): _times(table, column)} for column in ("tcp_rtt", "tcp_handshake", "dns_latency")},
    }


def _sum(table, chosen):
    return pc.sum(table.column("packets").filter(pc.fill_null(chosen, False))).as_py() or 0


def _where(table, number):
    return table.filter(pc.fill_null(pc.greater(number, 0), False))


def _by(table, names, measure="packets", how="sum"):
    grouped = table.group_by(names).aggregate([(measure, how)])
    keys = zip(*(grouped.column(name).to_pylist() for name in names), strict=True)
    return dict(zip(keys, grouped.column(f"{measure}_{how}").to_pylist(), strict=True))


def _renamed(counts, rename):
    found = Counter()
    for key, value in counts.items():
        found[rename(*key)] += value
    return dict(found)


def _protocols(table):
    numbers = table.column("ip_protocol")
    label = pc.if_else(pc.equal(pc.fill_null(table.column("eth_type"), 0), 0x0806), "arp", "other")
    known = pa.scalar("other")
    for number, name in PROTOCOLS.items():
        known = pc.if_else(pc.equal(pc.fill_null(numbers, 255), number), name, known)
    return pc.if_else(pc.is_valid(table.column("ip_version")), known, label)


def _directions(table, networks):
    ends = []
    for name in ("src_ip", "dst_ip"):
        encoded = table.column(name).cast(pa.binary()).combine_chunks().dictionary_encode()
        inside = [_is_inside(packed, networks) for packed in encoded.dictionary.to_pylist()]
        ends.append(pa.array(inside, pa.bool_()).take(encoded.indices))
    source, destination = ends
    words_ = pc.if_else(
        source,
        pc.if_else(destination, "internal", "egress"),
        pc.if_else(destination, "ingress", "transit"),
    )
    return pc.fill_null(words_, words.UNKNOWN)


def _is_inside(packed, networks):
    address = ipaddress.ip_address(address_text(packed))
    return any(address in network for network in networks if network.version == address.version)


def _traffic(table):
    labels = ["protocol", "app_label", "direction"]
    return {f"{name}_total": _by(table, labels, measure=name) for name in ("packets", "bytes")}


def _flags(table):
    flags = pc.fill_null(table.column("tcp_flags"), 0)
    both = pc.equal(pc.bit_wise_and(flags, 0x12), 0x12)
    found = {("SYN-ACK",): _sum(table, both)}
    for bit, name in enumerate(words.FLAGS[:8]):
        chosen = pc.greater(pc.bit_wise_and(flags, 1 << bit), 0)
        found[(name,)] = _sum(table, pc.and_not(chosen, both) if name == "SYN" else chosen)
    return found


def _dns(table):
    qtypes, rcodes = words.qtype_positions(), words.rcode_positions()

    def qtype(number):
        return words.QTYPES[qtypes[number or 0]]

    def rcode(number):
        return words.RCODES[rcodes[words.NO_RCODE if number is None else number]]

    response = table.column("dns_response")
    queries, responses = table.filter(pc.equal(response, False)), table.filter(pc.equal(response, True))
    silent = table.filter(table.column("dns_unanswered"))
    by_code = _by(responses, ["dns_type", "dns_rcode"])
    return {
        "dns_queries_total": _renamed(_by(queries, ["dns_type"]), lambda kind: (qtype(kind),)),
        "dns_responses_total": _renamed(by_code, lambda kind, code: (qtype(kind), rcode(code))),
        "dns_unanswered_total": _renamed(_by(silent, ["dns_type"], "time", "count"), lambda kind: (qtype(kind),)),
        "dns_domain_queries_total": _domains(queries),
        "dns_domain_failures_total": _domains(
            responses.filter(pc.fill_null(pc.not_equal(responses.column("dns_rcode"), 0), True))
        ),
    }


def _domains(table):
    named = table.filter(pc.is_valid(table.column("dns_name")))
    return _renamed(_by(named, ["dns_name"]), lambda name: (_DOMAIN.search(name)[1] or ".",))


def _sizes(table):
    packets = table.filter(pc.greater(table.column("packets"), 0))
    sizes = pc.divide(packets.column("bytes"), packets.column("packets").cast(pa.int64()))
    buckets, below = [], -1
    for bound in (*words.SIZE_BUCKETS, 1 << 62):
        buckets.append(_sum(packets, pc.and_(pc.greater(sizes, below), pc.less_equal(sizes, bound))))
        below = bound
    return [*buckets, pc.sum(table.column("bytes")).as_py() or 0]


def _times(table, name):
    measured = table.filter(pc.is_valid(table.column(name)))
    times = measured.column(name)
    buckets, below = [], -1
    for bound in (*(round(bound * SECOND) for bound in optional.TIME_BUCKETS), 1 << 62):
        buckets.append(_sum(measured, pc.and_(pc.greater(times, below), pc.less_equal(times, bound))))
        below = bound
    weighted = pc.multiply(times, measured.column("packets").cast(pa.int64()))
    return [*buckets, pc.sum(weighted).as_py() or 0]


def _ports(table):
    lower = pc.min_element_wise(table.column("src_port"), table.column("dst_port"), skip_nulls=False)
    with_port = table.append_column("port", lower).filter(pc.and_(pc.greater(lower, 0), pc.is_valid(lower)))
    with_port = with_port.filter(pc.is_in(with_port.column("protocol"), pa.array(["tcp", "udp", "sctp"])))

    def name(protocol, port):
        return protocol, str(port) if port < 32768 else "ephemeral"

    return {
        f"port_{measure}_total": _renamed(_by(with_port, ["protocol", "port"], measure), name)
        for measure in ("packets", "bytes")
    }


def _talkers(table):
    pairs = table.filter(pc.is_valid(table.column("ip_version")))
    pairs = pairs.set_column(pairs.schema.get_field_index("src_ip"), "src_ip", pairs.column("src_ip").cast(pa.binary()))
    pairs = pairs.set_column(pairs.schema.get_field_index("dst_ip"), "dst_ip", pairs.column("dst_ip").cast(pa.binary()))

    def name(source, destination):
        return address_text(source), address_text(destination)

    return {
        f"talker_{measure}_total": _renamed(_by(pairs, ["src_ip", "dst_ip"], measure), name)
        for measure in ("packets", "bytes")
    }


def _web(table):
    known = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
    versions = {768: "SSL 3.0", 769: "TLS 1.0", 770: "TLS 1.1", 771: "TLS 1.2", 772: "TLS 1.3", None: words.UNKNOWN}
    requests = table.filter(pc.is_valid(table.column("http_method")))
    responses = table.filter(pc.is_valid(table.column("http_status")))
    hellos = table.filter(pc.is_valid(table.column("tls_cipher")))

    def method(name):
        return (name if name in known else "other",)

    def status(number):
        return (f"{number // 100}xx" if 1 <= number // 100 <= 5 else "other",)

    by_status = _by(responses.filter(pc.greater_equal(responses.column("http_status"), 100)), ["http_status"])
    return {
        "tls_client_hellos_total": _by(table.filter(pc.is_valid(table.column("ja4"))), ["ja4"]),
        "http_requests_total": _renamed(_by(requests, ["http_method"]), method),
        "http_responses_total": _renamed(by_status, status),
        "tls_handshakes_total": _renamed(
            _by(hellos, ["tls_version"]), lambda number: (versions.get(number or None, "other"),)
        ),
    }


def count_flows(table):
    """Return flows by (protocol, direction) and unanswered attempts by direction, packet by packet."""
    names = ["packets", "ip_version", "ip_protocol", "src_ip", "dst_ip", "src_port", "dst_port", "tcp_flags"]
    columns = [table.column(name).to_pylist() for name in (*names, "protocol", "direction")]
    times = table.column("time").cast(pa.int64()).to_pylist()
    flows, unanswered = Counter(), Counter()
    seen, waiting = set(), OrderedDict()
    for time, packets, version, number, *ends, flags, protocol, direction in zip(times, *columns, strict=True):
        if version is None or packets == 0:
            continue
        source, destination = (ends[0], ends[2] or 0), (ends[1], ends[3] or 0)
        if number != 6:
            key = (time // (60 * SECOND), number, *sorted((source, destination)))
            if key not in seen:
                seen.add(key)
                flows[protocol, direction] += 1
        elif flags:
            while waiting:
                key, (began, answered, where) = next(iter(waiting.items()))
                if abs(time - began) <= 10 * SECOND:
                    break
                waiting.popitem(last=False)
                if not answered:
                    unanswered[(where,)] += 1
            if flags & 0x12 == 0x02:
                if (source, destination) not in waiting:
                    waiting[source, destination] = (time, False, direction)
                    flows[protocol, direction] += 1
            elif flags & 0x06 and (destination, source) in waiting:
                began, _, where = waiting[destination, source]
                waiting[destination, source] = (began, True, where)
    return dict(flows), dict(unanswered)
