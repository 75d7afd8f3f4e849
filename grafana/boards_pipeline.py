"""The dashboard about streamgauge itself: every stage, every loss, every delay."""

from __future__ import annotations

from typing import Final

from grafana.model import GREEN_IS_ZERO, Dashboard, Panel, Query, Row

_RATE: Final = "[$__rate_interval]"
_NODE: Final = ("node", "Node", "streamgauge_ledger_received_packets_total")
_ON_NODE: Final = 'node=~"$node"'
_LANES: Final = 'consumer=~"backup-.*"'


def _quantiles(metric: str) -> tuple[Query, ...]:
    return tuple(
        Query(f"histogram_quantile({part}, sum by (le) (rate({metric}_bucket{_RATE})))", name)
        for part, name in ((0.5, "half are faster than"), (0.99, "99 % are faster than"))
    )


PIPELINE: Final = Dashboard(
    uid="streamgauge-pipeline",
    title="Pipeline and ledger",
    description="From the network card to the object storage: what came in, was stored, waits, and was lost.",
    variables=(_NODE,),
    rows=(
        Row(
            "The ledger",
            (
                Panel(
                    "Lost",
                    "Packets lost for good in the time shown.",
                    "short",
                    (Query(f"sum(increase(streamgauge_ledger_lost_packets_total{{{_ON_NODE}}}[$__range]))", "lost"),),
                    kind="stat",
                    width=6,
                    thresholds=GREEN_IS_ZERO,
                    decimals=0,
                ),
                Panel(
                    "Imbalance",
                    "Packets decoded and neither published, waiting nor given up. Anything but 0 is a defect.",
                    "short",
                    (Query(f"sum(streamgauge_ledger_imbalance_packets{{{_ON_NODE}}})", "imbalance"),),
                    kind="stat",
                    width=6,
                    thresholds=GREEN_IS_ZERO,
                    decimals=0,
                ),
                Panel(
                    "Waiting at the nodes",
                    "Packets that are decoded and not acknowledged by NATS yet.",
                    "short",
                    (Query(f"sum(streamgauge_ledger_spooled_packets{{{_ON_NODE}}})", "waiting"),),
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Oldest not stored",
                    "Age of the oldest summary that is not in the object storage. Around a minute is normal.",
                    "s",
                    (Query("streamgauge:oldest_unstored:seconds", "age"),),
                    kind="stat",
                    width=6,
                    thresholds=((None, "green"), (180, "orange"), (600, "red")),
                ),
                Panel(
                    "Every stage",
                    "Packets per second: received by the kernel, decoded, published to NATS, stored in the object "
                    "storage. The last comes in steps, an object at a time.",
                    "pps",
                    (
                        *(
                            Query(f"sum(rate(streamgauge_ledger_{name}_packets_total{{{_ON_NODE}}}{_RATE}))", name)
                            for name in ("received", "decoded", "published")
                        ),
                        Query(f"sum(rate(streamgauge_stored_packets_total{{{_ON_NODE}}}[5m]))", "stored"),
                    ),
                ),
                Panel(
                    "Every loss",
                    "Packets lost, by node, stage and reason; and packets left out on purpose by the capture filter.",
                    "short",
                    (
                        Query(
                            "sum by (node, stage, reason) "
                            f"(increase(streamgauge_ledger_lost_packets_total{{{_ON_NODE}}}{_RATE}))",
                            "{{node}} {{stage}} {{reason}}",
                        ),
                        Query(
                            f"sum by (node) (increase(streamgauge_ledger_filtered_packets_total{{{_ON_NODE}}}{_RATE}))",
                            "{{node}} filtered on purpose",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Capture and publishing",
            (
                Panel(
                    "Time to the acknowledgement",
                    "From the closing of a batch to NATS' acknowledgement.",
                    "s",
                    _quantiles("streamgauge_publish_latency_seconds"),
                ),
                Panel(
                    "Batches sent again",
                    "Batches a second that NATS did not acknowledge the first time, by reason.",
                    "ops",
                    (
                        Query(
                            f"sum by (reason) (rate(streamgauge_publish_retries_total{{{_ON_NODE}}}{_RATE}))",
                            "{{reason}}",
                        ),
                    ),
                ),
                Panel(
                    "Bytes that wait",
                    "Batches in a collector's memory until they are acknowledged. Bounded by "
                    "STREAMGAUGE_COLLECTOR_PENDING_BYTES.",
                    "bytes",
                    (Query(f"sum by (node) (streamgauge_pending_bytes{{{_ON_NODE}}})", "{{node}}"),),
                ),
                Panel(
                    "Since the last ledger record",
                    "A collector sends one every five seconds. 0: it ended in order.",
                    "s",
                    (
                        Query(
                            f"max by (node, interface) (streamgauge_ledger_age_seconds{{{_ON_NODE}}})",
                            "{{node}} {{interface}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "The stream",
            (
                Panel(
                    "Size",
                    "Bytes in the stream, and where it begins to discard its oldest messages.",
                    "bytes",
                    (
                        Query("max(streamgauge_stream_bytes)", "in the stream"),
                        Query("max(streamgauge_stream_max_bytes)", "limit"),
                    ),
                ),
                Panel(
                    "Messages that wait for the backup",
                    "Not handed out yet, and handed out but not stored, over all shards.",
                    "short",
                    (
                        Query(
                            f"sum(max by (consumer) (streamgauge_consumer_pending_messages{{{_LANES}}}))",
                            "in the stream",
                        ),
                        Query(
                            f"sum(max by (consumer) (streamgauge_consumer_unacknowledged_messages{{{_LANES}}}))",
                            "in hand",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Oldest message not stored",
                    "By consumer of the backup, each a shard of the stream.",
                    "s",
                    (
                        Query(
                            f"max by (consumer) (streamgauge_consumer_oldest_unacknowledged_seconds{{{_LANES}}})",
                            "{{consumer}}",
                        ),
                    ),
                ),
                Panel(
                    "Age of the stream",
                    "How far back it reaches: as long may the backup be away without a loss.",
                    "s",
                    (Query("max(streamgauge_stream_oldest_seconds)", "oldest message"),),
                ),
            ),
        ),
        Row(
            "Storage",
            (
                Panel(
                    "Objects stored",
                    "Objects a minute, by kind.",
                    "opm",
                    (Query("60 * sum by (kind) (rate(streamgauge_backup_objects_total[5m]))", "{{kind}}"),),
                ),
                Panel(
                    "Bytes stored",
                    "Bytes a second written to the object storage.",
                    "Bps",
                    (Query("sum by (kind) (rate(streamgauge_backup_object_bytes_total[5m]))", "{{kind}}"),),
                ),
                Panel(
                    "Time to store and verify an object",
                    "Upload until its checksum is confirmed.",
                    "s",
                    _quantiles("streamgauge_backup_upload_seconds"),
                ),
                Panel(
                    "Troubles",
                    "Uploads tried again, messages that cannot be read, batches that came twice, per second.",
                    "ops",
                    (
                        Query(f"sum(rate(streamgauge_backup_upload_retries_total{_RATE}))", "uploads again"),
                        Query(f"sum(rate(streamgauge_backup_quarantined_total{_RATE}))", "quarantined"),
                        Query(f"sum(rate(streamgauge_backup_duplicates_total{_RATE}))", "duplicates left out"),
                    ),
                ),
            ),
        ),
        Row(
            "Exporter",
            (
                Panel(
                    "Batches",
                    "Batches a second by what became of them. Skipped: it lagged too far and counted them by header.",
                    "ops",
                    (Query(f"sum by (result) (rate(streamgauge_exporter_batches_total{_RATE}))", "{{result}}"),),
                ),
                Panel(
                    "Behind",
                    "Age of the batch counted last, while others wait.",
                    "s",
                    (Query("max(streamgauge_exporter_behind_seconds)", "behind"),),
                ),
                Panel(
                    "Series by family",
                    "Series each family has. At the budget the rest is summed in __other__.",
                    "short",
                    (
                        Query("max by (metric) (streamgauge_series_active)", "{{metric}}"),
                        Query("max(streamgauge_series_budget)", "budget"),
                    ),
                ),
                Panel(
                    "Parts that answer",
                    "Targets Prometheus can read, by job.",
                    "short",
                    (Query('sum by (job) (up{job=~"collector|backup|exporter|nginx|prometheus"})', "{{job}}"),),
                ),
            ),
        ),
    ),
)
