"""What a person sees who gets a setting wrong: one clear line of the service, and the right exit status."""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from streamgauge.embedded import NatsServer, free_ports
from tests.support.system import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.settings import S3Settings
    from tests.support.servers import S3ServerWithReader

pytestmark = pytest.mark.live


@pytest.fixture(name="settings")
def _settings(nats_server: NatsServer, s3_settings: S3Settings) -> dict[str, str]:
    """Return settings with which all services start."""
    return {
        "STREAMGAUGE_NATS_URL": nats_server.url,
        "STREAMGAUGE_NATS_MAX_BYTES": str(64 << 20),
        "STREAMGAUGE_NATS_CONNECT_TIMEOUT": "2",
        "STREAMGAUGE_S3_ENDPOINT": s3_settings.endpoint,
        "STREAMGAUGE_S3_SECURE": "false",
        "STREAMGAUGE_S3_ACCESS_KEY": s3_settings.access_key,
        "STREAMGAUGE_S3_SECRET_KEY": s3_settings.secret_key.get_secret_value(),
        "STREAMGAUGE_S3_BUCKET": s3_settings.bucket,
        "STREAMGAUGE_BACKUP_PORT": "0",
        "STREAMGAUGE_EXPORTER_PORT": "0",
    }


@pytest.fixture(name="taken")
def _taken() -> Iterator[int]:
    """Return a port another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def complaint(service: str, settings: dict[str, str], **changes: str) -> tuple[int, str]:
    """Run a service with wrong settings and return its status and its one line; log lines are JSON beside it."""
    changed = {**settings, **{f"STREAMGAUGE_{name}": value for name, value in changes.items()}}
    status, out, err = run([sys.executable, "-m", f"services.{service}"], changed)
    lines = [line for line in err if not _is_log(line)]
    assert out == []
    assert len(lines) == 1, err
    assert not any("Traceback" in line for line in err)
    return status, lines[0]


def _is_log(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False


@pytest.mark.parametrize("service", ["backup", "exporter"])
def test_no_nats_server(service: str, settings: dict[str, str]) -> None:
    """A refused connection, with the setting to correct."""
    url = f"nats://127.0.0.1:{free_ports(1)[0]}"
    status, line = complaint(service, settings, NATS_URL=url)

    assert status == 1
    assert line.startswith(f"streamgauge: cannot reach NATS at {url}: Connection refused")
    assert "STREAMGAUGE_NATS_URL" in line


@pytest.mark.parametrize("service", ["backup", "exporter"])
def test_port_in_use(service: str, settings: dict[str, str], taken: int) -> None:
    """The port, and what to do."""
    status, line = complaint(service, settings, **{f"{service.upper()}_PORT": str(taken)})

    assert status == 2
    assert line.startswith(f"streamgauge: cannot listen on 127.0.0.1:{taken}: Address already in use")


@pytest.mark.parametrize("service", ["collector", "backup", "exporter"])
def test_unknown_variable(service: str, settings: dict[str, str]) -> None:
    """A typing error is never silently ignored."""
    status, line = complaint(service, settings, NATS_URLS="x")

    assert status == 2
    assert "STREAMGAUGE_NATS_URLS is no setting" in line
    assert "did you mean STREAMGAUGE_NATS_URL?" in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"S3_SECRET_KEY": "not-the-right-one"}, "STREAMGAUGE_S3_SECRET_KEY"),
        ({"S3_ACCESS_KEY": "nobody"}, "nobody"),
        ({"S3_ENDPOINT": "127.0.0.1:9"}, "127.0.0.1:9 does not answer as S3 does"),
        ({"S3_CREATE_BUCKET": "false"}, "does not exist and STREAMGAUGE_S3_CREATE_BUCKET is off"),
    ],
)
def test_storage_that_cannot_be_used(settings: dict[str, str], changes: dict[str, str], words: str) -> None:
    """Which setting is wrong, or what is missing."""
    status, line = complaint("backup", settings, **changes)

    assert status == 1
    assert words in line


def test_bucket_that_may_not_be_created(settings: dict[str, str], s3_server: S3ServerWithReader) -> None:
    """A key that may only read is told apart from a wrong one."""
    status, line = complaint(
        "backup", settings, S3_ACCESS_KEY=s3_server.reader_key, S3_SECRET_KEY=s3_server.reader_secret
    )

    assert status == 1
    assert f"bucket {settings['STREAMGAUGE_S3_BUCKET']}" in line
    assert s3_server.reader_key in line


def test_stream_that_may_not_be_created(settings: dict[str, str]) -> None:
    """The command that creates it is named."""
    status, line = complaint("backup", settings, NATS_CREATE_STREAM="false")

    assert status == 1
    assert "create it with `streamgauge bootstrap`" in line
