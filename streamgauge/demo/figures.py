"""The numbers of a running demo: from the metrics pages of the services, and talkers from the stream itself."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from streamgauge import codec, subjects
from streamgauge.errors import PayloadError
from streamgauge.text import address_text

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from streamgauge.bus import Bus
    from streamgauge.demo.scrape import Page
    from streamgauge.demo.services import ServiceProcess
    from streamgauge.ledger import LedgerRecord

#: Samples the sparkline and the talkers look back on; one a second.
HISTORY: Final = 60
_TALKER_SECONDS: Final = 10
#: Pairs kept of one batch: the heaviest are all that can become top talkers.
_PAIRS_PER_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class Talker:
    """Two ends and what one sent the other lately."""

    source: str
    target: str
    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One moment of the demo. Packets are totals since the start."""

    captured: int = 0
    captured_bytes: int = 0
    dropped: int = 0
    published: int = 0
    stored: int = 0
    counted: int = 0
    objects: int = 0
    #: Seconds from a packet to its count in the metrics, and age of the oldest message that is not stored.
    lag: float = 0.0
    unstored_age: float = 0.0
    packets_per_second: float = 0.0
    bits_per_second: float = 0.0
    talkers: tuple[Talker, ...] = ()
    #: Packets by application or protocol, from the exporter.
    kinds: tuple[tuple[str, int], ...] = ()
    #: Packets per second of the last minute, oldest first.
    history: tuple[float, ...] = field(default=())


class Talkers:
    """Who sends most to whom, over the last seconds; fed with batches from the stream."""

    def __init__(self) -> None:
        self._seconds: deque[Counter[tuple[bytes, bytes]]] = deque([Counter()], maxlen=_TALKER_SECONDS)

    async def take(self, message: Msg) -> None:
        """Count one message of the stream; a damaged one is the backup's business, not ours."""
        try:
            batch = codec.decode(message.data, (message.headers or {}).get("Content-Type", subjects.ARROW))
        except PayloadError:
            return
        pairs = (
            pa.Table.from_batches([batch.select(["src_ip", "dst_ip", "bytes"])])
            .group_by(["src_ip", "dst_ip"])
            .aggregate([("bytes", "sum")])
            .sort_by([("bytes_sum", "descending")])
            .slice(0, _PAIRS_PER_BATCH)
        )
        for source, target, count in zip(*(pairs.column(name).to_pylist() for name in pairs.column_names), strict=True):
            if source is not None:
                self._seconds[-1][source, target] += count

    def turn(self) -> tuple[Talker, ...]:
        """Begin the next second and return the top talkers."""
        total: Counter[tuple[bytes, bytes]] = Counter()
        for second in self._seconds:
            total.update(second)
        span = len(self._seconds)
        self._seconds.append(Counter())
        return tuple(
            Talker(address_text(source), address_text(target), count / span)
            for (source, target), count in total.most_common(8)
        )


class Watch:
    """Takes a sample of all numbers when asked; lives as long as the demo."""

    def __init__(self, bus: Bus, services: dict[str, ServiceProcess], *, live: bool) -> None:
        """Prepare; packets of a file that is not ``live`` are old, and how late they are says nothing."""
        self._lag = "batch_lag_seconds" if live else "exporter_behind_seconds"
        self._bus = bus
        self._services = services
        self._talkers = Talkers()
        self._history: deque[float] = deque(maxlen=HISTORY)
        self._pages: dict[str, Page] = {}
        self._last = Figures()
        self._time = 0.0
        self._ended: LedgerRecord | None = None

    async def start(self) -> None:
        """Subscribe, as any consumer of the stream may."""
        await self._bus.client.subscribe(subjects.ALL_TRAFFIC, cb=self._talkers.take)

    async def sample(self) -> Figures:
        """Ask all services; of one that does not answer, the last numbers stand."""
        await asyncio.gather(*(self._read(name) for name in self._services))
        now = asyncio.get_running_loop().time()
        totals = self._totals()
        if self._ended is not None:
            totals = replace(totals, captured=self._ended.decoded, published=self._ended.published)
        # The first sample has no sample before it to compare with.
        span = now - self._time if self._time else 0.0
        self._time = now
        packets = (totals.captured - self._last.captured) / span if span else 0.0
        size = (totals.captured_bytes - self._last.captured_bytes) / span if span else 0.0
        self._history.append(packets)
        self._last = Figures(
            **{name: getattr(totals, name) for name in _TOTALS},
            packets_per_second=packets,
            bits_per_second=8 * size,
            talkers=self._talkers.turn(),
            kinds=self._kinds(),
            history=tuple(self._history),
        )
        return self._last

    def close_account(self, ledger: LedgerRecord) -> None:
        """Take a collector that has ended at its last word: its page went before the last sample was taken."""
        self._ended = ledger

    async def _read(self, name: str) -> None:
        page = await self._services[name].page()
        if page is not None:
            self._pages[name] = page

    def _totals(self) -> Figures:
        collector, backup, exporter = (self._pages.get(name) for name in ("collector", "backup", "exporter"))
        return Figures(
            captured=collector.total("capture_packets_total") if collector else 0,
            captured_bytes=collector.total("capture_bytes_total") if collector else 0,
            dropped=collector.total("lost_packets_total", stage="kernel") if collector else 0,
            published=collector.total("published_packets_total") if collector else 0,
            stored=backup.total("stored_packets_total") if backup else 0,
            objects=backup.total("backup_objects_total", kind="summaries") if backup else 0,
            unstored_age=backup.highest("backup_oldest_unstored_seconds") if backup else 0.0,
            counted=exporter.total("packets_total") if exporter else 0,
            lag=exporter.highest(self._lag) if exporter else 0.0,
        )

    def _kinds(self) -> tuple[tuple[str, int], ...]:
        kinds: Counter[str] = Counter()
        exporter = self._pages.get("exporter")
        for labels, value in exporter.samples("packets_total") if exporter else ():
            application = labels.get("app", "")
            kinds[labels.get("protocol", "?") if application in ("", "unknown", "__unknown__") else application] += int(
                value
            )
        return tuple(kinds.most_common(8))


_TOTALS: Final = (
    *("captured", "captured_bytes", "dropped", "published", "stored", "counted", "objects", "lag", "unstored_age"),
)
