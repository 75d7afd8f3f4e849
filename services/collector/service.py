"""The collector put together: which parts there are, and in which order they live."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from services.collector import sources
from services.collector.account import Account
from services.collector.batcher import Batcher
from services.collector.capture import Capture
from services.collector.ledger import LedgerWriter
from services.collector.link import Link
from services.collector.metrics import CollectorMetrics
from services.collector.overload import Overload
from services.collector.pending import Pending
from services.collector.publisher import Publisher
from services.collector.spool import Spool, bound_bytes
from streamgauge import lifecycle, privacy
from streamgauge.bus import Bus
from streamgauge.http import HttpServer
from streamgauge.settings import CollectorSettings, NatsSettings, PrivacySettings

if TYPE_CHECKING:
    from streamgauge.settings import Settings


class Collector:
    """One collector, from start to end. Each start is a *boot* with an account and a sequence of its own."""

    def __init__(self, settings: Settings) -> None:
        collector, nats = settings.section(CollectorSettings), settings.section(NatsSettings)
        self.boot = secrets.token_hex(8)
        self.failure = lifecycle.Failure()
        self.finished = asyncio.Event()
        self.account = Account()
        self.source = sources.make(collector)
        self.metrics = CollectorMetrics(collector, self.boot, self.source.interface)
        self.bus = Bus(nats, "collector")
        self.link = Link(self.bus, self.failure)
        self.pending = pending_of(collector)
        self.spool = Spool(collector, self.boot, self.account, self.failure, record=lambda: self.ledger.record("tick"))
        self.batcher = Batcher(
            collector,
            self.boot,
            interface=self.source.interface,
            largest_payload=lambda: self.bus.max_payload,
        )
        self.publisher = Publisher(
            self.bus,
            self.link,
            self.pending,
            self.spool,
            self.account,
            self.metrics,
            self.failure,
            live=self.source.live,
            ack_timeout=nats.connect_timeout,
            stop_timeout=collector.stop_timeout,
        )
        self.overload = Overload(collector, self.source, self.pending)
        self.ledger = LedgerWriter(
            collector.node,
            self.boot,
            bus=self.bus,
            link=self.link,
            account=self.account,
            source=self.source,
            pending=self.pending,
            spool=self.spool,
            sequence=lambda: self.batcher.sequence,
            level=lambda: self.overload.level,
            failure=self.failure,
        )
        self.capture = Capture(
            collector,
            source=self.source,
            batcher=self.batcher,
            publisher=self.publisher,
            account=self.account,
            failure=self.failure,
            finished=self.finished,
            overload=self.overload,
            privacy=privacy.make(settings.section(PrivacySettings), collector),
        )
        self.http = HttpServer(collector, self.metrics.registry, self.failure, ready=self.not_ready)
        self.metrics.follow(self.account, self.source, self.pending, self.spool, lambda: self.bus.disconnects)
        self.metrics.follow_load(self.account, self.source, self.overload, self.capture)

    def not_ready(self) -> str | None:
        """Return why the collector is not ready, None if it is."""
        if not self.capture.running:
            return "the source has not started, or has ended"
        return self.link.trouble

    async def run(self) -> None:
        """Run until told to stop, or until the source has ended and everything is published.

        Stopped in reverse: the capture is drained first, then the publisher; the ledger says the last word.
        """
        await lifecycle.run(
            [self.http, self.link, self.spool, self.ledger, self.publisher, self.capture],
            failure=self.failure,
            finished=self.finished,
        )


def pending_of(collector: CollectorSettings) -> Pending:
    """Return the queue of pending messages with its bounds: those of the disk if there is a spool, else of memory."""
    if collector.spool_dir is None:
        return Pending(bound_bytes=collector.pending_bytes, in_flight=collector.in_flight)
    return Pending(
        bound_bytes=bound_bytes(collector.spool_bytes),
        memory_bytes=collector.pending_bytes,
        bound_age=collector.spool_age,
        in_flight=collector.in_flight,
    )


async def check(settings: Settings) -> str:
    """Try out the configuration and return one line that says it is good.

    Raises:
        StreamgaugeError: says what is wrong and how to mend it.

    """
    collector, nats = settings.section(CollectorSettings), settings.section(NatsSettings)
    privacy.make(settings.section(PrivacySettings), collector)
    await asyncio.to_thread(sources.make(collector).check)
    bus = Bus(nats, "collector-check")
    await bus.start()
    try:
        info = await bus.ensure_stream()
    finally:
        await bus.stop()
    return f"configuration is good: source {collector.source} can be read, NATS has stream {info.config.name}"
