"""Dashboards about two protocols that everything stands on: TCP health, DNS."""

from __future__ import annotations

from typing import Final

from grafana.model import Dashboard, Panel, Query, Row
from grafana.queries import CLUSTER, IN_CLUSTER, NODE, ON_NODE, RATE, quantiles, rate


def _flag(name: str) -> str:
    return rate("tcp_flags", f'{ON_NODE},flag="{name}"')


TCP: Final = Dashboard(
    uid="streamgauge-tcp",
    title="TCP health",
    description="Connections asked for, answered, ended and reset; what is lost on the way, and how long it takes.",
    variables=(CLUSTER, NODE),
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
                    "Part of the connections asked for that were neither accepted nor refused within ten seconds, by "
                    "node.",
                    "percentunit",
                    (Query(f"node:tcp_unanswered:ratio5m{{{ON_NODE}}}", "{{node}}"),),
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
                    (Query(f"node:tcp_resets:rate5m{{{ON_NODE}}}", "{{node}}"),),
                ),
            ),
        ),
        Row(
            "Lost and slow",
            (
                Panel(
                    "Sent again",
                    "Part of the TCP packets of a node that were sent before: lost on the way, or not acknowledged in "
                    "time.",
                    "percentunit",
                    (Query(f"node:tcp_retransmits:ratio5m{{{ON_NODE}}}", "{{node}}"),),
                ),
                Panel(
                    "Troubles on the way",
                    "Packets a second: sent again, out of order, and windows of zero, by which a receiver says it is "
                    "full.",
                    "pps",
                    (
                        Query(rate("tcp_retransmits", ON_NODE), "sent again"),
                        Query(rate("tcp_out_of_order", ON_NODE), "out of order"),
                        Query(rate("tcp_zero_windows", ON_NODE), "window of zero"),
                    ),
                ),
                Panel(
                    "Time to open a connection",
                    "From the first SYN to the end of the handshake. A lost SYN costs a second.",
                    "s",
                    quantiles("tcp_handshake_seconds", ON_NODE),
                ),
                Panel(
                    "Round-trip time",
                    "From a segment to its acknowledgement, as seen where it is captured.",
                    "s",
                    quantiles("tcp_rtt_seconds", ON_NODE),
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
                    (Query(f"sum by (flag) (rate(streamgauge_tcp_flags_total{{{ON_NODE}}}{RATE}))", "{{flag}}"),),
                ),
                Panel(
                    "TCP throughput by application",
                    "Bits per second over TCP.",
                    "bps",
                    (
                        Query(
                            f'8 * sum by (app) (rate(streamgauge_bytes_total{{{ON_NODE},protocol="tcp"}}{RATE}))',
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
    variables=(CLUSTER, NODE),
    rows=(
        Row(
            "Queries and answers",
            (
                Panel(
                    "Queries by type",
                    "Queries per second by record type.",
                    "reqps",
                    (Query(f"sum by (qtype) (rate(streamgauge_dns_queries_total{{{ON_NODE}}}{RATE}))", "{{qtype}}"),),
                    stacked=True,
                ),
                Panel(
                    "Answers by code",
                    "Answers per second by response code. NXDOMAIN: the name does not exist.",
                    "reqps",
                    (Query(f"sum by (rcode) (rate(streamgauge_dns_responses_total{{{ON_NODE}}}{RATE}))", "{{rcode}}"),),
                    stacked=True,
                ),
                Panel(
                    "Failures and names that do not exist",
                    "Part of all answers over all nodes. Failures are SERVFAIL, REFUSED, FORMERR and NOTIMP; many "
                    "NXDOMAIN are usual in Kubernetes, where resolvers try search domains first.",
                    "percentunit",
                    (
                        Query(f"streamgauge:dns_failures:ratio5m{{{IN_CLUSTER}}}", "failures"),
                        Query(f"streamgauge:dns_nxdomain:ratio5m{{{IN_CLUSTER}}}", "does not exist (NXDOMAIN)"),
                    ),
                ),
                Panel(
                    "Time to the answer",
                    "From a query to its response.",
                    "s",
                    quantiles("dns_latency_seconds", ON_NODE),
                ),
                Panel(
                    "Queries without an answer",
                    "Queries a second that got no response within STREAMGAUGE_COLLECTOR_DNS_TIMEOUT, by record type.",
                    "reqps",
                    (Query(rate("dns_unanswered", ON_NODE, "qtype"), "{{qtype}}"),),
                ),
                Panel(
                    "Queries and answers",
                    "Where they part, queries stay unanswered, or answers pass another interface.",
                    "reqps",
                    (
                        Query(f"sum(rate(streamgauge_dns_queries_total{{{ON_NODE}}}{RATE}))", "queries"),
                        Query(f"sum(rate(streamgauge_dns_responses_total{{{ON_NODE}}}{RATE}))", "answers"),
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
                            f"topk(10, sum by (node) (rate(streamgauge_dns_queries_total{{{ON_NODE}}}{RATE})))",
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
                            f'(rate(streamgauge_dns_responses_total{{{ON_NODE},rcode!="NOERROR"}}{RATE})))',
                            "{{node}} {{rcode}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
