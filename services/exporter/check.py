"""``--check``: what the exporter needs of NATS, tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nats.errors import Error as NatsError
from nats.js.errors import APIError

from services.exporter.puller import LostPlace, Puller
from streamgauge import subjects
from streamgauge.bus import Bus, shard_count
from streamgauge.errors import BusError
from streamgauge.settings import ExporterSettings, NatsSettings

if TYPE_CHECKING:
    from streamgauge.settings import Settings

_PATIENCE = 0.5  # seconds


async def check(configuration: Settings) -> str:
    """Connect, find the stream and read it as the exporter does; return one line that says it is good.

    Raises:
        BusError: NATS is away, refuses, or has no such stream.

    """
    own, nats = configuration.section(ExporterSettings), configuration.section(NatsSettings)
    bus = Bus(nats, "exporter")
    await bus.start()
    try:
        shards = shard_count(await bus.ensure_stream())
        taken = [shard for shard in own.shards_of(shards) if shard < shards]
        puller = Puller(bus, nats.stream, [f"{subjects.LEDGER}.*"])
        try:
            await puller.open_last()
            await puller.fetch(1, _PATIENCE)
        except (APIError, NatsError, LostPlace, TimeoutError) as error:
            raise BusError(
                f"cannot read stream {nats.stream}: {error}; this user must be allowed to read it"
            ) from error
        finally:
            await puller.close()
    finally:
        await bus.stop()
    return f"configuration is good: NATS has stream {nats.stream}, {len(taken)} of its {shards} shards are ours"
