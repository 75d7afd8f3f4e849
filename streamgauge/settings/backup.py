"""Settings of the backup."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from streamgauge.settings.base import Port, Seconds
from streamgauge.settings.shared_work import SharedWorkSettings


class BackupSettings(SharedWorkSettings):
    """From the stream to Parquet objects."""

    port: Port = Field(9102, description="port of /metrics, /livez and /readyz; 0 takes a free one")
    rotate_bytes: int = Field(64 << 20, ge=1 << 16, description="bytes after which an object is closed")
    rotate_rows: int = Field(1_000_000, ge=1, description="rows after which an object is closed")
    rotate_seconds: Seconds = Field(60.0, description="seconds after which an object is closed: the recovery point")
    row_group_rows: int = Field(1 << 20, ge=1024, description="rows of a Parquet row group")
    order: Literal["flow", "time"] = Field(
        "flow", description="rows of an object by flow and then time (a third smaller), or all by time"
    )
    compression_level: int = Field(1, ge=1, le=22, description="zstd level at rest")
    retention_days: int = Field(0, ge=0, description="days after which objects expire; 0: never")
    versioning: bool = Field(False, description="the bucket keeps replaced objects")
    lock_days: int = Field(0, ge=0, description="days in which nobody can remove an object (object lock); 0: none")
    lock_mode: Literal["governance", "compliance"] = Field(
        "governance", description="whether anybody may lift the lock"
    )
    encryption: Literal["none", "s3", "kms"] = Field(
        "none", description="encryption by the server: its key, or a KMS key"
    )
    encryption_key: str = Field("", description="identifier of the KMS key")
    ack_wait: Seconds = Field(120.0, description="seconds after which JetStream delivers an unacknowledged batch again")
    dedupe_hours: float = Field(
        168.0, gt=0, description="hours a batch is remembered as stored; at least as long as the stream keeps messages"
    )
    when_taken: Literal["stop", "wait"] = Field(
        "stop", description="if another replica writes a shard of ours: stop, or wait as its stand-in"
    )
    pending_bytes: int = Field(
        256 << 20, ge=1 << 20, description="bytes of batches held in memory, all shards together, until they are stored"
    )
    encoders: int = Field(
        2, ge=1, le=64, description="objects encoded at the same time; each takes about 300 bytes a row"
    )
