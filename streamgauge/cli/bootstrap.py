"""``streamgauge bootstrap``: create what the services need, once, with the rights to do so."""

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgauge.settings import Settings


def bootstrap() -> int:
    """Create the JetStream stream and the bucket, where they are missing; running it again changes nothing.

    For set-ups in which the services themselves may not create anything (STREAMGAUGE_NATS_CREATE_STREAM=false,
    STREAMGAUGE_S3_CREATE_BUCKET=false).

    Examples:
      STREAMGAUGE_CONFIG=site.toml streamgauge bootstrap
    """
    from streamgauge import logs
    from streamgauge.settings import LogSettings, load

    # Creating is what this command is for, whatever the services are told.
    creating = {"STREAMGAUGE_NATS_CREATE_STREAM": "true", "STREAMGAUGE_S3_CREATE_BUCKET": "true"}
    settings = load(("nats", "s3"), {**os.environ, **creating})
    logs.set_up(LogSettings.model_validate({"level": "error"}))
    asyncio.run(_create(settings))
    return 0


async def _create(settings: "Settings") -> None:
    from streamgauge.bus import Bus, shard_count
    from streamgauge.settings import NatsSettings, S3Settings
    from streamgauge.store import Store

    bus, store = Bus(settings.section(NatsSettings), "bootstrap"), Store(settings.section(S3Settings))
    try:
        await bus.start()
        info = await bus.ensure_stream()
        print(f"stream {info.config.name}: {shard_count(info)} shards, {info.state.messages} messages")
        await store.start()
        print(f"bucket {store.bucket}: ready")
    finally:
        await store.stop()
        await bus.stop()
