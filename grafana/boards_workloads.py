"""The dashboard of who talks to whom."""

from __future__ import annotations

from typing import Final

from grafana.model import Dashboard, Panel, Query, Row, Variable
from grafana.queries import CLUSTER, IN_CLUSTER, RATE, rate

_BYTES: Final = 'streamgauge_workload_bytes_total{cluster=~"$cluster"}'
_NAMESPACE: Final = Variable("namespace", "Namespace", _BYTES, source="source_namespace")
_WORKLOAD: Final = Variable(
    "workload",
    "Workload",
    'streamgauge_workload_bytes_total{cluster=~"$cluster",source_namespace=~"$namespace"}',
    source="source_workload",
)

_NAMESPACES: Final = "source_namespace, destination_namespace"
_PAIR: Final = "source_namespace, source_workload, destination_namespace, destination_workload"
_PAIR_LEGEND: Final = "{{source_namespace}}/{{source_workload}} → {{destination_namespace}}/{{destination_workload}}"
_SOURCE: Final = "source_namespace, source_workload"
_SOURCE_LEGEND: Final = "{{source_namespace}}/{{source_workload}}"


def _either_side(metric: str, window: str = RATE, how: str = "rate") -> str:
    """Return the series of which one end is what was chosen above; ``or`` takes each once."""
    ends = (
        f'{how}(streamgauge_workload_{metric}_total{{{IN_CLUSTER},{end}_namespace=~"$namespace",'
        f'{end}_workload=~"$workload"}}{window})'
        for end in ("source", "destination")
    )
    return f"({' or '.join(ends)})"


def _sum(metric: str, by: str = "", *, times: int = 1, top: int = 0) -> str:
    factor = f"{times} * " if times != 1 else ""
    grouped = f" by ({by})" if by else ""
    expression = f"{factor}sum{grouped} {_either_side(metric)}"
    return f"topk({top}, {expression})" if top else expression


def _trouble(title: str, description: str, metric: str, unit: str = "pps") -> Panel:
    return Panel(title, description, unit, (Query(_sum(metric, _PAIR, top=10), _PAIR_LEGEND),))


WORKLOADS: Final = Dashboard(
    uid="streamgauge-workloads",
    title="Workloads",
    description="Who talks to whom: each packet once, named as its address was named when it was captured. __world__ "
    "is outside of the cluster, __unknown__ inside and not known, __other__ what is beyond the series budget.",
    variables=(CLUSTER, _NAMESPACE, _WORKLOAD),
    rows=(
        Row(
            "Now",
            (
                Panel(
                    "Throughput",
                    "Bits per second from and to the chosen workloads, each packet once.",
                    "bps",
                    (Query(_sum("bytes", times=8), "throughput"),),
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Packets",
                    "Packets per second from and to the chosen workloads, each once.",
                    "pps",
                    (Query(_sum("packets"), "packets"),),
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Pairs",
                    "Pairs of workloads that exchanged anything in the time shown.",
                    "short",
                    (Query(f"count(sum by ({_PAIR}) {_either_side('bytes', '[$__range]', 'increase')} > 0)", "pairs"),),
                    kind="stat",
                    width=6,
                    decimals=0,
                ),
                Panel(
                    "Unanswered connections",
                    "Connections asked for in the time shown, neither accepted nor refused within ten seconds.",
                    "short",
                    (
                        Query(
                            f"sum {_either_side('connections_unanswered', '[$__range]', 'increase')} or vector(0)",
                            "unanswered",
                        ),
                    ),
                    kind="stat",
                    width=6,
                    decimals=0,
                ),
            ),
        ),
        Row(
            "Who talks to whom",
            (
                Panel(
                    "Namespaces",
                    "The twelve pairs of namespaces with most traffic, in the direction of the packets.",
                    "bps",
                    (
                        Query(
                            _sum("bytes", _NAMESPACES, times=8, top=12),
                            "{{source_namespace}} → {{destination_namespace}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Workloads",
                    "The twelve pairs of workloads with most traffic, in the direction of the packets.",
                    "bps",
                    (Query(_sum("bytes", _PAIR, times=8, top=12), _PAIR_LEGEND),),
                    stacked=True,
                ),
                Panel(
                    "Senders",
                    "The ten workloads that send most.",
                    "bps",
                    (Query(_sum("bytes", _SOURCE, times=8, top=10), _SOURCE_LEGEND),),
                ),
                Panel(
                    "Receivers",
                    "The ten workloads that are sent most.",
                    "bps",
                    (
                        Query(
                            _sum("bytes", "destination_namespace, destination_workload", times=8, top=10),
                            "{{destination_namespace}}/{{destination_workload}}",
                        ),
                    ),
                ),
                Panel(
                    "Pairs in the time shown",
                    "Bytes by pair of workloads and protocol in the time shown, the fifty heaviest.",
                    "bytes",
                    (
                        Query(
                            f"topk(50, sum by ({_PAIR}, protocol) {_either_side('bytes', '[$__range]', 'increase')})",
                            f"{_PAIR_LEGEND} {{{{protocol}}}}",
                            instant=True,
                        ),
                    ),
                    kind="table",
                    width=24,
                ),
            ),
        ),
        Row(
            "What goes wrong",
            (
                _trouble(
                    "Retransmissions",
                    "TCP segments a second that the first of the pair sent again: lost on the way, or not acknowledged "
                    "in time.",
                    "retransmits",
                ),
                _trouble(
                    "Resets",
                    "TCP connections a second that the first of the pair refused or broke off (RST).",
                    "resets",
                ),
                _trouble(
                    "DNS failures",
                    "Queries a second of the first of the pair that the second answered with an error.",
                    "dns_failures",
                    "reqps",
                ),
                _trouble(
                    "Connections without an answer",
                    "Connections a second that the first of the pair asked for in vain: neither accepted nor refused "
                    "within ten seconds.",
                    "connections_unanswered",
                    "cps",
                ),
            ),
        ),
        Row(
            "How it is counted",
            (
                Panel(
                    "By protocol",
                    "Bits per second from and to the chosen workloads, by transport protocol.",
                    "bps",
                    (Query(_sum("bytes", "protocol", times=8), "{{protocol}}"),),
                    stacked=True,
                ),
                Panel(
                    "Packets that do not count here",
                    "Packets a second that no pair of workloads is given, by reason: seen elsewhere too, without an "
                    "address, or skipped. Together with the others these are all packets.",
                    "pps",
                    (
                        Query(
                            rate("workload_uncounted_packets", IN_CLUSTER, "reason"),
                            "{{reason}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
