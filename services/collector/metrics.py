"""The collector's metrics: declared here and nowhere else, set from the account at each scrape."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from services.collector.lane import HANDSHAKES
from streamgauge.metrics import Metrics
from streamgauge.schema import DecodeStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.collector.account import Account
    from services.collector.capture import Capture
    from services.collector.overload import Overload
    from services.collector.pending import Pending
    from services.collector.sources import Source
    from services.collector.spool import Spool
    from streamgauge.settings import CollectorSettings

#: Seconds from the closing of a batch to its acknowledgement.
_LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

#: Why a message was sent again; every value is set at start so that a zero shows.
RETRY_REASONS: Final = ("timeout", "no_stream", "refused", "disconnected", "too_large")


class CollectorMetrics:
    """All metrics of one collector, by node and interface."""

    def __init__(self, settings: CollectorSettings, boot: str, interface: str) -> None:
        self.registry = Metrics({"node": settings.node, "interface": interface})
        counter, gauge = self.registry.counter, self.registry.gauge
        gauge("collector_info", "Constant 1; the labels tell what runs.", "boot", "source").set(
            1, boot, settings.source
        )
        self._received = counter("kernel_packets_total", "Packets delivered to the capture, drops included.")
        self._captured = counter("capture_packets_total", "Packets captured and decoded.")
        self._captured_bytes = counter("capture_bytes_total", "Bytes on the wire of the packets captured.")
        self._decoded = counter("decoded_packets_total", "Packets decoded, by decode status.", "status")
        self._lost = counter("lost_packets_total", "Packets lost, by stage and reason.", "stage", "reason")
        self._published = counter("published_packets_total", "Packets in acknowledged batches.")
        self._published_rows = counter("published_records_total", "Rows in acknowledged batches.")
        self._published_bytes = counter(
            "published_bytes_total", "Bytes on the wire of packets in acknowledged batches."
        )
        self._published_batches = counter("published_batches_total", "Acknowledged batches.")
        self._payload_bytes = counter("published_payload_bytes_total", "Bytes of the payloads of acknowledged batches.")
        self._recovered = counter("recovered_packets_total", "Packets of former boots, published from the spool.")
        self._retries = counter("publish_retries_total", "Batches sent again, by reason.", "reason")
        self._disconnects = counter("nats_disconnects_total", "Connections to NATS that were lost.")
        self._pending_bytes = gauge("pending_bytes", "Bytes of batches that wait for their acknowledgement.")
        gauge("pending_max_bytes", "Bytes of batches that may wait, in the spool or else in memory.").set(
            settings.pending_bytes if settings.spool_dir is None else settings.spool_bytes
        )
        self._pending_memory = gauge("pending_memory_bytes", "Bytes of these that are in memory.")
        self._pending_age = gauge("pending_oldest_seconds", "Age of the oldest batch that waits.")
        self._spool_errors = counter("spool_errors_total", "Writes that the disk of the spool refused.")
        self._spool_syncs = counter("spool_syncs_total", "Times the spool was put on disk.")
        self._spool_torn = counter("spool_torn_bytes_total", "Bytes of records a crash cut short, found at start.")
        self._pending_batches = gauge("pending_batches", "Batches that wait for their acknowledgement.")
        self._pending_packets = gauge("pending_packets", "Packets decoded and not yet acknowledged.")
        self._in_flight = gauge("publish_in_flight", "Batches sent and not yet acknowledged.")
        self._latency = self.registry.histogram(
            "publish_latency_seconds", "Time from a batch's closing to its acknowledgement.", _LATENCY_BUCKETS
        )
        self._shed_level = gauge("shed_level", "Steps of the overload ladder climbed; 0 is the granularity asked for.")
        self._coarsened = counter("coarsened_packets_total", "Packets merged into a row with others.")
        self._connections = gauge("flow_connections", "TCP connections remembered.")
        self._flow_evictions = counter("flow_evictions_total", "Entries that made room for others, by kind.", "kind")
        self._handshakes = counter(
            "handshakes_total",
            "ClientHellos joined from several segments, decrypted (QUIC), unreadable, skipped or given up.",
            "outcome",
        )
        self._interface_changes = counter(
            "interface_changes_total", "Interfaces that came or went while capturing.", "change"
        )
        self._recovered.set(0)
        for reason in RETRY_REASONS:
            self._retries.set(0, reason)

    def follow(
        self, account: Account, source: Source, pending: Pending, spool: Spool, disconnects: Callable[[], int]
    ) -> None:
        """Publish the totals of these parts at each scrape."""

        def publish() -> None:
            self._publish_capture(account, source)
            self._publish_queue(pending, spool)
            self._disconnects.set(disconnects())

        self.registry.before_scrape(publish)

    def follow_load(self, account: Account, source: Source, overload: Overload, capture: Capture) -> None:
        """Publish what the load does to rows, flows and interfaces at each scrape."""

        def publish() -> None:
            counts = capture.counts()
            self._shed_level.set(overload.level)
            self._coarsened.set(account.totals().coarsened)
            self._connections.set(capture.connections())
            self._flow_evictions.set(counts.connections_evicted, "connection")
            self._flow_evictions.set(counts.queries_evicted, "query")
            for outcome, count in zip(HANDSHAKES, counts.handshakes, strict=True):
                self._handshakes.set(count, outcome)
            changes = source.changes()
            self._interface_changes.set(changes.appeared, "appeared")
            self._interface_changes.set(changes.disappeared, "disappeared")

        self.registry.before_scrape(publish)

    def acknowledged(self, payload_bytes: int, latency: float) -> None:
        """One batch was acknowledged, ``latency`` seconds after it closed."""
        self._payload_bytes.add(payload_bytes)
        self._latency.observe(max(0.0, latency))

    def recovered(self, packets: int) -> None:
        """One batch of a former boot was acknowledged."""
        self._recovered.add(packets)

    def retried(self, reason: str) -> None:
        """One batch has to be sent again."""
        self._retries.add(1, reason)

    def _publish_capture(self, account: Account, source: Source) -> None:
        totals = account.totals()
        counts = source.counts()
        self._received.set(counts.received)
        self._lost.set(counts.dropped, "kernel", "ring_full")
        self._lost.set(totals.evicted, "collector", "evicted")
        self._captured.set(totals.decoded)
        self._captured_bytes.set(totals.decoded_bytes)
        for status in DecodeStatus:
            self._decoded.set(totals.statuses[status], status.name.lower())
        self._published.set(totals.published)
        self._published_rows.set(totals.published_rows)
        self._published_bytes.set(totals.published_bytes)
        self._published_batches.set(totals.published_messages)
        self._pending_packets.set(totals.spooled)

    def _publish_queue(self, pending: Pending, spool: Spool) -> None:
        oldest = pending.oldest
        self._pending_bytes.set(pending.bytes)
        self._pending_memory.set(pending.in_memory)
        self._pending_batches.set(len(pending))
        self._pending_age.set(0.0 if oldest is None else max(0.0, time.time() - oldest))
        self._in_flight.set(pending.attempted)
        self._spool_errors.set(spool.errors)
        self._spool_syncs.set(spool.syncs)
        self._spool_torn.set(spool.torn)
        self._lost.set(spool.crashed, "collector", "crashed")
