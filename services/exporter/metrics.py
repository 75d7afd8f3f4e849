"""The metrics of the exporter: what the traffic was, what the nodes' ledgers say, and how the exporter itself does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from services.exporter import optional, words

if TYPE_CHECKING:
    from services.exporter.aggregate import Aggregator
    from services.exporter.consumer import Consumer
    from services.exporter.hops import Hops
    from services.exporter.ledger_book import Account, LedgerBook
    from services.exporter.ledger_watch import LedgerWatch
    from services.exporter.series import SeriesTable
    from streamgauge.exposition import Distribution, Totals
    from streamgauge.metrics import Metrics

#: Where packets can be lost for good: the count of the ledger, and stage and reason as the collector spells them.
_LOSSES: Final = (
    ("kernel_dropped", "kernel", "ring_full"),
    ("evicted", "collector", "evicted"),
    ("crashed", "collector", "crashed"),
)


class TrafficMetrics:
    """Families counted from summaries; totals are copied from the aggregator at each scrape."""

    def __init__(self, metrics: Metrics, aggregator: Aggregator, budget: int) -> None:
        self._aggregator = aggregator
        traffic = ("node", "interface", "protocol", "app", "direction")
        self._packets = metrics.totals("packets_total", "Packets seen.", *traffic)
        self._bytes = metrics.totals("bytes_total", "Bytes seen, as long as they were on the wire.", *traffic)
        self._status = metrics.totals(
            "decode_status_packets_total",
            "Packets by what became of them in the decoder: ok, truncated, malformed, unsupported.",
            *("node", "decode_status"),
        )
        self._flags = metrics.totals(
            "tcp_flags_total",
            "TCP packets with a flag set; SYN is SYN without ACK, SYN-ACK is both.",
            *("node", "flag"),
        )
        self._queries = metrics.totals("dns_queries_total", "DNS queries by type.", "node", "qtype")
        self._responses = metrics.totals(
            "dns_responses_total", "DNS responses by type and response code.", "node", "qtype", "rcode"
        )
        self._sizes = metrics.distribution(
            "packet_size_bytes", "Length of packets on the wire.", words.SIZE_BUCKETS, "node"
        )
        self._resets = metrics.totals("tcp_resets_total", "TCP packets with RST.", "node", "direction")
        self._unanswered = metrics.totals(
            "connection_attempts_unanswered_total",
            "Connection attempts (SYN) that got neither SYN-ACK nor reset within ten seconds.",
            *("node", "direction"),
        )
        self._silent = metrics.totals(
            "dns_unanswered_total", "DNS queries that got no response in time.", "node", "qtype"
        )
        self._flows = metrics.totals(
            "flows_total",
            "Flows that began: TCP connections asked for, or conversations of a minute of another protocol.",
            *("node", "protocol", "direction"),
        )
        by_port = ("node", "protocol", "port")
        self._port_packets = metrics.totals("port_packets_total", "Packets by the lower of both ports.", *by_port)
        self._port_bytes = metrics.totals("port_bytes_total", "Bytes by the lower of both ports.", *by_port)
        self._opted = [
            (table, measure, metrics.totals(name, meaning, *labels))
            for table, measure, name, meaning, labels in aggregator.opt_in.families()
        ]
        self._untracked = metrics.counter(
            "connection_attempts_untracked_total", "Connection attempts there was no room to wait for."
        )
        self._counted = {
            family: metrics.totals(family.name, family.meaning, "node", *family.labels) for family in aggregator.counted
        }
        self._timed = {
            family: metrics.distribution(family.name, family.meaning, optional.TIME_BUCKETS, "node")
            for family in aggregator.timed
        }
        self._budget = metrics.gauge("series_budget", "Most series a family may have.", "metric")
        self._active = metrics.gauge("series_active", "Series a family has.", "metric")
        self._overflow = metrics.counter(
            "series_overflow_total", "Additions to __other__ because a family's budget was used up.", "metric"
        )
        self._evicted = metrics.counter(
            "series_evicted_total", "Series replaced by heavier ones, their totals folded into __other__.", "metric"
        )
        self._folded = metrics.counter(
            "series_folded_total", "What was folded into __other__, in the unit of the metric.", "metric"
        )
        self._most = budget
        metrics.before_scrape(self.publish)

    def publish(self) -> None:
        """Copy the totals of one moment."""
        with self._aggregator.lock:
            tables = self._aggregator.tables
            self.copy(tables.traffic, self._packets, 0)
            self.copy(tables.traffic, self._bytes, 1)
            self.copy(tables.status, self._status, 0)
            self.copy(tables.flags, self._flags, 0)
            self.copy(tables.queries, self._queries, 0)
            self.copy(tables.responses, self._responses, 0)
            self.copy(tables.resets, self._resets, 0)
            self.copy(tables.unanswered, self._unanswered, 0)
            self.copy(tables.silent, self._silent, 0)
            self.copy(tables.flows, self._flows, 0)
            self.copy(tables.ports, self._port_packets, 0)
            self.copy(tables.ports, self._port_bytes, 1)
            for table, measure, opted in self._opted:
                self.copy(table, opted, measure)
            self._untracked.set(self._aggregator.conversations.untracked)
            self._copy_histogram(tables.sizes, self._sizes, 1.0)
            for family, table in self._aggregator.counted.items():
                self.copy(table, self._counted[family], 0)
            for timed, table in self._aggregator.timed.items():
                self._copy_histogram(table, self._timed[timed], 1e-9)

    def _copy_histogram(self, table: SeriesTable, family: Distribution, unit: float) -> None:
        """Copy counts by bucket and the sum, which is last in a row and counted in ``unit``."""
        rows = zip(table.published_keys(), table.published_rows(), strict=True)
        family.publish((key, row[:-1], row[-1] if unit == 1.0 else row[-1] * unit) for key, row in rows)
        self._watch(table, family.name, -1)

    def copy(self, table: SeriesTable, family: Totals, measure: int) -> None:
        """Copy one measure of a table; its owner's lock is held."""
        family.publish(table.published_keys(), table.published(measure), table.generation)
        self._watch(table, family.name, measure)

    def _watch(self, table: SeriesTable, name: str, measure: int) -> None:
        # Of a histogram, the table's budget is in keys, each of which is several lines of the page.
        self._budget.set(self._most if measure < 0 else min(self._most, table.budget), name)
        self._active.set(table.active, name)
        self._overflow.set(table.overflows, name)
        self._evicted.set(table.evictions, name)
        self._folded.set(table.folded[measure], name)


class LedgerMetrics:
    """Families from the nodes' ledger records: what came in, what was lost and where, and whether it adds up.

    Collectors publish counts like these themselves. These carry ``ledger_`` in their names, so that no sum takes both;
    they go on over a collector's restarts and are there when it is gone.
    """

    def __init__(self, metrics: Metrics, book: LedgerBook) -> None:
        self._book = book
        labels = ("node", "interface")
        self._received = metrics.totals(
            "ledger_received_packets_total", "Packets the kernel handed to the capture, drops included.", *labels
        )
        self._filtered = metrics.totals("ledger_filtered_packets_total", "Packets left out on purpose.", *labels)
        self._decoded = metrics.totals("ledger_decoded_packets_total", "Packets decoded, damaged ones too.", *labels)
        self._published = metrics.totals(
            "ledger_published_packets_total", "Packets in batches that JetStream acknowledged.", *labels
        )
        self._coarsened = metrics.totals(
            "ledger_coarsened_packets_total", "Packets merged into rows with others; totals stay exact.", *labels
        )
        self._lost = metrics.totals(
            "ledger_lost_packets_total", "Packets lost for good, by stage and reason.", *labels, "stage", "reason"
        )
        self._spooled = metrics.levels("ledger_spooled_packets", "Packets that wait to be published.", *labels)
        self._undecoded = metrics.levels(
            "ledger_undecoded_packets", "Packets received and not decoded yet: in the ring.", *labels
        )
        self._imbalance = metrics.levels(
            "ledger_imbalance_packets",
            "Packets a node decoded and neither published, spooled, evicted nor crashed: 0 unless something is wrong.",
            *labels,
        )
        self._age = metrics.levels(
            "ledger_age_seconds", "Since the last record of a node that did not end in order.", *labels
        )
        metrics.before_scrape(self.publish)

    def publish(self) -> None:
        """Copy the accounts."""
        now = time.time()
        accounts = list(self._book.accounts(now))
        keys = [key for key, _ in accounts]
        for family, name in (
            (self._received, "kernel_received"),
            (self._filtered, "filtered"),
            (self._decoded, "decoded"),
            (self._published, "published"),
            (self._coarsened, "coarsened"),
        ):
            family.publish(keys, [account.total(name) for _, account in accounts])
        lost = [((*key, stage, why), account.total(name)) for key, account in accounts for name, stage, why in _LOSSES]
        self._lost.publish([key for key, _ in lost], [value for _, value in lost])
        self._spooled.publish(keys, [account.spooled for _, account in accounts])
        self._undecoded.publish(keys, [account.latest.undecoded for _, account in accounts])
        self._imbalance.publish(keys, [account.imbalance for _, account in accounts])
        self._age.publish(keys, [_age(account, now) for _, account in accounts])


def _age(account: Account, now: float) -> float:
    return 0.0 if account.latest.reason == "stop" else round(max(0.0, now - account.heard), 3)


class OwnMetrics:
    """Families about the exporter itself."""

    def __init__(self, metrics: Metrics, consumer: Consumer, watch: LedgerWatch) -> None:
        self._consumer = consumer
        self._watch = watch
        self._lag = metrics.levels(
            "batch_lag_seconds", "From the newest packet of a node's last batch to when it was counted.", "node"
        )
        self._batches = metrics.counter(
            "exporter_batches_total",
            "Batches by what became of them: counted, duplicate, refused, skipped.",
            "result",
        )
        self._skipped_packets = metrics.counter(
            "exporter_skipped_packets_total", "Packets of skipped batches, counted by header alone."
        )
        self._skipped_bytes = metrics.counter(
            "exporter_skipped_bytes_total", "Bytes of skipped batches, counted by header alone."
        )
        self._reopened = metrics.counter(
            "exporter_reopened_total", "How often the exporter had to find its place in the stream again."
        )
        self._pending = metrics.gauge("exporter_pending_batches", "Batches of the stream that wait to be counted.")
        self._behind = metrics.gauge(
            "exporter_behind_seconds", "Age in the stream of the batch counted last, while others wait; else 0."
        )
        metrics.before_scrape(self.publish)

    def publish(self) -> None:
        """Copy the consumer's progress."""
        progress = self._consumer.progress
        lags = dict(progress.lag_by_node)
        self._lag.publish([(node,) for node in lags], [round(lag, 3) for lag in lags.values()])
        for name in ("counted", "duplicate", "skipped"):
            self._batches.set(getattr(progress, name), name)
        self._batches.set(progress.refused + self._watch.refused, "refused")
        self._skipped_packets.set(progress.skipped_packets)
        self._skipped_bytes.set(progress.skipped_bytes)
        self._reopened.set(progress.reopened)
        self._pending.set(progress.pending)
        self._behind.set(max(0.0, time.time() - progress.stored) if progress.pending else 0.0)


class HopMetrics:
    """Families about the stream and its durable consumers, the backup's above all."""

    def __init__(self, metrics: Metrics, hops: Hops) -> None:
        self._hops = hops
        self._messages = metrics.levels("stream_messages", "Messages in the stream.")
        self._bytes = metrics.levels("stream_bytes", "Bytes of the stream.")
        self._most_bytes = metrics.levels(
            "stream_max_bytes", "Bytes at which the stream discards its oldest messages; 0: unlimited."
        )
        self._oldest = metrics.levels("stream_oldest_seconds", "Age of the oldest message in the stream.")
        self._newest = metrics.levels("stream_newest_seconds", "Age of the newest message in the stream.")
        self._pending = metrics.levels(
            "consumer_pending_messages", "Messages a durable consumer was not handed yet.", "consumer"
        )
        self._unacknowledged = metrics.levels(
            "consumer_unacknowledged_messages",
            "Messages handed to a durable consumer and not acknowledged.",
            "consumer",
        )
        self._oldest_unacknowledged = metrics.levels(
            "consumer_oldest_unacknowledged_seconds",
            "Age of the oldest message that a durable consumer has not acknowledged: of the backup's, not stored.",
            "consumer",
        )
        metrics.before_scrape(self.publish)

    def publish(self) -> None:
        """Copy what was seen last; what could not be seen is not on the page."""
        stream = self._hops.stream
        keys = [()] if stream is not None else []
        for family, name in (
            (self._messages, "messages"),
            (self._bytes, "bytes"),
            (self._most_bytes, "most_bytes"),
            (self._oldest, "oldest_age"),
            (self._newest, "newest_age"),
        ):
            family.publish(keys, [getattr(stream, name) for _ in keys])
        consumers = self._hops.consumers
        names = [(each.name,) for each in consumers]
        self._pending.publish(names, [each.pending for each in consumers])
        self._unacknowledged.publish(names, [each.unacknowledged for each in consumers])
        self._oldest_unacknowledged.publish(names, [round(each.oldest_age, 3) for each in consumers])
