"""What the bucket is told: expiry, leftovers, versions, lock, encryption; and what is said where it cannot."""

from __future__ import annotations

import os

import pytest
from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from streamgauge import protection
from streamgauge.cli.main import main
from streamgauge.errors import ConfigurationError
from streamgauge.settings import BackupSettings
from streamgauge.store import Store

pytestmark = pytest.mark.live

#: It removes leftovers of uploads by itself and takes no rule for it, and encrypts only where a KMS is configured.
MINIO = os.environ.get("TEST_S3_SERVER") == "minio"


@pytest.fixture(name="open_store")
async def _open_store(s3_settings):
    stores = []

    async def start(**settings):
        own = BackupSettings.model_validate(settings)
        headers = protection.encryption_headers(own)
        stores.append(Store(s3_settings, headers=headers, lock=own.lock_days > 0))
        await stores[-1].start()
        await protection.protect(stores[-1], own)
        return stores[-1]

    yield start
    for store in stores:
        await store.stop()


def rules(store):
    found = store.client.get_bucket_lifecycle(store.bucket)
    return {rule.rule_id: rule for rule in found.rules} if found else {}


async def test_expiry(open_store):
    """Objects of all kinds expire after the days set, and leftovers of uploads after one."""
    store = await open_store(retention_days=9)

    days = {name: rule.expiration.days for name, rule in rules(store).items() if rule.expiration}
    assert days == {f"streamgauge-expire-{kind}": 9 for kind in ("summaries", "ledger", "identity", "quarantine")}
    if not MINIO:
        assert rules(store)["streamgauge-uploads"].abort_incomplete_multipart_upload.days_after_initiation == 1


async def test_rules_of_others_stay(open_store):
    """A rule that someone else made is kept; ours follow the settings."""
    store = await open_store(retention_days=9)
    other = Rule(ENABLED, rule_filter=Filter(prefix="other/"), rule_id="other", expiration=Expiration(days=2))
    present = store.client.get_bucket_lifecycle(store.bucket)
    store.client.set_bucket_lifecycle(store.bucket, LifecycleConfig([*present.rules, other]))

    store = await open_store(retention_days=0)

    assert set(rules(store)) == {"other"} | (set() if MINIO else {"streamgauge-uploads"})


async def test_versions_and_lock(open_store):
    """With a lock nobody removes a stored object; versions are kept."""
    store = await open_store(versioning=True, lock_days=2)
    await store.put("summaries/x", b"content", exclusive=True)
    found = store.client.stat_object(store.bucket, "summaries/x")

    with pytest.raises(S3Error) as refused:
        store.client.remove_object(store.bucket, "summaries/x", version_id=found.version_id)
    assert refused.value.code in ("AccessDenied", "InvalidRequest")


async def test_a_bucket_that_cannot_lock(open_store):
    """A lock needs a bucket that was made for it; the line says so, and that another one will do."""
    await open_store()
    with pytest.raises(ConfigurationError, match=r"without object lock.*STREAMGAUGE_S3_BUCKET") as error:
        await open_store(lock_days=2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"versioning": True}, r"keeps no versions.*bootstrap.*STREAMGAUGE_BACKUP_VERSIONING=false"),
        ({"lock_days": 2}, r"locks nothing.*STREAMGAUGE_S3_BUCKET.*bootstrap.*STREAMGAUGE_BACKUP_LOCK_DAYS=0"),
        ({"retention_days": 9}, r"expires objects after no days.*bootstrap.*STREAMGAUGE_BACKUP_RETENTION_DAYS=0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_check_sees_what_is_not_set(s3_settings, settings, words):
    """Nothing is set by looking; what is missing is named with what mends it, and then it is there."""
    own = BackupSettings.model_validate(settings)
    store = Store(s3_settings, lock=own.lock_days > 0)
    await store.start()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=words) as error:
            await protection.verify(store, own)
        assert len(str(error.value).splitlines()) == 1
    await protection.protect(store, own)

    (said,) = await protection.verify(store, own)
    await store.stop()
    assert said.endswith(" is set")


async def test_a_check_names_all_that_is_wrong(open_store):
    """One line a fault; another lock than asked for, and an expiry that nobody asked for any more, are faults."""
    store = await open_store(lock_days=2, retention_days=9)

    assert await protection.verify(store, BackupSettings(lock_days=2, retention_days=9)) != []
    with pytest.raises(ConfigurationError) as error:
        await protection.verify(store, BackupSettings(lock_days=3))
    locked, expires = str(error.value).splitlines()
    assert "locks objects for 2 Days (GOVERNANCE), not as STREAMGAUGE_BACKUP_LOCK_DAYS=3" in locked
    assert "expires objects after 9 days, not as STREAMGAUGE_BACKUP_RETENTION_DAYS=0" in expires


async def test_a_check_with_a_key_that_may_not_look(open_store, monkeypatch):
    """The shipped key of the backup may not: that is said, and is no fault."""

    def refuse(*_args, **_options):
        raise S3Error(None, "AccessDenied", "not you", "/", "1", "1")

    store = await open_store()
    for name in ("get_bucket_versioning", "get_object_lock_config", "get_bucket_lifecycle"):
        monkeypatch.setattr(f"minio.Minio.{name}", refuse)
    said = await protection.verify(store, BackupSettings(versioning=True, lock_days=2))

    assert [line.partition(" cannot be seen")[0] for line in said] == ["versioning", "object lock"]


async def test_a_check_tries_encryption(open_store, s3_settings):
    """As all objects are stored: a server that does not follow is found."""
    if not MINIO:
        store = await open_store(encryption="s3")
        assert await protection.verify(store, BackupSettings(encryption="s3")) == ["it encrypts"]
    plain = Store(s3_settings.model_copy(update={"bucket": f"{s3_settings.bucket}-plain"}))
    await plain.start()
    with pytest.raises(ConfigurationError, match=r"not encrypted.*STREAMGAUGE_BACKUP_ENCRYPTION=none"):
        await protection.verify(plain, BackupSettings(encryption="s3"))
    await plain.stop()


def test_bootstrap_sets_the_lifecycle(nats_server, s3_settings, monkeypatch, capsys):
    """The bucket expires what is old and removes leftovers of uploads, whatever the backup's key may set."""
    values = {
        "NATS_URL": nats_server.url,
        "NATS_MAX_BYTES": str(64 << 20),
        "S3_ENDPOINT": s3_settings.endpoint,
        "S3_SECURE": "false",
        "S3_ACCESS_KEY": s3_settings.access_key,
        "S3_SECRET_KEY": s3_settings.secret_key.get_secret_value(),
        "S3_BUCKET": s3_settings.bucket,
        "S3_CREATE_BUCKET": "false",
        "BACKUP_RETENTION_DAYS": "30",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"STREAMGAUGE_{name}", value)
    store = Store(s3_settings)

    assert main(["bootstrap"]) == 0
    assert main(["bootstrap"]) == 0
    store.open()
    found = rules(store)
    assert {rule.expiration.days for rule in found.values() if rule.expiration} == {30}
    if not MINIO:
        assert found["streamgauge-uploads"].abort_incomplete_multipart_upload.days_after_initiation == 1
    assert capsys.readouterr().out.count("ready") == 2


def test_bootstrap_lets_nothing_expire_that_the_stream_still_holds(nats_server, s3_settings, monkeypatch, capsys):
    """Settings with which the backup would not start are refused before the bucket is touched."""
    values = {
        "NATS_URL": nats_server.url,
        "NATS_MAX_BYTES": str(64 << 20),
        "S3_ENDPOINT": s3_settings.endpoint,
        "S3_SECURE": "false",
        "S3_ACCESS_KEY": s3_settings.access_key,
        "S3_SECRET_KEY": s3_settings.secret_key.get_secret_value(),
        "S3_BUCKET": s3_settings.bucket,
        "BACKUP_RETENTION_DAYS": "1",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"STREAMGAUGE_{name}", value)
    store = Store(s3_settings)

    assert main(["bootstrap"]) == 2
    assert "STREAMGAUGE_BACKUP_RETENTION_DAYS=1" in capsys.readouterr().err
    store.open()
    assert not store.client.bucket_exists(s3_settings.bucket)


async def test_encryption_by_the_server(open_store):
    """The server is asked to encrypt, and the object is still verified; a server that cannot is found at once."""
    if MINIO:
        with pytest.raises(ConfigurationError, match=r"KMS is not configured.*STREAMGAUGE_BACKUP_ENCRYPTION=none"):
            await open_store(encryption="s3")
        return
    store = await open_store(encryption="s3")
    await store.put("summaries/x", b"content")
    headers = store.client.stat_object(store.bucket, "summaries/x").metadata

    assert headers["x-amz-server-side-encryption"] == "AES256"
    assert await store.get("summaries/x") == b"content"


async def test_a_server_that_does_not_follow(s3_settings):
    """A server that takes the request and stores in the clear is a fault, at the first start and at each later one."""
    store = Store(s3_settings)  # sends no such request: for the server's part it looks the same
    await store.start()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"is not encrypted.*STREAMGAUGE_BACKUP_ENCRYPTION=none"):
            await protection.protect(store, BackupSettings(encryption="s3"))
    await store.stop()


async def test_a_server_without_it(open_store, monkeypatch):
    """What the settings ask for and the server has not is one clear line, not silence."""

    def refuse(*_args, **_options):
        raise S3Error(None, "NotImplemented", "no such feature", "/", "1", "1")

    monkeypatch.setattr("minio.Minio.set_object_lock_config", refuse)
    monkeypatch.setattr("minio.Minio.get_object_lock_config", refuse)
    with pytest.raises(ConfigurationError, match=r"NotImplemented.*STREAMGAUGE_BACKUP_LOCK_DAYS=0") as error:
        await open_store(lock_days=2)
    assert "\n" not in str(error.value)


async def test_a_key_that_may_not(open_store, monkeypatch):
    """A writer's key that may not set a lifecycle leaves it to `streamgauge bootstrap`, and runs."""

    def refuse(*_args, **_options):
        raise S3Error(None, "AccessDenied", "not you", "/", "1", "1")

    monkeypatch.setattr("minio.Minio.get_bucket_lifecycle", refuse)

    assert await open_store(retention_days=9)


async def test_nobody_asked_for_it(open_store, monkeypatch):
    """Without a retention a server that takes no lifecycle is no reason to stop."""

    def refuse(*_args, **_options):
        raise S3Error(None, "NotImplemented", "no such feature", "/", "1", "1")

    monkeypatch.setattr("minio.Minio.set_bucket_lifecycle", refuse)

    assert await open_store()
