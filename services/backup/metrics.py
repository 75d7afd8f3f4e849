"""What the backup counts. Totals by node are sums of the footers it wrote: they match the ledger's ``published``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from streamgauge.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamgauge.objects import Manifest

#: Seconds; an upload of 64 MiB over a slow line takes tens of them.
_UPLOAD_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class BackupMetrics:
    """The metrics of one backup process."""

    def __init__(self) -> None:
        self.page = page = Metrics()
        self.rows = page.counter("stored_rows_total", "Rows in objects that are stored and verified.", "node")
        self.packets = page.counter("stored_packets_total", "Packets in objects that are stored and verified.", "node")
        self.bytes = page.counter("stored_bytes_total", "Bytes on the wire of the packets that are stored.", "node")
        self.objects = page.counter("backup_objects_total", "Objects stored and verified.", "kind")
        self.object_bytes = page.counter("backup_object_bytes_total", "Bytes of the objects stored.", "kind")
        self.last_success = page.gauge(
            "backup_last_success_timestamp_seconds",
            "When an object was stored last, Unix time; 0: not since the start.",
        )
        self.oldest = page.gauge(
            "backup_oldest_unstored_seconds", "Age of the oldest message in hand that is not stored yet."
        )
        self.pending = page.gauge("backup_pending_messages", "Messages of a lane that wait in the stream.", "lane")
        self.writes = page.gauge(
            "backup_lane_open", "1 for a lane this replica writes, 0 while another one does.", "lane"
        )
        self.held = page.gauge("backup_held_bytes", "Bytes of messages in memory that are not stored yet.")
        self.verified = page.gauge(
            "restore_last_verified_timestamp_seconds", "When a restore drill was last good, Unix time; 0: never."
        )
        self.upload = page.histogram("backup_upload_seconds", "Time to store and verify one object.", _UPLOAD_BUCKETS)
        self.encode = page.histogram("backup_encode_seconds", "Time to encode one object.", _UPLOAD_BUCKETS)
        self.retries = page.counter("backup_upload_retries_total", "Uploads that failed and were tried again.")
        self.duplicates = page.counter(
            "backup_duplicates_total", "Batches that were stored before under another sequence and were left out."
        )
        self.redelivered = page.counter(
            "backup_redelivered_total", "Messages delivered again that were in hand or stored already."
        )
        self.quarantined = page.counter("backup_quarantined_total", "Messages that cannot be read, kept in quarantine.")
        self.reopened = page.counter(
            "backup_consumer_reopened_total", "How often a consumer was made anew because deliveries were lost."
        )
        for family in (self.retries, self.duplicates, self.redelivered, self.quarantined, self.reopened):
            family.set(0)
        for gauge in (self.last_success, self.oldest, self.held, self.verified):
            gauge.set(0)

    def stored(self, manifest: Manifest, size: int) -> None:
        """Count one object that is stored and verified."""
        self.objects.add(1, manifest.kind)
        self.object_bytes.add(size, manifest.kind)
        self.last_success.set(time.time())
        if manifest.kind == "summaries":
            for share in manifest.shares:
                self.rows.add(share.rows, share.node)
                self.packets.add(share.packets, share.node)
                self.bytes.add(share.bytes, share.node)

    def watch(self, lanes: Callable[[], Iterable[tuple[str, int, int, int]]]) -> None:
        """Publish the lanes at each scrape: (name, messages waiting, bytes held, ns of the oldest in hand or 0)."""

        def publish() -> None:
            held, oldest = 0, 0
            for name, pending, size, first in lanes():
                self.pending.set(pending, name)
                held += size
                oldest = min(first, oldest) if first and oldest else first or oldest
            self.held.set(held)
            self.oldest.set(max(time.time() - oldest / 1e9, 0.0) if oldest else 0.0)

        self.page.before_scrape(publish)
