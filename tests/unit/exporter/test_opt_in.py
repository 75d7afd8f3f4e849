"""Families whose label values traffic chooses: no choice makes two series with the same labels."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.exporter import networks
from services.exporter.aggregate import Aggregator
from services.exporter.metrics import TrafficMetrics
from services.exporter.opt_in import OptIn
from streamgauge.metrics import Metrics
from tests.support.rows import batch_from
from tests.support.traffic import envelope_of


@pytest.mark.parametrize(
    "names",
    [
        ["__other__", "a.example", "b.example", "c.example"],
        # Alike up to where a label ends, or where a character cannot be shown.
        ["x" * 256 + "1", "x" * 256 + "2"],
        ["\x01.example", "\x02.example"],
    ],
    ids=["our own word", "too long", "not printable"],
)
def test_names_that_look_alike_are_one_series(names):
    """Prometheus would drop one of two; the total stays exact."""
    aggregator = Aggregator(networks.parse("10.0.0.0/8"), 3, opt_in=OptIn(3, domains=True))
    metrics = Metrics()
    TrafficMetrics(metrics, aggregator, 3)
    rows = [{"app": "dns", "dns_response": False, "dns_name": name, "src_ip": "10.0.0.1"} for name in names]
    batch = batch_from(rows)
    aggregator.fold(envelope_of(batch), batch)
    page = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    samples = page["streamgauge_dns_domain_queries"].samples
    shown = [sample.labels["domain"] for sample in samples]

    assert len(shown) == len(set(shown))
    assert sum(sample.value for sample in samples) == len(names)
