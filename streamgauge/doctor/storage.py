"""The object storage: does it answer, take the keys, hold the bucket, agree on the time; what was stored last."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from streamgauge import objects
from streamgauge.doctor import web, words
from streamgauge.doctor.words import Finding, broken, ok, size, warning
from streamgauge.errors import StoreAwayError, StoreDeniedError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from streamgauge.settings import S3Settings
    from streamgauge.store import Store, StoredObject

HOP: Final = "S3"
#: Seconds to wait for the storage.
_PATIENCE: Final = 5.0


async def look(settings: S3Settings) -> Finding:
    """Judge the storage as the backup's reader sees it. Nothing is written, so that writing works is not proven."""
    from streamgauge.store import Store

    store = Store(settings.model_copy(update={"timeout": min(settings.timeout, _PATIENCE)}))
    try:
        ahead = await asyncio.to_thread(clock, settings)
        # Not a look-up of the bucket: its answer has no body, so a wrong key could not be told from a missing right.
        store.open()
        newest = await _newest(store)
    except StoreError as error:
        return _refusal(settings, error)
    finally:
        await store.stop()
    where = f"bucket {settings.bucket} at {settings.endpoint}"
    skewed = words.skew(HOP, "its", ahead)
    if skewed is not None:
        return skewed
    if newest is None:
        return warning(HOP, f"{where} can be read, and holds nothing yet", "wait a minute; then the backup's log")
    since = (
        ""
        if newest.modified is None
        else f", stored {words.age(max(0.0, time.time() - newest.modified.timestamp()))} ago"
    )
    return ok(HOP, f"{where}; newest object {size(newest.size)}{since}")


def _refusal(settings: S3Settings, error: StoreError) -> Finding:
    said, _, remedy = str(error).partition("; ")
    if "NoSuchBucket" in said:
        return broken(
            HOP,
            f"bucket {settings.bucket} at {settings.endpoint} does not exist",
            "`streamgauge bootstrap` creates it; or correct STREAMGAUGE_S3_BUCKET",
        )
    if "RequestTimeTooSkewed" in said:
        return broken(HOP, f"clock skew: {said}", "`timedatectl` on both; `timedatectl set-ntp true`")
    if "refuses the keys" in said:
        key = settings.access_key
        return broken(HOP, f"credentials refused: {said.partition(': ')[2]}, access key {key}", remedy)
    if isinstance(error, StoreDeniedError):
        return broken(HOP, f"refuses: {said}", remedy)
    if isinstance(error, StoreAwayError):
        return broken(HOP, f"away: {said}", f"`docker compose up -d minio`, or {remedy}" if remedy else "try again")
    return broken(HOP, said, remedy or "look at the storage's log: `docker compose logs minio`")


async def _newest(store: Store) -> StoredObject | None:
    """Return the object that was stored last in the newest hour there is."""
    for day in reversed(await store.folders(objects.prefix("summaries"))):
        for hour in reversed(await store.folders(day)):
            found = await store.list_all(hour)
            if found:
                return max(found, key=lambda each: each.modified.timestamp() if each.modified else 0.0)
    return None


def clock(settings: S3Settings) -> float:
    """Return how many seconds the storage's clock is ahead of ours, by the header of an answer; NaN without one."""
    scheme, ca = ("https", settings.ca) if settings.secure else ("http", None)
    return _ahead(f"{scheme}://{settings.endpoint}/", ca)


def _ahead(url: str, ca: Path | None) -> float:
    with contextlib.suppress(web.NoAnswerError):
        return web.get(url, ca=ca).ahead
    return float("nan")
