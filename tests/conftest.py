"""Fixtures for all tests: a scratch folder and real servers on loopback.

``nats_server`` is fresh for each test (it starts in 20 ms), so a test may stop and start it and need not clean up.
``s3_server`` serves the whole session (it starts in 1.2 s); ``bucket`` is a fresh name on it for each test.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from streamgauge.embedded import NatsServer
from streamgauge.settings import NatsSettings, S3Settings
from tests.support import require
from tests.support.minio_server import MinioServer
from tests.support.servers import S3ServerWithReader

if TYPE_CHECKING:
    from collections.abc import Iterator

# The search is the same at each run unless asked otherwise, so a failure is never "sometimes".
settings.register_profile("fast", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("deep", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

# What a shell runs in the background ignores Ctrl-C, and so would the programs that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the STREAMGAUGE_ variables of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("STREAMGAUGE_"):
            monkeypatch.delenv(name)


@pytest.fixture(name="scratch")
def _scratch() -> Iterator[Path]:
    """Return an empty folder with a short path (Unix sockets allow 107 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix="sg-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(name="nats_server")
def _nats_server(scratch: Path) -> Iterator[NatsServer]:
    """Return a running nats-server with JetStream, this test's own."""
    require.program("nats-server")
    with NatsServer(scratch) as server:
        yield server


@pytest.fixture(name="nats_settings")
def _nats_settings(nats_server: NatsServer) -> NatsSettings:
    """Return settings for ``nats_server`` that fit a small disk."""
    return NatsSettings(url=nats_server.url, max_bytes=256 << 20)


@pytest.fixture(name="s3_server", scope="session")
def _s3_server() -> Iterator[S3ServerWithReader | MinioServer]:
    """Return a running S3 server, shared by the session: MinIO where ``TEST_S3_SERVER=minio`` asks for it."""
    folder = Path(tempfile.mkdtemp(prefix="sg-"))
    kind = MinioServer if os.environ.get("TEST_S3_SERVER") == "minio" else S3ServerWithReader
    require.program("minio" if kind is MinioServer else "weed")
    server = kind(folder)
    try:
        server.start()
        yield server
    finally:
        # Its data is thrown away: there is nothing to end in order.
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(name="bucket")
def _bucket() -> str:
    """Return the name of a bucket that no other test uses; it does not exist yet."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(name="s3_settings")
def _s3_settings(s3_server: S3ServerWithReader | MinioServer, bucket: str) -> S3Settings:
    """Return settings for ``s3_server`` and this test's bucket."""
    return S3Settings.model_validate(
        {
            "endpoint": s3_server.endpoint,
            "secure": False,
            "access_key": s3_server.access_key,
            "secret_key": s3_server.secret_key,
            "bucket": bucket,
            "timeout": 10.0,
        }
    )
