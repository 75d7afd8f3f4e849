"""Which metrics the services declare, read from the metrics themselves; what dashboards and rules may ask for."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import yaml

from services.backup.metrics import BackupMetrics
from services.collector.metrics import CollectorMetrics
from services.exporter.service import Exporter
from streamgauge.lifecycle import Failure
from streamgauge.settings import CollectorSettings, ExporterSettings, NatsSettings, Settings

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "prometheus"

#: What a histogram adds to its name on the page.
_PARTS = ("_bucket", "_count", "_sum")
_NAME = re.compile(r"\bstreamgauge_[a-z0-9_]+\b")
_RECORDED = re.compile(r"\b[a-z_]+:[a-z0-9_]+:[a-z0-9]+\b")


@functools.cache
def families():
    """Return the names of all metrics, histograms by the names their series have."""
    exporter = Exporter(Settings({"exporter": ExporterSettings(), "nats": NatsSettings()}), Failure())
    collector = CollectorMetrics(CollectorSettings(node="n"), "boot", "eth0")
    found = {"streamgauge_door_connections"}
    for metrics in (exporter.metrics, collector.registry, BackupMetrics().page):
        for metric in metrics._registry.get_all():
            is_histogram = metric.kind.name == "histogram"
            found |= {metric.name + part for part in _PARTS} if is_histogram else {metric.name}
    return found


def rules(name):
    """Return the rules of a file of prometheus/."""
    groups = yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@functools.cache
def recorded():
    """Return the names of all recorded series."""
    return {rule["record"] for rule in rules("recording-rules.yml")}


def unknown(expression):
    """Return the names in a PromQL expression that nothing declares or records."""
    outside_quotes = re.sub(r'"[^"]*"', '""', expression)
    return (set(_NAME.findall(outside_quotes)) - families()) | (set(_RECORDED.findall(outside_quotes)) - recorded())
