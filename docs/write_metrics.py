"""Writes docs/52-metrics.md from what the services declare (``make docs``); a test compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.backup.metrics import BackupMetrics
from services.collector.metrics import CollectorMetrics
from services.exporter.service import Exporter
from streamgauge.lifecycle import Failure
from streamgauge.settings import CollectorSettings, ExporterSettings, NatsSettings, Settings

if TYPE_CHECKING:
    from streamgauge.metrics import Declared

PATH: Final = Path(__file__).with_name("52-metrics.md")

_HEAD: Final = """\
# Metrics

<!-- Written by `make docs` from the code; edit there. -->

Each part has its page at `/metrics`: collector 9101, backup 9102, exporter 9103. Names end in `_total` where a value
only grows; units are seconds and bytes. No label is an address or a name that traffic can choose, unless you ask for it
(below).

## How to read them

**Packets and bytes are exact.** A row of the stream may stand for several packets; `packets` and `bytes` are summed,
never rows. A batch that is delivered twice counts once. A damaged packet counts like any other, and by its
`decode_status`.

**direction** is seen from the networks of `STREAMGAUGE_EXPORTER_INSIDE` (by default the private ranges). Both ends
inside: `internal`; from inside to outside: `egress`; from outside to inside: `ingress`; neither end inside:
`transit`; no IP address: `__unknown__`. Multicast, broadcast, link-local, loopback and unspecified addresses are
always inside. The rule needs no Kubernetes and gives one answer wherever a packet is captured.

**app** is what the decoder recognised, `__unknown__` where it recognised nothing, `other` for a word of a newer
collector.

**Series budget.** A family has at most `STREAMGAUGE_EXPORTER_SERIES_BUDGET` series (a histogram counts with all its
lines). Beyond it, light keys are summed in the series `__other__`. The sum over a family is exact at any moment, and
a series is never an estimate: it holds what its key carried since it has a series of its own. Once a minute, a key
that carried more than twice what the lightest series carries may replace it; the replaced total is folded into
`__other__` and counted in `streamgauge_series_folded_total`. So a rate over a whole family is exact after
subtraction: `sum(rate(x[5m])) - sum(rate(streamgauge_series_folded_total{metric="x"}[5m]))`, as the recording rules
do. Found for certain is every key that carries, in one minute, more than twice the lightest series plus 2N/budget, N
being what went to `__other__` in that minute.

**Flows and attempts.** A *connection attempt* is a SYN without ACK between two ends; one that is sent again within
ten seconds is the same. It is answered by SYN-ACK or a reset, or else unanswered when the ten seconds are over, seen
by the node's next TCP packet. A *flow* is an attempt or, for any other protocol over IP, the first packet between two
ends in a minute of capture time (so a conversation of an hour counts sixty times, as in NetFlow with an active
timeout of a minute). Both count once a node, on however many interfaces the packets pass. A connection whose opening
was merged into one row (overload) is no flow; after a skip, attempts that wait for an answer are dropped, not counted
as unanswered.

**Workloads.** The families `streamgauge_workload_…` count each packet once, wherever it is seen, under the names its
addresses had at its time. `__world__` is outside, `__unknown__` inside and not known. What does not count is in
`streamgauge_workload_uncounted_…` by reason: `no_address`, `service_address` (before translation), `other_node`,
`other_interface`, `skipped`. The rules: [who an address is](16-identity.md).

**port** is the lower of both ports, `ephemeral` where even that is above 32767. At most 2,000 series.

**Only if you ask for it**, since traffic chooses the labels (at most 1,000 series each; the live page always shows
both): `STREAMGAUGE_EXPORTER_TALKERS=true` adds `streamgauge_talker_packets_total` and
`streamgauge_talker_bytes_total` by `source` and `destination` address, at some microseconds for each pair of a batch
(with tens of thousands of pairs a second the exporter falls behind); `STREAMGAUGE_EXPORTER_DOMAINS=true` adds
`streamgauge_dns_domain_queries_total` and `streamgauge_dns_domain_failures_total` (responses other than NOERROR) by
registered `domain`.

**Skipped.** An exporter that lags more than `STREAMGAUGE_EXPORTER_MAX_LAG` reads the headers only of what it passes
over: packets and bytes of each node stay exact, protocol, app and direction of them are `__skipped__`.

**Merged rows.** Under overload a collector merges packets of one flow into one row. Packets and bytes stay exact; a
merged row's packets count in `packet_size_bytes` at their mean size, and with the flags of the row.

**Ledger.** `streamgauge_ledger_…` is what the nodes' ledger records say, added up over restarts. Collectors have counts
like these of their own; the names differ, so that no sum takes both.
"""


def declared() -> dict[str, list[Declared]]:
    """Return the metrics of each part."""
    exporter = Exporter(Settings({"exporter": ExporterSettings(), "nats": NatsSettings()}), Failure())
    collector = CollectorMetrics(CollectorSettings(node="node"), "boot", "interface")
    return {
        "Exporter": exporter.metrics.declared,
        "Collector": collector.registry.declared,
        "Backup": BackupMetrics().page.declared,
    }


def page() -> str:
    """Return the page."""
    lines = [_HEAD]
    for part, metrics in declared().items():
        lines += [f"## {part}", "", "| metric | kind | labels | meaning |", "| --- | --- | --- | --- |"]
        for metric in sorted(metrics):
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |".replace("  |", " |"))
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write the page."""
    PATH.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
