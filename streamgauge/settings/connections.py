"""Settings of what the services reach: the log, NATS, S3."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from streamgauge.settings.base import Positive, Seconds, Section


class LogSettings(Section):
    """What is written to standard error or output by the services."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe level written")
    format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal, else JSON")


class NatsSettings(Section):
    """How to reach NATS and what the stream is like."""

    url: str = Field("nats://127.0.0.1:4222", description="one or more server URLs, comma-separated")
    user: str | None = Field(None, description="user name, if the server asks for one")
    password: SecretStr | None = Field(None, description="password of the user")
    tls_ca: Path | None = Field(None, description="certificate authority that signed the server's certificate")
    connect_timeout: Seconds = Field(5.0, description="seconds to wait for a connection or an answer")
    stream: str = Field("TRAFFIC", pattern=r"^[A-Za-z0-9_-]+$", description="name of the JetStream stream")
    create_stream: bool = Field(True, description="create the stream if it is missing")
    shards: int = Field(8, ge=1, le=256, description="partitions of the stream; fixed when it is created")
    replicas: int = Field(1, ge=1, le=5, description="copies of the stream in the NATS cluster")
    max_age_hours: float = Field(72.0, gt=0, description="hours the stream keeps a message")
    max_bytes: Positive = Field(10 << 30, description="bytes the stream keeps at the most")
    duplicate_window: Seconds = Field(120.0, description="seconds in which JetStream drops a batch sent twice")

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        for url in value.split(","):
            if "@" in url:
                # URLs are shown: in logs, by `config`, by the doctor.
                raise ValueError("holds a login; set STREAMGAUGE_NATS_USER and _PASSWORD(_FILE) instead")
            if not url.strip().startswith(("nats://", "tls://", "ws://", "wss://")):
                raise ValueError(f"{url!r} is no NATS URL such as nats://host:4222")
        return value


class S3Settings(Section):
    """How to reach the object storage."""

    endpoint: str = Field("127.0.0.1:9000", description="host:port of the S3 API, without a scheme or path")
    secure: bool = Field(True, description="TLS to the endpoint")
    ca: Path | None = Field(None, description="certificate authority that signed the endpoint's certificate")
    access_key: str = Field(..., min_length=1, description="access key")
    secret_key: SecretStr = Field(..., description="secret key")
    region: str = Field("us-east-1", description="region the requests are signed for")
    bucket: str = Field("streamgauge", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="bucket")
    create_bucket: bool = Field(True, description="create the bucket if it is missing")
    timeout: Seconds = Field(30.0, description="seconds to wait for the storage to connect or answer")

    @field_validator("endpoint")
    @classmethod
    def _is_host(cls, value: str) -> str:
        if "://" in value or "/" in value:
            raise ValueError(f"{value!r} has a scheme or path; give host:port and set STREAMGAUGE_S3_SECURE")
        return value
