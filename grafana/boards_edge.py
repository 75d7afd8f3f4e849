"""The dashboard of the cluster's edge: traffic with the world outside, and how it is encrypted."""

from __future__ import annotations

from typing import Final

from grafana.model import Dashboard, Panel, Query, Row
from grafana.queries import CLUSTER, IN_CLUSTER, NODE, ON_NODE, RATE, rate

_WORLD: Final = f'{ON_NODE},direction=~"egress|ingress"'

_OLD: Final = f'{ON_NODE},version=~"SSL 3.0|TLS 1.0|TLS 1.1"'


def _towards(direction: str) -> str:
    return f'{ON_NODE},direction="{direction}"'


def _with_world(metric: str, inside: str, outside: str) -> str:
    """Return the rate of a family by workload of those inside, as seen from one end."""
    return (
        f"sum by ({inside}_namespace, {inside}_workload) (rate(streamgauge_workload_{metric}_total{{{IN_CLUSTER},"
        f'{outside}_namespace="__world__",{inside}_namespace!="__world__"}}{RATE}))'
    )


def _stat(title: str, description: str, direction: str) -> Panel:
    query = Query(rate("bytes", _towards(direction), times=8), title.lower())
    return Panel(title, description, "bps", (query,), kind="stat", width=6)


EDGE: Final = Dashboard(
    uid="streamgauge-edge",
    title="Edge",
    description="What crosses the edge of the cluster, to and from addresses outside of STREAMGAUGE_EXPORTER_INSIDE, "
    "and how it is encrypted.",
    variables=(CLUSTER, NODE),
    rows=(
        Row(
            "Now",
            (
                _stat("Out", "Bits per second from inside to outside (egress).", "egress"),
                _stat("In", "Bits per second from outside to inside (ingress).", "ingress"),
                Panel(
                    "Flows with the world",
                    "Flows a second that began with an end outside: TCP connections asked for, and conversations of "
                    "other protocols.",
                    "cps",
                    (Query(rate("flows", _WORLD), "flows"),),
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Handshakes below TLS 1.2",
                    "Part of the TLS handshakes whose server chose TLS 1.1 or older, over all chosen nodes.",
                    "percentunit",
                    (
                        Query(
                            f"({rate('tls_handshakes', _OLD)} or vector(0)) / {rate('tls_handshakes', ON_NODE)}",
                            "old",
                        ),
                    ),
                    kind="stat",
                    width=6,
                    thresholds=((None, "green"), (0.000001, "orange"), (0.05, "red")),
                ),
            ),
        ),
        Row(
            "Traffic with the world",
            (
                Panel(
                    "In and out",
                    "Bits per second across the edge, by direction.",
                    "bps",
                    (Query(rate("bytes", _WORLD, "direction", times=8), "{{direction}}"),),
                ),
                Panel(
                    "What it is",
                    "Bits per second across the edge, by transport and application protocol.",
                    "bps",
                    (Query(rate("bytes", _WORLD, "protocol, app", times=8, top=12), "{{protocol}} {{app}}"),),
                    stacked=True,
                ),
                Panel(
                    "Who sends out",
                    "The ten workloads that send most to addresses outside, each packet once.",
                    "bps",
                    (
                        Query(
                            f"topk(10, 8 * {_with_world('bytes', 'source', 'destination')})",
                            "{{source_namespace}}/{{source_workload}}",
                        ),
                    ),
                ),
                Panel(
                    "Who is sent to",
                    "The ten workloads that receive most from addresses outside, each packet once.",
                    "bps",
                    (
                        Query(
                            f"topk(10, 8 * {_with_world('bytes', 'destination', 'source')})",
                            "{{destination_namespace}}/{{destination_workload}}",
                        ),
                    ),
                ),
                Panel(
                    "Flows that begin",
                    "Flows a second across the edge, by protocol and direction of the first packet.",
                    "cps",
                    (Query(rate("flows", _WORLD, "protocol, direction"), "{{protocol}} {{direction}}"),),
                ),
                Panel(
                    "Unanswered and reset",
                    "Connections a second that nobody answered, and packets with RST, by direction. Many from outside "
                    "without an answer are a scan that a firewall swallows.",
                    "cps",
                    (
                        Query(rate("connection_attempts_unanswered", _WORLD, "direction"), "{{direction}} unanswered"),
                        Query(rate("tcp_resets", _WORLD, "direction"), "{{direction}} reset"),
                    ),
                ),
            ),
        ),
        Row(
            "Encryption",
            (
                Panel(
                    "TLS handshakes by version",
                    "Handshakes a second by the version that the server chose, inside and across the edge.",
                    "ops",
                    (Query(rate("tls_handshakes", ON_NODE, "version"), "{{version}}"),),
                    stacked=True,
                ),
                Panel(
                    "Clients by JA4",
                    "ClientHellos a second by JA4 fingerprint, the ten most frequent: programs, not people. A new one "
                    "is a new client, or an old one with another library.",
                    "ops",
                    (Query(rate("tls_client_hellos", ON_NODE, "ja4", top=10), "{{ja4}}"),),
                ),
                Panel(
                    "Encrypted and plain",
                    "Bits per second across the edge of protocols that encrypt (TLS, QUIC, SSH) and of plain HTTP.",
                    "bps",
                    (
                        Query(rate("bytes", f'{_WORLD},app=~"tls|quic|ssh"', "app", times=8), "{{app}}"),
                        Query(rate("bytes", f'{_WORLD},app="http"', "app", times=8), "{{app}} (plain)"),
                    ),
                ),
                Panel(
                    "Ports",
                    "Bits per second by the service's port, the twelve busiest, inside and across the edge.",
                    "bps",
                    (Query(rate("port_bytes", ON_NODE, "protocol, port", times=8, top=12), "{{port}}/{{protocol}}"),),
                ),
            ),
        ),
    ),
)
