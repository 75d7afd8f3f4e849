"""What every section of the settings is made of."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

#: Values that stand in examples and must never guard a running system.
_EXAMPLE_SECRETS: Final = {"changeme", "change-me", "example", "password", "secret", "minioadmin", "admin"}

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown field is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*")
    @classmethod
    def _no_example_secret(cls, value: Any) -> Any:
        if isinstance(value, SecretStr) and (
            not value.get_secret_value() or value.get_secret_value().lower() in _EXAMPLE_SECRETS
        ):
            raise ValueError("is empty or an example; generate one (`make secrets`)")
        return value


class HttpSettings(Section):
    """The page with metrics and probes that every service has."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(0, description="port to listen on; 0 takes a free one and logs it")
