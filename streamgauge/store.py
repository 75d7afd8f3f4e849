"""Object storage: a thin asynchronous client around minio, whose blocking calls run in a few threads of its own.

    store = Store(settings.section(S3Settings))
    await store.start()
    stored = await store.put("summaries/v1/…", data)     # returns once stored *and* verified

minio-py retries five times by itself and waits 300 s for an answer unless told otherwise; both are ours here, so that a
caller knows how long a call may take. Errors become one sentence that says what was attempted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from streamgauge.errors import ConfigurationError, StoreAwayError, StoreConflictError, StoreDeniedError, StoreError
from streamgauge.logs import get

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from streamgauge.settings import S3Settings

_log = get("store")

P = ParamSpec("P")
T = TypeVar("T")

_MISSING: Final = {"NoSuchKey", "NoSuchObject", "NotFound", "ResourceNotFound"}
_EXISTS: Final = {"PreconditionFailed", "ConditionalRequestConflict"}
_WRONG_KEY: Final = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidAccessKey", "AuthorizationHeaderMalformed"}
_BUSY: Final = {
    "SlowDown",
    "SlowDownWrite",
    "SlowDownRead",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationTimedOut",
    "XMinioServerNotInitialized",
}


#: Header of each object that says what was stored under it.
MD5_HEADER: Final = "x-amz-meta-md5"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object in the bucket."""

    key: str
    size: int
    etag: str
    modified: datetime | None = None
    #: What ``MD5_HEADER`` says; only a look-up of one object tells.
    md5: str = ""
    #: Whether the server encrypts it, by which the ETag may be no MD5; only a look-up of one object tells.
    encrypted: bool = False


class Store:
    """The bucket. Lives as long as its service or command; ``start`` checks that it can be used."""

    def __init__(
        self, settings: S3Settings, *, threads: int = 8, headers: Mapping[str, str] | None = None, lock: bool = False
    ) -> None:
        """Prepare a client.

        Args:
            settings: where the storage is.
            threads: how many calls may be under way at once.
            headers: of each upload (encryption).
            lock: a bucket that is created can lock objects.

        """
        self._settings = settings
        self._headers = dict(headers or {})
        self._lock = lock
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._client: Minio | None = None

    async def start(self, *, create: bool = True) -> None:
        """Connect; create the bucket if it is missing, ``create`` says so and the settings allow it.

        Raises:
            ConfigurationError: the certificate authority cannot be read.
            StoreError: the storage is away, refuses the keys, or has no such bucket.

        """
        self.open()
        bucket, settings = self._settings.bucket, self._settings
        if await self._call(f"look for bucket {bucket}", self.client.bucket_exists, bucket):
            return
        if not create:
            raise StoreError(f"bucket {bucket} at {settings.endpoint} does not exist; correct STREAMGAUGE_S3_BUCKET")
        if not settings.create_bucket:
            raise StoreError(
                f"bucket {bucket} at {settings.endpoint} does not exist and STREAMGAUGE_S3_CREATE_BUCKET is off; "
                "create it or switch creating on"
            )
        try:
            await self._call(f"create bucket {bucket}", self.client.make_bucket, bucket, settings.region, self._lock)
        except StoreError:
            # Another replica may have been faster.
            if not await self._call(f"look for bucket {bucket}", self.client.bucket_exists, bucket):
                raise
        _log.info("bucket created", bucket=bucket)

    def open(self) -> None:
        """Make the client; nothing is sent."""
        settings = self._settings
        if settings.ca is not None and not settings.ca.is_file():
            raise ConfigurationError(f"STREAMGAUGE_S3_CA={settings.ca}: no such file")
        http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=min(settings.timeout, 10.0), read=settings.timeout),
            maxsize=self._threads,
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(settings.ca) if settings.ca else None,
        )
        self._client = Minio(
            settings.endpoint,
            access_key=settings.access_key,
            secret_key=settings.secret_key.get_secret_value(),
            secure=settings.secure,
            region=settings.region,
            http_client=http,
        )
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="store")

    async def stop(self) -> None:
        """Release the threads; calls in flight are left to end."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def client(self) -> Minio:
        """The blocking client, for calls that have no method here."""
        if self._client is None:
            raise StoreError("the storage was used before it was opened")
        return self._client

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self._settings.bucket

    async def put(
        self,
        key: str,
        data: bytes | memoryview,
        *,
        content_type: str = "application/vnd.apache.parquet",
        exclusive: bool = False,
    ) -> StoredObject:
        """Store an object in one request and verify it; it appears whole or not at all.

        The request carries the MD5 of the content, so the server refuses what arrived damaged. Its answer must name
        that MD5 as the ETag, and a look-up afterwards the same ETag and length. Where the ETag is another (encryption
        by the server), the object is read back and compared.

        Args:
            key: where.
            data: the content.
            content_type: of the content.
            exclusive: refuse to replace an object (servers without conditional writes replace it nevertheless).

        Raises:
            StoreConflictError: ``exclusive``, and the key exists.
            StoreError: it could not be stored, or not as it was sent.

        """
        attempt = f"upload {key} to bucket {self.bucket}"
        return await self._call(attempt, self._put, key, data, content_type, exclusive)

    def _put(self, key: str, data: bytes | memoryview, content_type: str, exclusive: bool) -> StoredObject:
        digest = hashlib.md5(data, usedforsecurity=False)
        headers = {
            "Content-Type": content_type,
            "Content-MD5": base64.b64encode(digest.digest()).decode(),
            # Goes with the object, and is lost when someone else replaces it: an audit looks at it.
            MD5_HEADER: digest.hexdigest(),
            **self._headers,
        }
        if exclusive:
            headers["If-None-Match"] = "*"
        # The public put_object takes no conditions and no Content-MD5; the version of minio is pinned below 8.
        answer = self.client._put_object(self.bucket, key, data, headers)  # type: ignore[arg-type]
        found = self.client.stat_object(self.bucket, key)
        etag = (found.etag or "").strip('"')
        if found.size != len(data) or etag != (answer.etag or "").strip('"'):
            raise StoreError(f"{key} is stored with {found.size} bytes and ETag {etag}, not as it was sent")
        if etag != digest.hexdigest() and self._get(key, 0, 0) != bytes(data):
            raise StoreError(f"{key} was stored with ETag {etag}: its content is not what was sent")
        return StoredObject(key, len(data), etag)

    async def stat(self, key: str) -> StoredObject | None:
        """Return one object, or None when there is none."""
        return await self._call(f"look up {key} in bucket {self.bucket}", self._stat, key)

    def _stat(self, key: str) -> StoredObject | None:
        try:
            found = self.client.stat_object(self.bucket, key)
        except S3Error as error:
            if error.code in _MISSING:
                return None
            raise
        headers = found.metadata or {}
        return StoredObject(
            key,
            found.size or 0,
            (found.etag or "").strip('"'),
            found.last_modified,
            md5=headers.get(MD5_HEADER, ""),
            encrypted="x-amz-server-side-encryption" in headers,
        )

    async def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        """Return an object, or ``length`` bytes of it from ``offset``."""
        return await self._call(f"read {key} from bucket {self.bucket}", self._get, key, offset, length)

    def _get(self, key: str, offset: int, length: int) -> bytes:
        response = self.client.get_object(self.bucket, key, offset=offset, length=length)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    async def list_all(self, prefix: str) -> list[StoredObject]:
        """Return all objects below a prefix, in the order of their keys."""
        return await self._call(f"list {prefix} in bucket {self.bucket}", self._list, prefix)

    def _list(self, prefix: str) -> list[StoredObject]:
        objects = self.client.list_objects(self.bucket, prefix=prefix, recursive=True)
        return [
            StoredObject(item.object_name, item.size or 0, (item.etag or "").strip('"'), item.last_modified)
            for item in objects
            if item.object_name is not None and not item.is_dir
        ]

    async def folders(self, prefix: str) -> list[str]:
        """Return the folders right below a prefix, each with its closing slash."""
        return await self._call(f"list {prefix} in bucket {self.bucket}", self._folders, prefix)

    def _folders(self, prefix: str) -> list[str]:
        found = self.client.list_objects(self.bucket, prefix=prefix)
        return sorted(item.object_name for item in found if item.object_name is not None and item.is_dir)

    async def remove(self, key: str) -> None:
        """Remove one object; no error when there is none."""
        await self._call(f"remove {key} from bucket {self.bucket}", self.client.remove_object, self.bucket, key)

    async def run(self, attempt: str, work: Callable[[], T]) -> T:
        """Run work with the blocking client in a thread of the store; ``attempt`` completes "cannot …".

        Raises:
            StoreError: what it says.

        """
        return await self._call(attempt, work)

    async def _call(self, attempt: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._pool is None:
            raise StoreError("the storage was used before it was opened")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: self.call(attempt, function, *args, **kwargs))

    def call(self, attempt: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the blocking client from a thread of the caller's own, with errors in our words."""
        try:
            return function(*args, **kwargs)
        except S3Error as error:
            raise self._refused(attempt, error) from error
        except (urllib3.exceptions.HTTPError, ServerError, InvalidResponseError, OSError, ValueError) as error:
            raise StoreAwayError(
                f"cannot {attempt}: {self._settings.endpoint} does not answer as S3 does ({_words(error)}); "
                "start the server or correct STREAMGAUGE_S3_ENDPOINT, _SECURE, _CA"
            ) from error

    def _refused(self, attempt: str, error: S3Error) -> StoreError:
        code = error.code or ""
        if code in _EXISTS:
            return StoreConflictError(f"cannot {attempt}: it exists already")
        if code in _BUSY:
            return StoreAwayError(f"cannot {attempt}: {code}")
        if code in _WRONG_KEY:
            return StoreError(
                f"cannot {attempt}: {self._settings.endpoint} refuses the keys ({code}); "
                "correct STREAMGAUGE_S3_ACCESS_KEY and STREAMGAUGE_S3_SECRET_KEY"
            )
        if code == "AccessDenied":
            return StoreDeniedError(
                f"cannot {attempt}: access key {self._settings.access_key} may not; check STREAMGAUGE_S3_ACCESS_KEY, "
                "STREAMGAUGE_S3_SECRET_KEY and the policy of the key"
            )
        return StoreError(f"cannot {attempt}: {code}: {error.message or 'no reason given'}")


def _words(error: BaseException) -> str:
    reason: object = getattr(error, "reason", None) or error
    text = str(reason)
    # urllib3 puts the object's address in front: "<urllib3.connection.HTTPConnection object at 0x…>: Failed to …".
    with contextlib.suppress(IndexError):
        text = re.split(r"object at 0x[0-9a-f]+>: ", text)[1]
    # Or the pool's, which says the host once more: "HTTPConnectionPool(host='…', port=…): Read timed out.".
    text = re.sub(r"^HTTPS?ConnectionPool\(.*?\): ", "", text)
    return f"{type(error).__name__}: {text}"
