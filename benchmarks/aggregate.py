"""Rows per second of the exporter's aggregation on the generated trace, part by part, in CPU time of one core.

python -m benchmarks.aggregate --packets 500000
"""

from __future__ import annotations

import argparse
import ipaddress
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.trace import write_trace
from services.exporter import columns, networks
from services.exporter.aggregate import Aggregator
from services.exporter.observation import Collectors
from services.exporter.opt_in import OptIn
from services.exporter.recent import Recent
from services.exporter.service import warm_up
from services.exporter.workloads import Workloads
from streamgauge import encode, text
from streamgauge.decode import Decoder
from streamgauge.decode.capture_file import open_capture
from streamgauge.identity.events import Binding
from streamgauge.identity.table import IdentityTable
from streamgauge.rows import Rows
from streamgauge.subjects import Envelope

INSIDE = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"


def read_batches(path: Path, *, split: bool):
    """Return (envelope, batch) of 8,192 rows, or split by class as on the wire."""
    rows, decoder, batches = Rows(8192), Decoder(), []
    origin = encode.Origin("node-a", "eth0")

    def close() -> None:
        groups = encode.by_class(rows) if split else [(None, np.arange(len(rows)))]
        for _, chosen in groups:
            batch = encode.to_arrow(rows, origin, chosen)
            size = int(np.frombuffer(batch.column("bytes").buffers()[1], np.int64, len(batch)).sum())
            numbers = (len(batch), len(batch), size, time.time_ns(), time.time_ns())
            batches.append((Envelope("node-a", "boot", len(batches) + 1, "eth0", "interface", *numbers), batch))
        rows.clear()

    with open_capture(path) as capture:
        for data, index, count in capture.blocks():
            at = 0
            while at < count:
                at += decoder.decode(data, index, at, count, rows)
                if at < count:
                    close()
    close()
    return batches


def rate(work, batches, rounds: int) -> float:
    """Return the median rate in rows per second of CPU time."""
    rows = sum(len(batch) for _, batch in batches)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work(batches)
        times.append(time.process_time() - start)
    return rows / statistics.median(times)


def identities(batches) -> IdentityTable:
    """Return a table in which each address of the inside networks is a pod, a hundred pods a workload."""
    inside = [ipaddress.ip_network(network) for network in INSIDE.split(",")]
    packed = set()
    for _, batch in batches:
        for side in ("src_ip", "dst_ip"):
            packed |= set(batch.column(side).drop_null().unique().to_pylist())
    addresses = [ipaddress.ip_address(text.address_text(each)) for each in sorted(packed)]
    pods = [each for each in addresses if any(each in network for network in inside if network.version == each.version)]
    return IdentityTable(
        Binding(
            str(ip),
            "pod",
            f"u{number}",
            f"n{number // 100 % 20}",
            f"p{number}",
            f"w{number // 100}",
            "Deployment",
            "",
            False,
            0,
        )
        for number, ip in enumerate(pods)
    )


def main() -> None:
    """Print millions of rows per second by part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.pcap"
        write_trace(path, arguments.packets, 1)
        whole, split = read_batches(path, split=False), read_batches(path, split=True)

    def read_columns(batches) -> None:
        for _, batch in batches:
            columns.read(batch)

    def fold(batches) -> None:
        aggregator = Aggregator(networks.parse(INSIDE), 20_000)
        for envelope, batch in batches:
            aggregator.fold(envelope, batch)

    def fold_and_show(batches) -> None:
        aggregator, recent = Aggregator(networks.parse(INSIDE), 20_000), Recent()
        for envelope, batch in batches:
            recent.see(envelope, batch, *aggregator.fold(envelope, batch))

    table = identities(whole)
    living = {(owner.namespace, owner.workload, owner.workload_kind) for owner in table.owners}

    # A table is handed over once for many batches.
    workloads = Workloads(networks.parse(INSIDE), 20_000, Collectors())
    workloads.use(table, living)

    def fold_with_workloads(batches, *, show: bool = False, ask: bool = False) -> None:
        opt_in = OptIn(20_000, talkers=ask, domains=ask)
        aggregator, recent = Aggregator(networks.parse(INSIDE), 20_000, opt_in=opt_in), Recent()
        for envelope, batch in batches:
            counted = aggregator.fold(envelope, batch)
            workloads.see(envelope, batch, *counted)
            if show:
                recent.see(envelope, batch, *counted)
        workloads.flush()

    def workloads_alone(batches) -> None:
        for envelope, batch in batches:
            workloads.see(envelope, batch, columns.read(batch), None)
        workloads.flush()

    warm_up()
    for name, work, batches in (
        ("columns as arrays", read_columns, whole),
        ("labels, histograms, flows, ports; batches of 8,192", fold, whole),
        ("the same, batches split by class", fold, split),
        ("columns, and pairs of workloads alone", workloads_alone, whole),
        ("all families; batches of 8,192", fold_with_workloads, whole),
        ("the same, split by class", fold_with_workloads, split),
        ("labels and the live page; split by class", fold_and_show, split),
        ("all families and the live page; split by class", partial(fold_with_workloads, show=True), split),
        ("and talkers, domains as labels (off by default)", partial(fold_with_workloads, show=True, ask=True), split),
    ):
        print(f"{name:52}{rate(work, batches, arguments.rounds) / 1e6:8.1f} M rows/s ({len(batches)} batches)")


if __name__ == "__main__":
    main()
