"""The policies and setup.sh on a real MinIO server, where one is: no package has it."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, GOVERNANCE, Filter
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.objectlockconfig import DAYS
from pydantic import SecretStr

from streamgauge import protection
from streamgauge.embedded import free_ports
from streamgauge.secrets.__main__ import main as make_secrets
from streamgauge.settings import BackupSettings, S3Settings
from streamgauge.store import Store
from tests.support import require
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.docker
SOURCE = Path(__file__).parents[3] / "minio"
BUCKET = "streamgauge"


@dataclass(frozen=True)
class Storage:
    """A running server with our users."""

    folder: Path
    port: int

    def client(self, user: str) -> Minio:
        keys = self.folder / "keys" / user
        return Minio(
            f"localhost:{self.port}",
            access_key=(keys / "s3-access-key").read_text(),
            secret_key=(keys / "s3-secret-key").read_text(),
            http_client=urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=str(keys / "ca.crt"), retries=False),
        )

    def store(self, user: str) -> Store:
        """Return the bucket as a service of that user opens it."""
        keys = self.folder / "keys" / user
        return Store(
            S3Settings(
                endpoint=f"localhost:{self.port}",
                bucket=BUCKET,
                create_bucket=user == "bootstrap",
                ca=keys / "ca.crt",
                access_key=(keys / "s3-access-key").read_text(),
                secret_key=SecretStr((keys / "s3-secret-key").read_text()),
            ),
            lock=True,
        )

    def set_up(self) -> None:
        """Run setup.sh, as compose and Kubernetes do."""
        environment = {
            **os.environ,
            "KEYS": str(self.folder / "keys" / "minio-setup"),
            "POLICIES": str(SOURCE / "policies"),
            "MINIO_URL": f"https://localhost:{self.port}",
            "MC": require.program("mc"),
            "HOME": str(self.folder),
        }
        subprocess.run(["sh", str(SOURCE / "setup.sh")], env=environment, check=True, timeout=60, capture_output=True)


@pytest.fixture(name="storage", scope="module")
def _storage() -> Iterator[Storage]:
    program = require.program("minio")
    folder = Path(tempfile.mkdtemp(prefix="sg-minio-"))
    assert make_secrets(["--folder", str(folder / "keys")]) == 0
    (folder / "certs").mkdir()
    for name in ("public.crt", "private.key"):
        shutil.copy(folder / "keys" / "minio" / name, folder / "certs")
    (port,) = free_ports(1)
    keys = folder / "keys" / "minio"
    environment = {
        **os.environ,
        "HOME": str(folder),
        "MINIO_BROWSER": "off",
        "MINIO_ROOT_USER_FILE": str(keys / "root-user"),
        "MINIO_ROOT_PASSWORD_FILE": str(keys / "root-password"),
    }
    options = ["--address", f"127.0.0.1:{port}", "--certs-dir", str(folder / "certs")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "server", str(folder / "data"), *options], env=environment, stdout=log, stderr=log
        )
    context = ssl.create_default_context(cafile=keys / "ca.crt")

    def ready() -> bool:
        with suppress(urllib.error.URLError):
            url = f"https://localhost:{port}/minio/health/ready"
            with urllib.request.urlopen(url, timeout=2, context=context) as answer:
                return answer.status == 200
        return False

    try:
        eventually_sync(ready, within=30)
        storage = Storage(folder, port)
        storage.set_up()
        # A second time changes nothing.
        storage.set_up()
        asyncio.run(_make_bucket(storage))
        yield storage
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


async def _make_bucket(storage: Storage) -> None:
    store = storage.store("bootstrap")
    await store.start()
    await store.stop()


def _lifecycle(client: Minio) -> None:
    rule = Rule(ENABLED, rule_filter=Filter(prefix=""), rule_id="expire", expiration=Expiration(days=30))
    client.set_bucket_lifecycle(BUCKET, LifecycleConfig([rule]))


ACTIONS: dict[str, tuple[Callable[[Minio], object], set[str]]] = {
    "look for the bucket": (lambda client: client.bucket_exists(BUCKET), {"backup", "operator", "bootstrap"}),
    "list": (lambda client: list(client.list_objects(BUCKET)), {"backup", "operator", "bootstrap"}),
    "store": (lambda client: client.put_object(BUCKET, "new", io.BytesIO(b"x"), 1), {"backup"}),
    "look up": (lambda client: client.stat_object(BUCKET, "object"), {"backup", "operator"}),
    "read": (lambda client: client.get_object(BUCKET, "object").read(), {"backup", "operator"}),
    "delete": (lambda client: client.remove_object(BUCKET, "object"), set()),
    "delete the bucket": (lambda client: client.remove_bucket(BUCKET), set()),
    "another bucket": (lambda client: client.make_bucket("another"), set()),
    "expire": (_lifecycle, {"bootstrap"}),
    "open to all": (lambda client: client.set_bucket_policy(BUCKET, "{}"), set()),
}


def _code(action: Callable[[Minio], object], client: Minio) -> str | None:
    try:
        action(client)
    except S3Error as error:
        return error.code
    return None


def test_each_user_may_do_its_part_and_nothing_else(storage: Storage) -> None:
    storage.client("backup").put_object(BUCKET, "object", io.BytesIO(b"content"), 7)
    for name, (action, users) in ACTIONS.items():
        allowed = set()
        for user in ("backup", "operator", "bootstrap"):
            code = _code(action, storage.client(user))
            assert code in (None, "AccessDenied"), (name, user)
            if code is None:
                allowed.add(user)

        assert allowed == users, name
    assert storage.client("operator").get_object(BUCKET, "object").read() == b"content"


def test_nobody_reads_without_a_key(storage: Storage) -> None:
    context = ssl.create_default_context(cafile=storage.folder / "keys" / "operator" / "ca.crt")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"https://localhost:{storage.port}/{BUCKET}/object", timeout=5, context=context)
    refused.value.close()

    assert refused.value.code == 403


def test_bootstrap_sets_what_the_bucket_does_by_itself_and_the_backup_changes_nothing_of_it(storage: Storage) -> None:
    asyncio.run(_protect(storage, "bootstrap", BackupSettings(retention_days=30, versioning=True, lock_days=1)))
    asyncio.run(_protect(storage, "backup", BackupSettings(retention_days=1, versioning=False, lock_days=5)))
    seen = storage.client("bootstrap")
    lifecycle, lock = seen.get_bucket_lifecycle(BUCKET), seen.get_object_lock_config(BUCKET)

    assert lifecycle is not None
    assert {30} == {rule.expiration.days for rule in lifecycle.rules if "summaries" in (rule.rule_id or "")}
    assert seen.get_bucket_versioning(BUCKET).status == ENABLED
    assert (lock.mode, lock.duration, lock.duration_unit) == (GOVERNANCE, 1, DAYS)


async def _protect(storage: Storage, user: str, settings: BackupSettings) -> None:
    store = storage.store(user)
    await store.start()
    await protection.protect(store, settings)
    await store.stop()
