"""The reference page of metrics is what the code declares, and names keep to the conventions."""

from __future__ import annotations

import re

import pytest

from docs.write_metrics import PATH, declared, page

METRICS = [pytest.param(part, metric, id=metric.name) for part, metrics in declared().items() for metric in metrics]

#: Families by the lower of both ports: below 32768, else "ephemeral", and 2,000 series at most.
BOUNDED = {"streamgauge_port_packets_total", "streamgauge_port_bytes_total"}


def test_the_page_is_what_the_code_declares():
    """docs/52-metrics.md is written by make docs."""
    assert PATH.read_text() == page()


@pytest.mark.parametrize(("part", "metric"), METRICS)
def test_names_say_kind_and_unit(part, metric):
    """Counters and only counters end in _total; meanings are sentences; labels are none that traffic can choose."""
    assert re.fullmatch(r"streamgauge_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith("_count")
    assert re.fullmatch(r"[A-Z0-9/].+\.", metric.meaning)
    forbidden = {"address", "ip", "port", "name", "pod", "query", "destination", "domain"}
    if metric.name in BOUNDED:
        # Only ports that services have, and few series.
        forbidden -= {"port"}
    assert not forbidden & set(metric.labels)


def test_no_sum_takes_two_parts_for_one():
    """A traffic or ledger family of the exporter is declared by no other part."""
    parts = {part: {metric.name for metric in metrics} for part, metrics in declared().items()}
    assert not parts["Exporter"] & (parts["Collector"] | parts["Backup"])
