"""Reads the stream: every batch is counted once, in the order of the stream; past a bound it skips to now.

A skip reads the headers of what it passes over, not the payloads. So it is fast, and packets and bytes of each node
stay exact; only what they were (protocol, application, direction) is ``__skipped__``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from nats.errors import Error as NatsError

from services.exporter.duplicates import SeenBatches
from services.exporter.puller import LostPlace, Puller
from streamgauge import bus, codec, subjects
from streamgauge.errors import BusError, PayloadError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    import pyarrow as pa
    from nats.aio.msg import Msg

    from services.exporter.aggregate import Aggregator, Counts
    from services.exporter.columns import Columns
    from services.exporter.workloads import Workloads
    from streamgauge.settings import ExporterSettings, NatsSettings
    from streamgauge.subjects import Envelope

_log = get("consumer")

#: Messages asked for at once; at 512 KiB each this bounds what waits in memory.
_FETCH: Final = 16
#: The same for a skip, where messages are headers only.
_FETCH_HEADERS: Final = 512
#: Seconds to wait for a message before looking around.
_PATIENCE: Final = 1.0
#: Seconds between two attempts to find the stream again.
_RETRY: Final = 0.5


class Observer(Protocol):
    """Something else that looks at each batch, such as the live page."""

    def see(self, envelope: Envelope, batch: pa.RecordBatch, columns: Columns, counts: Counts) -> None:
        """Look at one batch and what was counted in it; called in the consumer's worker thread."""


class Progress:
    """What became of the messages so far."""

    def __init__(self) -> None:
        self.counted = 0
        self.duplicate = 0
        #: Not a batch of summaries that this version reads.
        self.refused = 0
        self.skipped = 0
        self.skipped_packets = 0
        self.skipped_bytes = 0
        #: How often the consumer had to find its place again.
        self.reopened = 0
        #: Messages of the stream that wait.
        self.pending = 0
        #: Stream sequence handled last.
        self.sequence = 0
        #: Seconds of the wall clock: when the last message was stored, and handled.
        self.stored = 0.0
        self.handled = 0.0
        #: By node: seconds from the newest packet of its last batch to when the batch was counted.
        self.lag_by_node: dict[str, float] = {}


class Consumer:
    """Feeds the aggregator from the stream; a component of the service."""

    def __init__(
        self,
        nats_bus: bus.Bus,
        settings: ExporterSettings,
        nats_settings: NatsSettings,
        aggregator: Aggregator,
        failure: Failure,
        *,
        observers: tuple[Observer, ...] = (),
        workloads: Workloads | None = None,
    ) -> None:
        self._bus = nats_bus
        self._settings = settings
        self._stream = nats_settings.stream
        self._aggregator = aggregator
        self._failure = failure
        self._observers = observers if workloads is None else (*observers, workloads)
        self._workloads = workloads
        self._seen = SeenBatches()
        self._sampled = Sampled(_log)
        self._puller: Puller | None = None
        self._task: asyncio.Task[None] | None = None
        # While it works off a replayed past, lagging is no reason to skip.
        self._may_skip = not settings.replay
        self.progress = Progress()

    async def start(self) -> None:
        """Find the stream and begin to count.

        Raises:
            BusError: the stream is missing or cannot be read.

        """
        info = await self._bus.ensure_stream()
        shards = bus.shard_count(info)
        own = self._settings.shards_of(shards)
        self._puller = Puller(self._bus, self._stream, filters(own, shards))
        self.progress.sequence = 0 if self._settings.replay else int(info.state.last_seq)
        try:
            await self._puller.open_behind(self.progress.sequence)
        except (NatsError, TimeoutError) as error:
            raise BusError(
                f"cannot read stream {self._stream}: {error or 'no answer'}; "
                "this user must be allowed to create consumers"
            ) from error
        _log.info("reading", stream=self._stream, behind=self.progress.sequence, shards=list(own))
        self._task = spawn(self._work(), name="consumer", failure=self._failure)

    async def stop(self) -> None:
        """Stop reading."""
        await cancel(self._task)
        if self._puller is not None:
            await self._puller.close()

    @property
    def trouble(self) -> str | None:
        """Why the service is not ready, in words; None when it is."""
        if self._task is None or self._task.done():
            return "not reading the stream"
        return None if self._bus.connected else "not connected to NATS"

    async def _work(self) -> None:
        assert self._puller is not None
        while True:
            try:
                messages = await self._puller.fetch(_FETCH, _PATIENCE)
                if messages:
                    await asyncio.to_thread(self._count, messages)
                    await self._skip_if_late(messages[-1])
                self._aggregator.rebalance(time.monotonic())
                if self._workloads is not None and self._workloads.is_due(time.monotonic()):
                    await asyncio.to_thread(self._workloads.rebalance, time.monotonic())
            except LostPlace as error:
                self._sampled.warning("lost place in the stream", error=str(error), behind=self.progress.sequence)
                await self._reopen()

    def _count(self, messages: list[Msg]) -> None:
        for message in messages:
            try:
                envelope = subjects.Envelope.from_headers(message.headers)
                if self._seen.is_new(envelope):
                    batch = codec.decode(message.data, envelope.content_type)
                    counted = self._aggregator.fold(envelope, batch)
                    self._note(envelope)
                    for observer in self._observers:
                        observer.see(envelope, batch, *counted)
                else:
                    self.progress.duplicate += 1
            except PayloadError as error:
                self.progress.refused += 1
                self._sampled.warning("message refused", subject=message.subject, error=str(error))
            self._advance(message)

    def _note(self, envelope: Envelope) -> None:
        self.progress.counted += 1
        self.progress.lag_by_node[envelope.node] = max(0.0, time.time() - envelope.last_time / 1e9)

    def _advance(self, message: Msg) -> None:
        metadata = message.metadata
        self.progress.sequence = metadata.sequence.stream
        self.progress.pending = metadata.num_pending
        self.progress.stored = metadata.timestamp.timestamp()
        self.progress.handled = time.time()
        if metadata.num_pending == 0:
            self._may_skip = True

    async def _skip_if_late(self, last: Msg) -> None:
        late = time.time() - last.metadata.timestamp.timestamp()
        if not self._may_skip or last.metadata.num_pending == 0 or late <= self._settings.max_lag:
            return
        before = self.progress.skipped
        await self._skip()
        _log.warning("skipped to now", late_seconds=round(late), batches=self.progress.skipped - before)

    async def _skip(self) -> None:
        """Pass over everything that is stored now, by headers."""
        assert self._puller is not None
        try:
            target = int((await self._bus.jetstream.stream_info(self._stream)).state.last_seq)
            await self._puller.open_behind(self.progress.sequence, headers_only=True)
            while self.progress.sequence < target:
                messages = await self._puller.fetch(_FETCH_HEADERS, _PATIENCE)
                if not messages:
                    break
                await asyncio.to_thread(self._pass_over, messages)
            await self._puller.open_behind(self.progress.sequence)
        except (NatsError, TimeoutError) as error:
            raise LostPlace(f"cannot skip: {error}") from error

    def _pass_over(self, messages: list[Msg]) -> None:
        for message in messages:
            try:
                envelope = subjects.Envelope.from_headers(message.headers)
                if self._seen.is_new(envelope):
                    self._aggregator.skip(envelope)
                    if self._workloads is not None:
                        self._workloads.pass_over(envelope)
                    self.progress.skipped += 1
                    self.progress.skipped_packets += envelope.packets
                    self.progress.skipped_bytes += envelope.bytes
                else:
                    self.progress.duplicate += 1
            except PayloadError:
                self.progress.refused += 1
            self._advance(message)

    async def _reopen(self) -> None:
        """Open behind the last message handled, as soon as the stream can be reached."""
        assert self._puller is not None
        self.progress.reopened += 1
        while True:
            try:
                info = await self._bus.ensure_stream()
                if int(info.state.last_seq) < self.progress.sequence:
                    # The stream was deleted and made anew; what it holds is new, and duplicates are recognised.
                    self.progress.sequence = 0
                await self._puller.open_behind(self.progress.sequence)
            except (BusError, NatsError, TimeoutError) as error:
                self._sampled.warning("cannot open the stream", error=str(error))
                await asyncio.sleep(_RETRY)
            else:
                return


def filters(own: tuple[int, ...], shards: int) -> list[str]:
    """Return the subject filters for the shards this replica takes."""
    if len(own) == shards:
        return [f"{subjects.TRAFFIC}.>"]
    return [subjects.stored_shard(shard) for shard in own]
