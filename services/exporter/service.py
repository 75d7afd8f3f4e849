"""The exporter as a whole: its parts in the order they start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.exporter import columns, networks, workloads
from services.exporter.aggregate import Aggregator
from services.exporter.consumer import Consumer
from services.exporter.door import DoorWatch
from services.exporter.health import Health
from services.exporter.hops import Hops
from services.exporter.identity import Identity
from services.exporter.identity_metrics import IdentityMetrics
from services.exporter.ledger_book import LedgerBook
from services.exporter.ledger_watch import LedgerWatch
from services.exporter.live import LivePage
from services.exporter.metrics import HopMetrics, LedgerMetrics, OwnMetrics, TrafficMetrics
from services.exporter.observation import Collectors
from services.exporter.opt_in import OptIn
from services.exporter.recent import Recent
from services.exporter.tail import Tail
from services.exporter.workload_metrics import WorkloadMetrics
from services.exporter.workloads import Workloads
from streamgauge import encode
from streamgauge.bus import Bus
from streamgauge.http import HttpServer
from streamgauge.metrics import Metrics
from streamgauge.rows import Rows
from streamgauge.settings import ExporterSettings, NatsSettings, Settings
from streamgauge.subjects import Envelope

if TYPE_CHECKING:
    from streamgauge.lifecycle import Component, Failure


class Kernels:
    """Compiles the kernels, or loads them from the cache on disk, before anything else starts."""

    async def start(self) -> None:
        """Count one made-up row, in a thread: the first time this takes seconds."""
        await asyncio.to_thread(warm_up)

    async def stop(self) -> None:
        """Nothing is held."""


def warm_up() -> None:
    """Run every kernel once."""
    columns.warm_up()
    rows = Rows(1)
    rows.buffers.state[0] = 1
    batch = encode.to_arrow(rows, encode.Origin("warm-up", "none"))
    envelope = Envelope("warm-up", "none", 1, "none", "none", 1, 0, 0, 0, 0)
    opt_in = OptIn(100, talkers=True, domains=True)
    counted = Aggregator(networks.parse(""), 100, opt_in=opt_in).fold(envelope, batch)
    Recent().see(envelope, batch, *counted)
    workloads.warm_up(counted[0], batch, envelope)


class Exporter:
    """Builds the parts and knows whether they are ready; lives as long as the process."""

    def __init__(self, settings: Settings, failure: Failure) -> None:
        """Build everything; nothing runs yet.

        Raises:
            ConfigurationError: a setting cannot be used.

        """
        own, nats = settings.section(ExporterSettings), settings.section(NatsSettings)
        self.metrics = Metrics()
        opt_in = OptIn(own.series_budget, talkers=own.talkers, domains=own.domains)
        self.aggregator = Aggregator(networks.parse(own.inside), own.series_budget, opt_in=opt_in)
        self.book = LedgerBook()
        self.bus = Bus(nats, "exporter")
        self.recent, self.tail = Recent(), Tail()
        observers = (self.recent, self.tail)
        collectors = Collectors()
        self.workloads = Workloads(
            networks.parse(own.inside), own.series_budget, collectors, self.aggregator.conversations
        )
        self.identity = Identity(self.bus, own, nats, self.workloads, failure)
        self.consumer = Consumer(
            self.bus, own, nats, self.aggregator, failure, observers=observers, workloads=self.workloads
        )
        self.watch = LedgerWatch(self.bus, own, nats, self.book, failure, collectors=collectors)
        self.hops = Hops(self.bus, own, nats, failure)
        self.door = DoorWatch(own.door, self.metrics, failure)
        self.health = Health(self.book, self.hops, self.consumer)
        self.page = LivePage(self.recent, self.tail, self.book, self.health, self.consumer, failure=failure)
        traffic = TrafficMetrics(self.metrics, self.aggregator, own.series_budget)
        WorkloadMetrics(self.metrics, self.workloads, traffic)
        IdentityMetrics(self.metrics, self.identity)
        LedgerMetrics(self.metrics, self.book)
        OwnMetrics(self.metrics, self.consumer, self.watch)
        HopMetrics(self.metrics, self.hops)
        self.metrics.before_scrape(self.health.note_scrape)
        self.http = HttpServer(own, self.metrics, failure, ready=lambda: self.consumer.trouble, routes=self.page.routes)

    @property
    def components(self) -> tuple[Component, ...]:
        """The parts in the order they start."""
        return (
            Kernels(),
            self.bus,
            self.identity,
            self.consumer,
            self.watch,
            self.hops,
            self.door,
            self.http,
            self.page,
        )
