"""The dashboard about streamgauge itself: every stage, every loss, every delay."""

from __future__ import annotations

from typing import Final

from grafana.model import GREEN_IS_ZERO, Dashboard, Panel, Query, Row, Variable
from grafana.queries import CLUSTER, IN_CLUSTER, ON_NODE, RATE

_NODE: Final = Variable("node", "Node", 'streamgauge_ledger_received_packets_total{cluster=~"$cluster"}')
_JOBS: Final = f'{IN_CLUSTER},job=~"collector|backup|exporter|nginx|prometheus"'
_LANES: Final = f'{IN_CLUSTER},consumer=~"backup-.*"'


def _quantiles(metric: str) -> tuple[Query, ...]:
    return tuple(
        Query(f"histogram_quantile({part}, sum by (le) (rate({metric}_bucket{{{IN_CLUSTER}}}{RATE})))", name)
        for part, name in ((0.5, "half are faster than"), (0.99, "99 % are faster than"))
    )


PIPELINE: Final = Dashboard(
    uid="streamgauge-pipeline",
    title="Pipeline and ledger",
    description="From the network card to the object storage: what came in, was stored, waits, and was lost.",
    variables=(CLUSTER, _NODE),
    rows=(
        Row(
            "The ledger",
            (
                Panel(
                    "Lost",
                    "Packets lost for good in the time shown.",
                    "short",
                    (Query(f"sum(increase(streamgauge_ledger_lost_packets_total{{{ON_NODE}}}[$__range]))", "lost"),),
                    kind="stat",
                    width=6,
                    thresholds=GREEN_IS_ZERO,
                    decimals=0,
                ),
                Panel(
                    "Imbalance",
                    "Packets decoded and neither published, waiting nor given up. Anything but 0 is a defect.",
                    "short",
                    (Query(f"sum(streamgauge_ledger_imbalance_packets{{{ON_NODE}}})", "imbalance"),),
                    kind="stat",
                    width=6,
                    thresholds=GREEN_IS_ZERO,
                    decimals=0,
                ),
                Panel(
                    "Waiting at the nodes",
                    "Packets that are decoded and not acknowledged by NATS yet.",
                    "short",
                    (Query(f"sum(streamgauge_ledger_spooled_packets{{{ON_NODE}}})", "waiting"),),
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Oldest not stored",
                    "Age of the oldest summary that is not in the object storage. Around a minute is normal.",
                    "s",
                    (Query(f"streamgauge:oldest_unstored:seconds{{{IN_CLUSTER}}}", "age"),),
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
                            Query(f"sum(rate(streamgauge_ledger_{name}_packets_total{{{ON_NODE}}}{RATE}))", name)
                            for name in ("received", "decoded", "published")
                        ),
                        Query(f"sum(rate(streamgauge_stored_packets_total{{{ON_NODE}}}[5m]))", "stored"),
                    ),
                ),
                Panel(
                    "Every loss",
                    "Packets lost, by node, stage and reason; and packets left out on purpose by the capture filter.",
                    "short",
                    (
                        Query(
                            "sum by (node, stage, reason) "
                            f"(increase(streamgauge_ledger_lost_packets_total{{{ON_NODE}}}{RATE}))",
                            "{{node}} {{stage}} {{reason}}",
                        ),
                        Query(
                            f"sum by (node) (increase(streamgauge_ledger_filtered_packets_total{{{ON_NODE}}}{RATE}))",
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
                            f"sum by (reason) (rate(streamgauge_publish_retries_total{{{ON_NODE}}}{RATE}))",
                            "{{reason}}",
                        ),
                    ),
                ),
                Panel(
                    "Room taken by what waits",
                    "Batches that wait for their acknowledgement, as part of the room there is for them: the spool, or "
                    "memory without one. Past it the oldest are given up.",
                    "percentunit",
                    (
                        Query(
                            f"sum by (node) (streamgauge_pending_bytes{{{ON_NODE}}}) "
                            f"/ sum by (node) (streamgauge_pending_max_bytes{{{ON_NODE}}})",
                            "{{node}}",
                        ),
                    ),
                ),
                Panel(
                    "Since the last ledger record",
                    "A collector sends one every five seconds. 0: it ended in order.",
                    "s",
                    (
                        Query(
                            f"max by (node, interface) (streamgauge_ledger_age_seconds{{{ON_NODE}}})",
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
                        Query(f"max(streamgauge_stream_bytes{{{IN_CLUSTER}}})", "in the stream"),
                        Query(f"max(streamgauge_stream_max_bytes{{{IN_CLUSTER}}})", "limit"),
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
                    (Query(f"max(streamgauge_stream_oldest_seconds{{{IN_CLUSTER}}})", "oldest message"),),
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
                    (
                        Query(
                            f"60 * sum by (kind) (rate(streamgauge_backup_objects_total{{{IN_CLUSTER}}}[5m]))",
                            "{{kind}}",
                        ),
                    ),
                ),
                Panel(
                    "Bytes stored",
                    "Bytes a second written to the object storage.",
                    "Bps",
                    (
                        Query(
                            f"sum by (kind) (rate(streamgauge_backup_object_bytes_total{{{IN_CLUSTER}}}[5m]))",
                            "{{kind}}",
                        ),
                    ),
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
                        Query(
                            f"sum(rate(streamgauge_backup_upload_retries_total{{{IN_CLUSTER}}}{RATE}))", "uploads again"
                        ),
                        Query(f"sum(rate(streamgauge_backup_quarantined_total{{{IN_CLUSTER}}}{RATE}))", "quarantined"),
                        Query(
                            f"sum(rate(streamgauge_backup_duplicates_total{{{IN_CLUSTER}}}{RATE}))",
                            "duplicates left out",
                        ),
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
                    (
                        Query(
                            f"sum by (result) (rate(streamgauge_exporter_batches_total{{{IN_CLUSTER}}}{RATE}))",
                            "{{result}}",
                        ),
                    ),
                ),
                Panel(
                    "Behind",
                    "Age of the batch counted last, while others wait.",
                    "s",
                    (Query(f"max(streamgauge_exporter_behind_seconds{{{IN_CLUSTER}}})", "behind"),),
                ),
                Panel(
                    "Series by family",
                    "Series each family has. At the budget the rest is summed in __other__.",
                    "short",
                    (
                        Query(f"max by (metric) (streamgauge_series_active{{{IN_CLUSTER}}})", "{{metric}}"),
                        Query(f"max(streamgauge_series_budget{{{IN_CLUSTER}}})", "budget"),
                    ),
                ),
                Panel(
                    "Parts that answer",
                    "Targets Prometheus can read, by job.",
                    "short",
                    (Query(f"sum by (job) (up{{{_JOBS}}})", "{{job}}"),),
                ),
            ),
        ),
    ),
)
