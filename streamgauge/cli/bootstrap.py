"""``streamgauge bootstrap``: create what the services need, once, with the rights to do so."""

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgauge.settings import Settings


def bootstrap() -> int:
    """Create the JetStream stream and the bucket, where they are missing; running it again changes nothing.

    Also what belongs to them: the backup's notes in NATS, expiry, versions and object lock of the bucket as
    STREAMGAUGE_BACKUP_RETENTION_DAYS and its kin say, so that the backup's own key need not be able to set them.

    For set-ups in which the services themselves may not create anything (STREAMGAUGE_NATS_CREATE_STREAM=false,
    STREAMGAUGE_S3_CREATE_BUCKET=false).

    Examples:
      STREAMGAUGE_CONFIG=site.toml streamgauge bootstrap
    """
    from streamgauge import logs
    from streamgauge.settings import LogSettings, load

    # Creating is what this command is for, whatever the services are told.
    creating = {"STREAMGAUGE_NATS_CREATE_STREAM": "true", "STREAMGAUGE_S3_CREATE_BUCKET": "true"}
    settings = load(("nats", "s3", "backup"), {**os.environ, **creating})
    logs.set_up(LogSettings.model_validate({"level": "error"}))
    asyncio.run(_create(settings))
    return 0


async def _create(settings: "Settings") -> None:
    from streamgauge import leases, protection
    from streamgauge.bus import Bus, shard_count
    from streamgauge.settings import BackupSettings, NatsSettings, S3Settings
    from streamgauge.store import Store

    backup = settings.section(BackupSettings)
    bus = Bus(settings.section(NatsSettings), "bootstrap")
    headers = protection.encryption_headers(backup)
    store = Store(settings.section(S3Settings), headers=headers, lock=backup.lock_days > 0)
    try:
        await bus.start()
        info = await bus.ensure_stream()
        print(f"stream {info.config.name}: {shard_count(info)} shards, {info.state.messages} messages")
        # Before anything expires that the backup would not let expire.
        protection.check_ages(backup, info.config.name or "", info.config.max_age or 0)
        await leases.open_notes(bus.jetstream, info.config.name or "", replicas=info.config.num_replicas or 1)
        await store.start()
        await protection.protect(store, backup)
        print(f"bucket {store.bucket}: ready")
    finally:
        await store.stop()
        await bus.stop()
