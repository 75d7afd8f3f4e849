"""The families by workload on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.exporter.observation import REASONS

if TYPE_CHECKING:
    from services.exporter.metrics import TrafficMetrics
    from services.exporter.workloads import Workloads
    from streamgauge.metrics import Metrics

_PAIR: Final = (
    *("source_namespace", "source_workload", "source_workload_kind"),
    *("destination_namespace", "destination_workload", "destination_workload_kind"),
)


class WorkloadMetrics:
    """Totals are copied at each scrape."""

    def __init__(self, metrics: Metrics, workloads: Workloads, traffic: TrafficMetrics) -> None:
        self._workloads = workloads
        self._traffic = traffic
        self._packets = metrics.totals(
            "workload_packets_total", "Packets by pair of workloads, each counted once.", *_PAIR, "protocol"
        )
        self._bytes = metrics.totals(
            "workload_bytes_total", "Bytes on the wire by pair of workloads, each packet once.", *_PAIR, "protocol"
        )
        self._events = (
            metrics.totals("workload_retransmits_total", "TCP segments that the source sent again.", *_PAIR),
            metrics.totals("workload_resets_total", "TCP packets with RST that the source sent.", *_PAIR),
            metrics.totals(
                "workload_dns_failures_total",
                "Responses with an error (NXDOMAIN, SERVFAIL, …) to queries that the source asked the destination.",
                *_PAIR,
            ),
            metrics.totals(
                "workload_connections_unanswered_total",
                "Connection attempts of the source that got neither SYN-ACK nor reset within ten seconds.",
                *_PAIR,
            ),
        )
        self._left_packets = metrics.totals(
            "workload_uncounted_packets_total",
            "Packets that do not count by workload, by reason; with workload_packets_total these are all packets.",
            "reason",
        )
        self._left_bytes = metrics.totals(
            "workload_uncounted_bytes_total",
            "Bytes that do not count by workload, by reason; with workload_bytes_total these are all bytes.",
            "reason",
        )
        metrics.before_scrape(self.publish)

    def publish(self) -> None:
        """Copy the totals of one moment."""
        with self._workloads.lock:
            self._workloads.flush()
            tables = self._workloads.tables
            self._traffic.copy(tables.traffic, self._packets, 0)
            self._traffic.copy(tables.traffic, self._bytes, 1)
            for table, family in zip(tables[1:], self._events, strict=True):
                self._traffic.copy(table, family, 0)
            packets, sizes = self._workloads.left.T.tolist()
        reasons = [(reason,) for reason in REASONS]
        self._left_packets.publish(reasons, packets)
        self._left_bytes.publish(reasons, sizes)
