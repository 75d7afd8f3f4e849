"""What the bucket does by itself: expiry, leftovers of uploads, versions, object lock; and encryption of what we send.

Set by ``streamgauge bootstrap``, and by the backup where its key may. Only our own lifecycle rules are touched (names
that begin with ``streamgauge-``). A server that lacks what the settings ask for is a fault at the start: whoever asks
for protection must not run without.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from minio.commonconfig import COMPLIANCE, ENABLED, GOVERNANCE, Filter
from minio.error import S3Error
from minio.lifecycleconfig import (
    AbortIncompleteMultipartUpload,
    Expiration,
    LifecycleConfig,
    NoncurrentVersionExpiration,
    Rule,
)
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.sse import SseKMS, SseS3
from minio.versioningconfig import VersioningConfig

from streamgauge import objects
from streamgauge.errors import ConfigurationError, StoreAwayError, StoreConflictError, StoreDeniedError, StoreError
from streamgauge.logs import get

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgauge.settings import BackupSettings
    from streamgauge.store import Store

_log = get("protection")

_OWN: Final = "streamgauge-"
_PROBE: Final = "streamgauge/encryption-works"
#: Days after which parts of an upload that was never completed are removed.
_UPLOAD_DAYS: Final = 1
#: Days after which versions that were replaced or expired are removed.
_OLD_VERSION_DAYS: Final = 1
_EXPIRING: Final = (*(objects.prefix(kind) for kind in objects.KINDS), "quarantine/")
_NOTHING_SET: Final = {
    "NoSuchLifecycleConfiguration",
    "ObjectLockConfigurationNotFoundError",
    "NoSuchObjectLockConfiguration",
}


def encryption_headers(settings: BackupSettings) -> dict[str, str]:
    """Return the headers that ask the server to encrypt an object."""
    if settings.encryption == "none":
        return {}
    sse = SseS3() if settings.encryption == "s3" else SseKMS(settings.encryption_key, {})
    return {name: str(value) for name, value in sse.headers().items() if value is not None}


def check_ages(settings: BackupSettings, stream: str, max_age: float) -> None:
    """Refuse settings under which something could be stored twice.

    Args:
        settings: of the backup.
        stream: its name.
        max_age: seconds the stream keeps messages; 0: for ever.

    Raises:
        ConfigurationError: what is forgotten or expires could still be in the stream.

    """
    kept, days, hours = max_age / 3600, settings.retention_days, settings.dedupe_hours
    if hours < kept:
        raise ConfigurationError(
            f"STREAMGAUGE_BACKUP_DEDUPE_HOURS={hours:g}: stream {stream} keeps messages {kept:g} hours, "
            "and a batch must be remembered at least as long"
        )
    if days and days * 24 <= kept:
        raise ConfigurationError(
            f"STREAMGAUGE_BACKUP_RETENTION_DAYS={days}: stream {stream} keeps messages {kept:g} hours; "
            "objects must outlive them, or they would be stored again"
        )


async def protect(store: Store, settings: BackupSettings) -> None:
    """Make the bucket what the settings say.

    Raises:
        ConfigurationError: the server has no such thing, or the key may not set it.
        StoreError: the storage is away.

    """
    if settings.encryption != "none":
        await _try_encryption(store)
    if settings.versioning:
        await _set(store, "versioning", "VERSIONING=false", lambda: _version(store))
    if settings.lock_days:
        await _set(store, "object lock", "LOCK_DAYS=0", lambda: _lock(store, settings))
    if settings.retention_days:
        await _set(store, "expiry", "RETENTION_DAYS=0", lambda: _expire(store, settings))
        return
    try:
        await store.run("set the lifecycle", lambda: _expire(store, settings))
    except StoreAwayError:
        raise
    except StoreError as error:
        # Nobody asked for it: our own uploads are single requests and leave nothing behind.
        _log.info("leftovers of uploads are not removed by the bucket", reason=str(error))


async def verify(store: Store, settings: BackupSettings) -> list[str]:
    """Look whether the bucket is what the settings say, without setting anything; return what was found, in words.

    Raises:
        ConfigurationError: it is not: a line for each thing, with what mends it.
        StoreError: the storage is away.

    """
    found: list[str] = []
    faults: list[str] = []
    if settings.encryption != "none":
        try:
            await _try_encryption(store)
            found.append("it encrypts")
        except ConfigurationError as error:
            faults.append(str(error))
    asked: list[tuple[bool, str, str, Callable[[], str | None]]] = [
        (settings.versioning, "versioning", "VERSIONING=false", lambda: _no_versions(store)),
        (settings.lock_days > 0, "object lock", "LOCK_DAYS=0", lambda: _other_lock(store, settings)),
        (settings.retention_days > 0, "expiry", "RETENTION_DAYS=0", lambda: _other_expiry(store, settings)),
    ]
    for wanted, what, without, look in asked:
        if not wanted and what != "expiry":
            continue
        mend = f"`streamgauge bootstrap` sets it, or STREAMGAUGE_BACKUP_{without}"
        try:
            wrong = await store.run(f"read {what} of bucket {store.bucket}", look)
        except StoreAwayError:
            raise
        except StoreDeniedError:
            if wanted:
                found.append(f"{what} cannot be seen with this key (`streamgauge bootstrap` sees to it)")
        except StoreError as error:
            if wanted:
                faults.append(f"{error}; if the server has no {what}, STREAMGAUGE_BACKUP_{without}")
        else:
            if wrong is not None:
                faults.append(
                    f"bucket {store.bucket} {wrong}; {mend if wanted else '`streamgauge bootstrap` mends it'}"
                )
            elif wanted:
                found.append(f"{what} is set")
    if faults:
        raise ConfigurationError("\n".join(faults))
    return found


def _no_versions(store: Store) -> str | None:
    status = store.client.get_bucket_versioning(store.bucket).status
    return None if status == ENABLED else "keeps no versions, and STREAMGAUGE_BACKUP_VERSIONING=true asks for them"


def _other_lock(store: Store, settings: BackupSettings) -> str | None:
    wanted = f"STREAMGAUGE_BACKUP_LOCK_DAYS={settings.lock_days}, _LOCK_MODE={settings.lock_mode}"
    try:
        present = store.client.get_object_lock_config(store.bucket)
    except S3Error as error:
        if error.code not in _NOTHING_SET:
            raise
        present = None
    if _is_locked(present, settings):
        return None
    if present is None or not present.mode:
        return (
            f"locks nothing, and {wanted} asks for it; one that was created without object lock cannot be given it: "
            "then name another one in STREAMGAUGE_S3_BUCKET"
        )
    return f"locks objects for {present.duration} {present.duration_unit} ({present.mode}), not as {wanted} says"


def _other_expiry(store: Store, settings: BackupSettings) -> str | None:
    present = store.client.get_bucket_lifecycle(store.bucket)
    rules = present.rules if present else []
    days = {rule.rule_id: _days(rule) for rule in rules if (rule.rule_id or "").startswith(_OWN) and rule.expiration}
    wanted = {rule.rule_id: _days(rule) for rule in _rules(settings) if rule.expiration}
    if days == wanted:
        return None
    said = ", ".join(sorted({f"{count}" for count, _ in days.values()})) or "no"
    return f"expires objects after {said} days, not as STREAMGAUGE_BACKUP_RETENTION_DAYS={settings.retention_days} says"


async def _try_encryption(store: Store) -> None:
    """Store a small object as all others are: whether the server can encrypt, and does, shows only then."""
    without = "without encryption by the server: STREAMGAUGE_BACKUP_ENCRYPTION=none"
    try:
        with contextlib.suppress(StoreConflictError):  # from the start before
            await store.put(_PROBE, b"encrypted", content_type="text/plain", exclusive=True)
        found = await store.stat(_PROBE)
    except StoreAwayError:
        raise
    except StoreError as error:
        raise ConfigurationError(f"{error}; {without}") from error
    if found is None or not found.encrypted:
        raise ConfigurationError(
            f"{_PROBE} in bucket {store.bucket} is not encrypted: the server takes the request for encryption and does "
            f"not follow it; {without}"
        )


async def _set(store: Store, what: str, without: str, work: Callable[[], None]) -> None:
    try:
        await store.run(f"set {what} of bucket {store.bucket}", work)
    except StoreAwayError:
        raise
    except StoreDeniedError as error:
        # The writer's key may be kept from it on purpose: who may not set a lifecycle cannot shorten it either.
        _log.warning(f"{what} is left to `streamgauge bootstrap`", reason=str(error))
    except StoreError as error:
        raise ConfigurationError(
            f"{error}; if the server has no {what}, set it up by other means, and STREAMGAUGE_BACKUP_{without}"
        ) from error


def _version(store: Store) -> None:
    if store.client.get_bucket_versioning(store.bucket).status != ENABLED:
        store.client.set_bucket_versioning(store.bucket, VersioningConfig(ENABLED))


def _lock(store: Store, settings: BackupSettings) -> None:
    try:
        if _is_locked(store.client.get_object_lock_config(store.bucket), settings):
            return
    except S3Error as error:
        if error.code not in _NOTHING_SET:
            raise
    try:
        wanted = ObjectLockConfig(_mode(settings), settings.lock_days, DAYS)
        store.client.set_object_lock_config(store.bucket, wanted)
    except S3Error as error:
        if error.code != "InvalidBucketState":
            raise
        raise StoreError(
            f"bucket {store.bucket} was created without object lock, which cannot be added: name another one in "
            "STREAMGAUGE_S3_BUCKET"
        ) from error


def _mode(settings: BackupSettings) -> str:
    return GOVERNANCE if settings.lock_mode == "governance" else COMPLIANCE


def _is_locked(present: ObjectLockConfig | None, settings: BackupSettings) -> bool:
    wanted = (_mode(settings), settings.lock_days, DAYS)
    return present is not None and (present.mode, present.duration, present.duration_unit) == wanted


def _expire(store: Store, settings: BackupSettings) -> None:
    present = store.client.get_bucket_lifecycle(store.bucket)
    rules = present.rules if present else []
    foreign = [rule for rule in rules if not (rule.rule_id or "").startswith(_OWN)]
    own = {rule.rule_id: rule for rule in rules if rule not in foreign}
    wanted = _rules(settings)
    if {name: _days(rule) for name, rule in own.items()} == {rule.rule_id: _days(rule) for rule in wanted}:
        return
    try:
        store.client.set_bucket_lifecycle(store.bucket, LifecycleConfig(foreign + wanted))
    except S3Error:
        # Some servers remove leftovers by themselves and take no rule for it.
        wanted = [rule for rule in wanted if rule.abort_incomplete_multipart_upload is None]
        if not foreign + wanted:
            raise
        store.client.set_bucket_lifecycle(store.bucket, LifecycleConfig(foreign + wanted))
    _log.info("lifecycle set", rules=[rule.rule_id for rule in wanted])


def _rules(settings: BackupSettings) -> list[Rule]:
    abort = AbortIncompleteMultipartUpload(days_after_initiation=_UPLOAD_DAYS)
    rules = [
        Rule(
            ENABLED,
            rule_filter=Filter(prefix=""),
            rule_id=f"{_OWN}uploads",
            abort_incomplete_multipart_upload=abort,
        )
    ]
    if settings.retention_days:
        old = NoncurrentVersionExpiration(noncurrent_days=_OLD_VERSION_DAYS)
        rules += [
            Rule(
                ENABLED,
                rule_filter=Filter(prefix=prefix),
                rule_id=f"{_OWN}expire-{prefix.partition('/')[0]}",
                expiration=Expiration(days=settings.retention_days),
                noncurrent_version_expiration=old if settings.versioning or settings.lock_days else None,
            )
            for prefix in _EXPIRING
        ]
    return rules


def _days(rule: Rule) -> tuple[int | None, bool]:
    expiration = rule.expiration.days if rule.expiration else None
    return expiration, rule.noncurrent_version_expiration is not None
