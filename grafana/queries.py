"""Pieces of PromQL that the dashboards share."""

from __future__ import annotations

from typing import Final

from grafana.model import Query, Variable

CLUSTER: Final = Variable("cluster", "Cluster", "streamgauge_packets_total")
NODE: Final = Variable("node", "Node", 'streamgauge_packets_total{cluster=~"$cluster"}')
INTERFACE: Final = Variable("interface", "Interface", 'streamgauge_packets_total{cluster=~"$cluster",node=~"$node"}')

RATE: Final = "[$__rate_interval]"
#: Series behind the choices above the panels.
IN_CLUSTER: Final = 'cluster=~"$cluster"'
ON_NODE: Final = f'{IN_CLUSTER},node=~"$node"'
ON_INTERFACE: Final = f'{ON_NODE},interface=~"$interface"'


def rate(metric: str, chosen: str, by: str = "", *, times: int = 1, top: int = 0) -> str:
    """Return the rate of a counter (named without prefix and ``_total``), summed by labels, the highest ``top``."""
    factor = f"{times} * " if times != 1 else ""
    grouped = f" by ({by})" if by else ""
    expression = f"{factor}sum{grouped} (rate(streamgauge_{metric}_total{{{chosen}}}{RATE}))"
    return f"topk({top}, {expression})" if top else expression


def quantiles(metric: str, chosen: str) -> tuple[Query, ...]:
    """Return the median and higher quantiles of a histogram."""
    series = f"sum by (le) (rate(streamgauge_{metric}_bucket{{{chosen}}}{RATE}))"
    parts = ((0.5, "half are faster than"), (0.95, "95 % are faster than"), (0.99, "99 % are faster than"))
    return tuple(Query(f"histogram_quantile({part}, {series})", name) for part, name in parts)
