"""Dashboards about the traffic: Overview, Node."""

from __future__ import annotations

from typing import Final

from grafana.model import GREEN_IS_ZERO, Dashboard, Panel, Query, Row
from grafana.queries import CLUSTER, IN_CLUSTER, INTERFACE, ON_INTERFACE, ON_NODE, RATE, rate
from grafana.queries import NODE as NODES


def _bits(by: str, legend: str, top: int = 0) -> tuple[Query, ...]:
    return (Query(rate("bytes", ON_INTERFACE, by, times=8, top=top), legend),)


def _packets(by: str, legend: str, top: int = 0) -> tuple[Query, ...]:
    return (Query(rate("packets", ON_INTERFACE, by, top=top), legend),)


_SIZES: Final = Panel(
    "Packet sizes",
    "How many packets a second fall into each range of length on the wire. Lengths above the MTU are segments that the "
    "network card merged.",
    "decbytes",
    (Query(f"sum by (le) (rate(streamgauge_packet_size_bytes_bucket{{{ON_NODE}}}{RATE}))", "{{le}}"),),
    kind="heatmap",
)

_LOST: Final = Panel(
    "Packets lost",
    "Packets lost for good, by where and why. They are in no other figure. 0 unless something is wrong.",
    "short",
    (
        Query(
            f"sum by (node, stage, reason) (increase(streamgauge_ledger_lost_packets_total{{{ON_NODE}}}{RATE}))",
            "{{node}} {{stage}} {{reason}}",
        ),
    ),
)

OVERVIEW: Final = Dashboard(
    uid="streamgauge-overview",
    title="Overview",
    description="The cluster at a glance: how much, what, where, and whether anything was lost.",
    variables=(CLUSTER, NODES, INTERFACE),
    rows=(
        Row(
            "Now",
            (
                Panel(
                    "Throughput",
                    "Bits per second over all chosen nodes, as long as the packets were on the wire.",
                    "bps",
                    (Query(f"8 * sum(rate(streamgauge_bytes_total{{{ON_INTERFACE}}}{RATE}))", "throughput"),),
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Packets",
                    "Packets per second over all chosen nodes.",
                    "pps",
                    (Query(f"sum(rate(streamgauge_packets_total{{{ON_INTERFACE}}}{RATE}))", "packets"),),
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Lost",
                    "Packets lost for good in the time shown: dropped by the kernel, or given up by a collector.",
                    "short",
                    (Query(f"sum(increase(streamgauge_ledger_lost_packets_total{{{ON_NODE}}}[$__range]))", "lost"),),
                    kind="stat",
                    width=4,
                    thresholds=GREEN_IS_ZERO,
                    decimals=0,
                ),
                Panel(
                    "Nodes that report",
                    "Nodes whose collector sent a ledger record in the last minute.",
                    "short",
                    (Query(f"count(count by (node) (streamgauge_ledger_age_seconds{{{IN_CLUSTER}}} < 60))", "nodes"),),
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Oldest not stored",
                    "Age of the oldest summary that is not in the object storage. Around a minute is normal.",
                    "s",
                    (Query(f"streamgauge:oldest_unstored:seconds{{{IN_CLUSTER}}}", "age"),),
                    kind="stat",
                    width=4,
                    thresholds=((None, "green"), (180, "orange"), (600, "red")),
                ),
                Panel(
                    "DNS failures",
                    "Part of the DNS answers that are SERVFAIL, REFUSED, FORMERR or NOTIMP, over all nodes.",
                    "percentunit",
                    (Query(f"streamgauge:dns_failures:ratio5m{{{IN_CLUSTER}}}", "failures"),),
                    kind="stat",
                    width=4,
                    thresholds=((None, "green"), (0.01, "orange"), (0.05, "red")),
                ),
            ),
        ),
        Row(
            "How much",
            (
                Panel(
                    "Throughput by direction",
                    "Seen from the networks that count as inside (STREAMGAUGE_EXPORTER_INSIDE).",
                    "bps",
                    _bits("direction", "{{direction}}"),
                    stacked=True,
                ),
                Panel(
                    "Throughput by node",
                    "The ten busiest nodes.",
                    "bps",
                    _bits("node", "{{node}}", top=10),
                ),
                Panel(
                    "Packets by node",
                    "The ten busiest nodes, by packets.",
                    "pps",
                    _packets("node", "{{node}}", top=10),
                ),
                _LOST,
            ),
        ),
        Row(
            "What",
            (
                Panel(
                    "Throughput by application",
                    "Transport and application protocol; __unknown__ is an application the decoder does not recognise.",
                    "bps",
                    _bits("protocol, app", "{{protocol}} {{app}}", top=12),
                    stacked=True,
                ),
                _SIZES,
                Panel(
                    "Throughput by port",
                    "The service's port (the lower of both), the twelve busiest; ephemeral: neither end is a service.",
                    "bps",
                    (Query(rate("port_bytes", ON_NODE, "protocol, port", times=8, top=12), "{{port}}/{{protocol}}"),),
                    stacked=True,
                ),
                Panel(
                    "Flows that begin",
                    "Flows a second by protocol: TCP connections asked for, and conversations of other protocols, "
                    "which count once a minute.",
                    "cps",
                    (Query(rate("flows", ON_NODE, "protocol"), "{{protocol}}"),),
                ),
                Panel(
                    "HTTP requests by method",
                    "HTTP/1 requests per second that were not encrypted.",
                    "reqps",
                    (
                        Query(
                            f"sum by (method) (rate(streamgauge_http_requests_total{{{ON_NODE}}}{RATE}))",
                            "{{method}}",
                        ),
                    ),
                ),
                Panel(
                    "HTTP responses by status",
                    "HTTP/1 responses per second by class of status; 5xx are failures of the server.",
                    "reqps",
                    (
                        Query(
                            f"sum by (status_class) (rate(streamgauge_http_responses_total{{{ON_NODE}}}{RATE}))",
                            "{{status_class}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

NODE: Final = Dashboard(
    uid="streamgauge-node",
    title="Node",
    description="One node: its interfaces, what passes them, and how its capture does.",
    variables=(CLUSTER, NODES, INTERFACE),
    rows=(
        Row(
            "Traffic",
            (
                Panel(
                    "Throughput by interface",
                    "Bits per second, as long as the packets were on the wire.",
                    "bps",
                    _bits("node, interface", "{{node}} {{interface}}"),
                ),
                Panel(
                    "Packets by interface",
                    "Packets per second.",
                    "pps",
                    _packets("node, interface", "{{node}} {{interface}}"),
                ),
                Panel(
                    "Throughput by application",
                    "Transport and application protocol.",
                    "bps",
                    _bits("protocol, app", "{{protocol}} {{app}}"),
                    stacked=True,
                ),
                _SIZES,
            ),
        ),
        Row(
            "Capture",
            (
                Panel(
                    "Received, decoded, published",
                    "Packets per second at each step. They run together unless packets wait or are lost.",
                    "pps",
                    tuple(
                        Query(
                            f"sum(rate(streamgauge_ledger_{name}_packets_total{{{ON_INTERFACE}}}{RATE}))",
                            name,
                        )
                        for name in ("received", "decoded", "published")
                    ),
                ),
                _LOST,
                Panel(
                    "Decode status",
                    "Packets per second the decoder could not read whole: truncated by the snap length, malformed, or "
                    "of a protocol it does not read.",
                    "pps",
                    (
                        Query(
                            "sum by (decode_status) "
                            f'(rate(streamgauge_decode_status_packets_total{{{ON_NODE},decode_status!="ok"}}{RATE}))',
                            "{{decode_status}}",
                        ),
                    ),
                ),
                Panel(
                    "From capture to here",
                    "Age of a node's newest packet when its last batch was counted.",
                    "s",
                    (Query(f"streamgauge_batch_lag_seconds{{{ON_NODE}}}", "{{node}}"),),
                ),
            ),
        ),
    ),
)
