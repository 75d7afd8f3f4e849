"""Settings of ``streamgauge doctor``: where the pages are that only some of its hops need."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from streamgauge.settings.base import Seconds, Section


class DoctorSettings(Section):
    """What the doctor looks at beside NATS and the object storage; what is not named is not checked."""

    collector: str | None = Field(None, description="URL of a collector, such as http://node:9101")
    backup: str | None = Field(None, description="URL of a backup, such as http://backup:9102")
    exporter: str | None = Field(None, description="URL of an exporter, such as http://exporter:9103")
    prometheus: str | None = Field(None, description="URL of Prometheus, with its path: http://host:9090/prometheus")
    door: str | None = Field(None, description="URL of the door, such as https://localhost:8443")
    door_ca: Path | None = Field(None, description="certificate authority that signed the door's certificate")
    door_user: str | None = Field(None, description="user to log in at the door as; none: only that it asks")
    door_password: SecretStr | None = Field(None, description="password of that user")
    late: Seconds = Field(180.0, description="seconds a batch may wait until it is stored before that is broken")

    @field_validator("collector", "backup", "exporter", "prometheus", "door")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is no URL such as http://host:9103")
        return None if value is None else value.rstrip("/")

    @field_validator("door_ca")
    @classmethod
    def _is_there(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("no such file; `make secrets` makes secrets/authority/ca.crt")
        return value
