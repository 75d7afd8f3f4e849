"""How long a page of many series takes: ours beside aioprometheus' formatter and prometheus_client, interleaved.

python -m benchmarks.render --series 50000
"""

from __future__ import annotations

import argparse
import statistics
import time

from aioprometheus.formats.text import TextFormatter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as ClientCounter
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from streamgauge.metrics import Metrics

LABELS = ("node", "interface", "protocol", "app", "direction")


def keys(count: int) -> list[tuple[str, ...]]:
    """Return label values as they occur: few words, many nodes."""
    words = [(p, a, d) for p in ("tcp", "udp") for a in ("dns", "tls", "http", "quic") for d in ("egress", "ingress")]
    return [(f"node-{number // 32}", f"eth{number // 16 % 2}", *words[number % 16]) for number in range(count)]


class Custom(Collector):
    """prometheus_client at its fastest: a collector that yields ready samples."""

    def __init__(self, names: list[tuple[str, ...]], values: list[int]) -> None:
        self.names, self.values = names, values

    def collect(self):
        family = CounterMetricFamily("streamgauge_bytes", "Bytes.", labels=LABELS)
        for key, value in zip(self.names, self.values, strict=True):
            family.add_metric(list(key), value)
        yield family


def contestants(count: int):
    """Return a function per contestant; each returns its page of the same series."""
    names = keys(count)
    values = [number * 1_234_567 for number in range(count)]

    bulk = Metrics()
    totals = bulk.totals("bytes_total", "Bytes.", *LABELS)
    single = Metrics()
    counter = single.counter("bytes_total", "Bytes.", *LABELS)
    client, custom = CollectorRegistry(), CollectorRegistry()
    theirs = ClientCounter("streamgauge_bytes", "Bytes.", LABELS, registry=client)
    for key, value in zip(names, values, strict=True):
        counter.set(value, *key)
        theirs.labels(*key).inc(value)
    custom.register(Custom(names, values))

    def ours_bulk() -> bytes:
        totals.publish(names, values, 1)
        return bulk.render()

    return {
        "ours, published in bulk (the exporter)": ours_bulk,
        "ours, set one by one (collector, backup)": single.render,
        "aioprometheus TextFormatter": lambda: TextFormatter().marshall(single._registry),
        "prometheus_client, custom collector": lambda: generate_latest(custom),
        "prometheus_client, Counter": lambda: generate_latest(client),
    }


def measure(count: int, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of a page by contestant, rounds interleaved."""
    functions = contestants(count)
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for name, function in functions.items():
        page = function()
        assert page.count(b"\nstreamgauge_bytes_total{") >= count - 1, name
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    """Print the medians and how many times faster ours is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    medians = measure(arguments.series, arguments.rounds)
    best = next(iter(medians.values()))
    print(f"a page of {arguments.series} series, median of {arguments.rounds} rounds")
    for name, median in medians.items():
        print(f"{name:42}{median:10.1f} ms{median / best:8.1f} x")


if __name__ == "__main__":
    main()
