"""Settings of services whose replicas split the shards of the stream."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from streamgauge.settings.base import HttpSettings


class SharedWorkSettings(HttpSettings):
    """Replicas that split the shards of the stream: replica r of n takes each n-th shard from r on.

    A StatefulSet gives each pod its own name as ``…_REPLICA`` and all of them the same ``…_REPLICAS``.
    """

    shards: str = Field("all", pattern=r"^(all|\d+(,\d+)*)$", description="shards this replica takes: all, or 0,1,…")
    replica: int = Field(0, ge=0, description="number of this replica from 0; a pod's name, backup-2, does as well")
    replicas: int = Field(1, ge=1, le=256, description="how many replicas split the shards that are all")

    @field_validator("replica", mode="before")
    @classmethod
    def _from_pod_name(cls, value: Any) -> Any:
        return value.rpartition("-")[2] if isinstance(value, str) else value

    @field_validator("replicas")
    @classmethod
    def _are_more_than_this(cls, value: int, info: ValidationInfo) -> int:
        if value <= info.data.get("replica", 0):
            raise ValueError(f"this is replica {info.data['replica']}, and they count from 0")
        return value

    def shards_of(self, count: int) -> tuple[int, ...]:
        """Return the shards this replica takes of a stream that has ``count``."""
        own = range(count) if self.shards == "all" else sorted({int(shard) for shard in self.shards.split(",")})
        return tuple(own)[self.replica :: self.replicas]
