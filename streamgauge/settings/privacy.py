"""Settings of what a collector hides before anything leaves the node."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator

from streamgauge.settings.base import Section

Addresses = Literal["off", "outside", "all"]
Words = Literal["keep", "hash", "drop"]

_HEX_DIGITS: Final = 64


class PrivacySettings(Section):
    """What becomes of addresses, names and paths; docs/23-privacy.md."""

    key: SecretStr | None = Field(
        None, description="key of pseudonyms and hashes: 64 hexadecimal digits (openssl rand -hex 32)"
    )
    addresses: Addresses = Field(
        "off", description="prefix-preserving pseudonyms for all addresses, or for those outside of the networks below"
    )
    inside: str = Field(
        "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,fc00::/7,fe80::/10",
        description="networks that are inside, comma-separated",
    )
    names: Words = Field("keep", description="DNS names, TLS server names, HTTP hosts: as they are, hashed, dropped")
    paths: Words = Field("keep", description="HTTP paths: as they are, hashed, dropped")
    policy: Path | None = Field(None, description="TOML file with rules for networks, e.g. those of a namespace")

    @field_validator("key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            good = len(bytes.fromhex(value.get_secret_value())) * 2 == _HEX_DIGITS
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"is not {_HEX_DIGITS} hexadecimal digits; make one: openssl rand -hex 32")
        return value

    @field_validator("inside")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        import ipaddress

        for network in value.split(","):
            try:
                ipaddress.ip_network(network.strip())
            except ValueError as error:
                raise ValueError(f"{network.strip()!r} is no network: {error}") from error
        return value
