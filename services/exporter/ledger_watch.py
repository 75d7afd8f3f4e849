"""Keeps the ledger book up to date: the last record of each node at the start, then each new one.

Read apart from the summaries, so that losses show at once also when the exporter lags.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError

from services.exporter.observation import Collectors
from services.exporter.puller import LostPlace, Puller
from services.exporter.shards import shard_of
from streamgauge import bus, ledger, subjects
from streamgauge.errors import PayloadError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from services.exporter.ledger_book import LedgerBook
    from streamgauge.settings import ExporterSettings, NatsSettings

_log = get("ledger")

_FETCH: Final = 256
_PATIENCE: Final = 1.0  # seconds
_RETRY: Final = 0.5  # seconds


class LedgerWatch:
    """Reads ledger records; a component of the service, started behind the consumer, which made sure of the stream."""

    def __init__(
        self,
        nats_bus: bus.Bus,
        settings: ExporterSettings,
        nats_settings: NatsSettings,
        book: LedgerBook,
        failure: Failure,
        *,
        collectors: Collectors | None = None,
    ) -> None:
        self._bus = nats_bus
        self._settings = settings
        self._puller = Puller(nats_bus, nats_settings.stream, [f"{subjects.LEDGER}.*"])
        self._book = book
        self._collectors = collectors or Collectors()
        self._failure = failure
        self._sampled = Sampled(_log)
        self._task: asyncio.Task[None] | None = None
        self._shards = 1
        self._own: frozenset[int] = frozenset({0})
        #: Messages that are no ledger record of this version.
        self.refused = 0

    async def start(self) -> None:
        """Begin to read."""
        self._shards = bus.shard_count(await self._bus.ensure_stream())
        self._own = frozenset(self._settings.shards_of(self._shards))
        self._task = spawn(self._work(), name="ledger", failure=self._failure)

    async def stop(self) -> None:
        """Stop reading."""
        await cancel(self._task)
        await self._puller.close()

    async def _work(self) -> None:
        while True:
            try:
                await self._puller.open_last()
                while True:
                    for message in await self._puller.fetch(_FETCH, _PATIENCE):
                        self._take(message)
            except (LostPlace, NatsError, TimeoutError) as error:
                self._sampled.warning("cannot read the ledger", error=str(error))
                await asyncio.sleep(_RETRY)

    def _take(self, message: Msg) -> None:
        own = shard_of(message.subject.rpartition(".")[2], self._shards) in self._own
        try:
            record = ledger.LedgerRecord.decode(message.data)
        except PayloadError as error:
            if own:
                self.refused += 1
                self._sampled.warning("ledger record refused", subject=message.subject, error=str(error))
            return
        # Which nodes have a collector matters to every replica.
        self._collectors.hear(record.node, record.time / 1e9, stopped=record.reason == "stop")
        if own:
            self._book.take(record, time.time())
