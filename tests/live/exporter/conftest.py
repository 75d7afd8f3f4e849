"""An exporter inside the test's own event loop, on a real nats-server."""

from __future__ import annotations

import contextlib
from collections import Counter

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.exporter.service import Exporter
from streamgauge.bus import Bus
from streamgauge.lifecycle import Failure
from streamgauge.settings import ExporterSettings, LogSettings, Settings


class Running:
    """A started exporter and what a scrape of it finds."""

    def __init__(self, exporter, failure):
        self.exporter = exporter
        self.failure = failure

    @property
    def url(self):
        return f"http://127.0.0.1:{self.exporter.http.port}"

    async def samples(self):
        """Scrape; return ``{(name without prefix, frozen labels): value}``."""
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"{self.url}/metrics")).raise_for_status().text
        return {
            (sample.name.removeprefix("streamgauge_"), frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    async def total(self, name, **labels):
        """Scrape; return the sum of a family's series that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, own), value in (await self.samples()).items() if found == name and wanted <= own)

    async def by(self, name, label):
        """Scrape; return a family's sums by one label."""
        sums = Counter()
        for (found, own), value in (await self.samples()).items():
            if found == name:
                sums[dict(own)[label]] += value
        return dict(sums)


@pytest.fixture(name="run_exporter")
def _run_exporter(nats_settings):
    """Return a context manager that runs an exporter with the given settings."""

    @contextlib.asynccontextmanager
    async def run(**values):
        own = ExporterSettings(**{"port": 0, "replay": True, **values})
        failure = Failure()
        exporter = Exporter(Settings({"log": LogSettings(), "nats": nats_settings, "exporter": own}), failure)
        started = []
        try:
            for component in exporter.components:
                started.append(component)
                await component.start()
            yield Running(exporter, failure)
        finally:
            for component in reversed(started):
                await component.stop()
        assert failure.error is None

    return run


@pytest.fixture(name="bus")
async def _bus(nats_settings):
    """Return a connection with the stream in place."""
    bus = Bus(nats_settings, "test")
    await bus.start()
    await bus.ensure_stream()
    yield bus
    await bus.stop()
