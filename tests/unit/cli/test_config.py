"""`streamgauge config` and `streamgauge bootstrap`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from minio import Minio

from streamgauge.cli.main import main
from streamgauge.settings import PROGRAMS, S3Settings

if TYPE_CHECKING:
    from streamgauge.embedded import NatsServer, S3Server


def test_effective_configuration_is_masked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are not shown, everything else of the service is."""
    monkeypatch.setenv("STREAMGAUGE_S3_ACCESS_KEY", "key-1")
    monkeypatch.setenv("STREAMGAUGE_S3_SECRET_KEY", "do-not-show-this")
    monkeypatch.setenv("STREAMGAUGE_BACKUP_ROTATE_SECONDS", "7")
    assert main(["config", "backup"]) == 0
    shown = capsys.readouterr().out

    assert "STREAMGAUGE_BACKUP_ROTATE_SECONDS=7.0\n" in shown
    assert "STREAMGAUGE_S3_SECRET_KEY=********\n" in shown
    assert "do-not-show-this" not in shown
    assert "STREAMGAUGE_COLLECTOR" not in shown


@pytest.mark.parametrize("program", PROGRAMS)
def test_list_has_the_settings_of_a_service(capsys: pytest.CaptureFixture[str], program: str) -> None:
    """Name, default and meaning; nothing needs to be set for it."""
    assert main(["config", "--list", program]) == 0
    shown = capsys.readouterr().out

    assert f"STREAMGAUGE_{program.upper()}_{'LATE' if program == 'doctor' else 'PORT'}=" in shown
    assert program == "doctor" or "\n    port of /metrics" in shown


def test_unknown_service(capsys: pytest.CaptureFixture[str]) -> None:
    """The known ones are named."""
    assert main(["config", "grafana"]) == 2
    assert (
        capsys.readouterr().err
        == "streamgauge: 'grafana' is no service; services: collector, backup, exporter, doctor\n"
    )


def test_faults_are_one_line_each(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown variable and a wrong value at once."""
    monkeypatch.setenv("STREAMGAUGE_NATS_UR", "x")
    monkeypatch.setenv("STREAMGAUGE_NATS_SHARDS", "0")
    assert main(["config", "exporter"]) == 2
    first, second = capsys.readouterr().err.splitlines()

    assert first.startswith("streamgauge: STREAMGAUGE_NATS_UR is no setting")
    assert second.startswith("streamgauge: STREAMGAUGE_NATS_SHARDS=0: ")


@pytest.fixture(name="site")
def _site(monkeypatch: pytest.MonkeyPatch, nats_server: NatsServer, s3_settings: S3Settings) -> None:
    """Point the environment at this test's servers, with creating switched off, as in production."""
    for name, value in {
        "NATS_URL": nats_server.url,
        "NATS_MAX_BYTES": str(64 << 20),
        "NATS_CREATE_STREAM": "false",
        "S3_ENDPOINT": s3_settings.endpoint,
        "S3_SECURE": "false",
        "S3_ACCESS_KEY": s3_settings.access_key,
        "S3_SECRET_KEY": s3_settings.secret_key.get_secret_value(),
        "S3_BUCKET": s3_settings.bucket,
        "S3_CREATE_BUCKET": "false",
    }.items():
        monkeypatch.setenv(f"STREAMGAUGE_{name}", value)


@pytest.mark.live
@pytest.mark.usefixtures("site")
def test_bootstrap_creates_what_is_missing(
    capsys: pytest.CaptureFixture[str], s3_server: S3Server, s3_settings: S3Settings
) -> None:
    """Running it again changes nothing."""
    for _ in range(2):
        assert main(["bootstrap"]) == 0
        assert capsys.readouterr().out == (
            f"stream TRAFFIC: 8 shards, 0 messages\nbucket {s3_settings.bucket}: ready\n"
        )
    client = Minio(s3_server.endpoint, s3_server.access_key, s3_server.secret_key, secure=False)
    assert client.bucket_exists(bucket_name=s3_settings.bucket)


@pytest.mark.live
@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("name", "value", "status", "words"),
    [
        ("NATS_URL", "nats://127.0.0.1:9", 1, "cannot reach NATS at nats://127.0.0.1:9: Connection refused"),
        ("S3_SECRET_KEY", "wrong-wrong-wrong", 1, "STREAMGAUGE_S3_ACCESS_KEY, STREAMGAUGE_S3_SECRET_KEY"),
        ("S3_ACCESS_KEY", "nobody", 1, "access key nobody may not"),
        ("S3_ENDPOINT", "127.0.0.1:9", 1, "127.0.0.1:9 does not answer as S3 does"),
        ("S3_SECURE", "true", 1, "does not answer as S3 does"),
        ("S3_BUCKET", "x", 2, "STREAMGAUGE_S3_BUCKET=x: "),
        ("NATS_COLOUR", "red", 2, "STREAMGAUGE_NATS_COLOUR is no setting"),
    ],
)
def test_wrong_setting_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str,
    value: str,
    status: int,
    words: str,
) -> None:
    """What was attempted, what went wrong, which setting to correct."""
    monkeypatch.setenv(f"STREAMGAUGE_{name}", value)
    monkeypatch.setenv("STREAMGAUGE_NATS_CONNECT_TIMEOUT", "1")
    assert main(["bootstrap"]) == status
    (line,) = capsys.readouterr().err.splitlines()

    assert words in line
