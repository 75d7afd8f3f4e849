"""Dashboards about the traffic: Overview, TCP, DNS, Node."""

from __future__ import annotations

from typing import Final

from grafana.model import GREEN_IS_ZERO, Dashboard, Panel, Query, Row

_NODE: Final = ("node", "Node", "streamgauge_packets_total")
_INTERFACE: Final = ("interface", "Interface", "streamgauge_packets_total")

#: Series of the traffic families behind the choices above the panels.
_CHOSEN: Final = 'node=~"$node",interface=~"$interface"'
_ON_NODE: Final = 'node=~"$node"'
_RATE: Final = "[$__rate_interval]"


def _traffic(metric: str, by: str, *, times: int = 1, top: int = 0) -> str:
    """Return the rate of packets or bytes by labels, the busiest ``top`` of them."""
    factor = f"{times} * " if times != 1 else ""
    expression = f"{factor}sum by ({by}) (rate(streamgauge_{metric}_total{{{_CHOSEN}}}{_RATE}))"
    return f"topk({top}, {expression})" if top else expression


def _bits(by: str, legend: str, top: int = 0) -> tuple[Query, ...]:
    return (Query(_traffic("bytes", by, times=8, top=top), legend),)


def _packets(by: str, legend: str, top: int = 0) -> tuple[Query, ...]:
    return (Query(_traffic("packets", by, top=top), legend),)


def _flag(name: str) -> str:
    return f'sum(rate(streamgauge_tcp_flags_total{{{_ON_NODE},flag="{name}"}}{_RATE}))'


_SIZES: Final = Panel(
    "Packet sizes",
    "How many packets a second fall into each range of length on the wire. Lengths above the MTU are segments that the "
    "network card merged.",
    "decbytes",
    (Query(f"sum by (le) (rate(streamgauge_packet_size_bytes_bucket{{{_ON_NODE}}}{_RATE}))", "{{le}}"),),
    kind="heatmap",
)

_LOST: Final = Panel(
    "Packets lost",
    "Packets lost for good, by where and why. They are in no other figure. 0 unless something is wrong.",
    "short",
    (
        Query(
            f"sum by (node, stage, reason) (increase(streamgauge_ledger_lost_packets_total{{{_ON_NODE}}}{_RATE}))",
            "{{node}} {{stage}} {{reason}}",
        ),
    ),
)

OVERVIEW: Final = Dashboard(
    uid="streamgauge-overview",
    title="Overview",
    description="The cluster at a glance: how much, what, where, and whether anything was lost.",
    variables=(_NODE, _INTERFACE),
    rows=(
        Row(
            "Now",
            (
                Panel(
                    "Throughput",
                    "Bits per second over all chosen nodes, as long as the packets were on the wire.",
                    "bps",
                    (Query(f"8 * sum(rate(streamgauge_bytes_total{{{_CHOSEN}}}{_RATE}))", "throughput"),),
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Packets",
                    "Packets per second over all chosen nodes.",
                    "pps",
                    (Query(f"sum(rate(streamgauge_packets_total{{{_CHOSEN}}}{_RATE}))", "packets"),),
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Lost",
                    "Packets lost for good in the time shown: dropped by the kernel, or given up by a collector.",
                    "short",
                    (Query(f"sum(increase(streamgauge_ledger_lost_packets_total{{{_ON_NODE}}}[$__range]))", "lost"),),
                    kind="stat",
                    width=4,
                    thresholds=GREEN_IS_ZERO,
                    decimals=0,
                ),
                Panel(
                    "Nodes that report",
                    "Nodes whose collector sent a ledger record in the last minute.",
                    "short",
                    (Query("count(count by (node) (streamgauge_ledger_age_seconds < 60))", "nodes"),),
                    kind="stat",
                    width=4,
                ),
                Panel(
                    "Oldest not stored",
                    "Age of the oldest summary that is not in the object storage. Around a minute is normal.",
                    "s",
                    (Query("streamgauge:oldest_unstored:seconds", "age"),),
                    kind="stat",
                    width=4,
                    thresholds=((None, "green"), (180, "orange"), (600, "red")),
                ),
                Panel(
                    "DNS failures",
                    "Part of the DNS answers that are SERVFAIL, REFUSED, FORMERR or NOTIMP, over all nodes.",
                    "percentunit",
                    (Query("streamgauge:dns_failures:ratio5m", "failures"),),
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
                    "HTTP requests by method",
                    "HTTP/1 requests per second that were not encrypted.",
                    "reqps",
                    (
                        Query(
                            f"sum by (method) (rate(streamgauge_http_requests_total{{{_ON_NODE}}}{_RATE}))",
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
                            f"sum by (status_class) (rate(streamgauge_http_responses_total{{{_ON_NODE}}}{_RATE}))",
                            "{{status_class}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)

TCP: Final = Dashboard(
    uid="streamgauge-tcp",
    title="TCP",
    description="Connections asked for, answered, ended and reset.",
    variables=(_NODE,),
    rows=(
        Row(
            "Connections",
            (
                Panel(
                    "Attempts and answers",
                    "SYN asks for a connection, SYN-ACK accepts it. Where they part, somebody asks in vain.",
                    "pps",
                    (Query(_flag("SYN"), "asked (SYN)"), Query(_flag("SYN-ACK"), "accepted (SYN-ACK)")),
                ),
                Panel(
                    "Attempts without an answer",
                    "Part of the SYNs that no SYN-ACK followed, by node. A retry counts again, so a connection that "
                    "never succeeds weighs several times.",
                    "percentunit",
                    (Query(f"node:tcp_unanswered:ratio5m{{{_ON_NODE}}}", "{{node}}"),),
                    maximum=1,
                ),
                Panel(
                    "Ended and reset",
                    "FIN ends a connection in order, RST breaks it off or refuses it.",
                    "pps",
                    (Query(_flag("FIN"), "ended (FIN)"), Query(_flag("RST"), "reset (RST)")),
                ),
                Panel(
                    "Resets by node",
                    "Packets with RST.",
                    "pps",
                    (Query(f"node:tcp_resets:rate5m{{{_ON_NODE}}}", "{{node}}"),),
                ),
            ),
        ),
        Row(
            "Packets",
            (
                Panel(
                    "Flags",
                    "Packets by flag that is set; a packet with several flags counts for each.",
                    "pps",
                    (Query(f"sum by (flag) (rate(streamgauge_tcp_flags_total{{{_ON_NODE}}}{_RATE}))", "{{flag}}"),),
                ),
                Panel(
                    "TCP throughput by application",
                    "Bits per second over TCP.",
                    "bps",
                    (
                        Query(
                            f'8 * sum by (app) (rate(streamgauge_bytes_total{{{_ON_NODE},protocol="tcp"}}{_RATE}))',
                            "{{app}}",
                        ),
                    ),
                    stacked=True,
                ),
            ),
        ),
    ),
)

DNS: Final = Dashboard(
    uid="streamgauge-dns",
    title="DNS",
    description="What is asked and answered, and how much of it fails. Names are on the live page and in the storage.",
    variables=(_NODE,),
    rows=(
        Row(
            "Queries and answers",
            (
                Panel(
                    "Queries by type",
                    "Queries per second by record type.",
                    "reqps",
                    (Query(f"sum by (qtype) (rate(streamgauge_dns_queries_total{{{_ON_NODE}}}{_RATE}))", "{{qtype}}"),),
                    stacked=True,
                ),
                Panel(
                    "Answers by code",
                    "Answers per second by response code. NXDOMAIN: the name does not exist.",
                    "reqps",
                    (
                        Query(
                            f"sum by (rcode) (rate(streamgauge_dns_responses_total{{{_ON_NODE}}}{_RATE}))", "{{rcode}}"
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Failures and names that do not exist",
                    "Part of all answers over all nodes. Failures are SERVFAIL, REFUSED, FORMERR and NOTIMP; many "
                    "NXDOMAIN are usual in Kubernetes, where resolvers try search domains first.",
                    "percentunit",
                    (
                        Query("streamgauge:dns_failures:ratio5m", "failures"),
                        Query("streamgauge:dns_nxdomain:ratio5m", "does not exist (NXDOMAIN)"),
                    ),
                ),
                Panel(
                    "Queries and answers",
                    "Where they part, queries stay unanswered, or answers pass another interface.",
                    "reqps",
                    (
                        Query(f"sum(rate(streamgauge_dns_queries_total{{{_ON_NODE}}}{_RATE}))", "queries"),
                        Query(f"sum(rate(streamgauge_dns_responses_total{{{_ON_NODE}}}{_RATE}))", "answers"),
                    ),
                ),
            ),
        ),
        Row(
            "Nodes",
            (
                Panel(
                    "Queries by node",
                    "The ten nodes that see most queries.",
                    "reqps",
                    (
                        Query(
                            f"topk(10, sum by (node) (rate(streamgauge_dns_queries_total{{{_ON_NODE}}}{_RATE})))",
                            "{{node}}",
                        ),
                    ),
                ),
                Panel(
                    "Answers other than NOERROR by node",
                    "Answers per second that bring nothing, by node and code.",
                    "reqps",
                    (
                        Query(
                            "topk(10, sum by (node, rcode) "
                            f'(rate(streamgauge_dns_responses_total{{{_ON_NODE},rcode!="NOERROR"}}{_RATE})))',
                            "{{node}} {{rcode}}",
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
    variables=(_NODE, _INTERFACE),
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
                            f"sum(rate(streamgauge_ledger_{name}_packets_total{{{_CHOSEN}}}{_RATE}))",
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
                            f'(rate(streamgauge_decode_status_packets_total{{{_ON_NODE},decode_status!="ok"}}{_RATE}))',
                            "{{decode_status}}",
                        ),
                    ),
                ),
                Panel(
                    "From capture to here",
                    "Age of a node's newest packet when its last batch was counted.",
                    "s",
                    (Query(f"streamgauge_batch_lag_seconds{{{_ON_NODE}}}", "{{node}}"),),
                ),
            ),
        ),
    ),
)
