"""Settings of the collector."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from streamgauge.settings.base import HttpSettings, Port, Positive, Seconds


class CollectorSettings(HttpSettings):
    """Capture, decode, publish."""

    port: Port = Field(9101, description="port of /metrics, /livez and /readyz; 0 takes a free one")
    node: str = Field(default_factory=socket.gethostname, min_length=1, description="name of this node")
    source: Literal["ring", "file", "scapy"] = Field("ring", description="where packets come from")
    interface: str = Field("any", min_length=1, description="what to capture: a name, any (all as one), or eth0,veth*")
    workers: int = Field(1, ge=1, le=64, description="threads that decode; each has a ring of its own, by flow")
    file: Path | None = Field(None, description="capture file for source=file")
    file_pace: Literal["max", "recorded"] = Field(
        "max", description="replay as fast as possible, or by the file's clock"
    )
    file_loop: int = Field(1, ge=0, description="how often to replay the file; 0: for ever")
    observation_point: str = Field(
        "interface", min_length=1, description="where on a packet's way this capture stands; of any, each batch says it"
    )
    filter: str = Field("", description="capture filter in libpcap's language")
    snaplen: int = Field(0, ge=0, le=262144, description="bytes captured of each packet; 0: all")
    promiscuous: bool = Field(False, description="also capture frames for other hosts")
    ignore_outgoing: bool = Field(False, description="leave out what this host sends")
    timestamps: Literal["kernel", "hardware"] = Field("kernel", description="hardware: the card's time, if it has one")
    ring_blocks: Positive = Field(64, description="blocks of the packet ring")
    ring_block_bytes: Positive = Field(1 << 20, description="bytes of a block; a power of two, at least 4096")
    ring_block_timeout_ms: Positive = Field(
        60, description="milliseconds after which a part-filled block is handed over"
    )
    decapsulate: bool = Field(True, description="open tunnels: columns describe the innermost packet")
    frame_bytes: int = Field(0, ge=0, le=65535, description="bytes of each packet kept in column frame; 0: none")
    health: bool = Field(True, description="fill round trips, retransmissions, DNS latency from a flow table")
    flows: int = Field(1 << 20, ge=1024, le=1 << 24, description="TCP connections remembered, all workers together")
    dns_timeout: Seconds = Field(5.0, description="seconds after which a DNS query is reported as unanswered")
    community_id: bool = Field(False, description="fill the column community_id")
    granularity: Literal["packet", "flow"] = Field("packet", description="one row a packet, or a flow and window")
    flow_window: Literal["1", "10"] = Field("1", description="seconds of a flow that become one row")
    overload: Literal["coarsen", "evict"] = Field("coarsen", description="when live: merge rows by flow, or only evict")
    overload_patience: Seconds = Field(5.0, description="seconds a step of the overload ladder is given to take effect")
    overload_calm: Seconds = Field(30.0, description="seconds of calm after which one step is left again")
    batch_rows: int = Field(8192, ge=1, le=65536, description="rows after which a batch closes")
    batch_bytes: int = Field(512 << 10, ge=4096, description="bytes after which a batch closes")
    batch_age: Seconds = Field(0.25, description="seconds after which a batch closes")
    encoding: Literal["arrow", "ndjson"] = Field("arrow", description="payload of a message")
    compression: Literal["none", "lz4", "zstd"] = Field("lz4", description="compression inside an Arrow payload")
    pending_bytes: int = Field(64 << 20, ge=1 << 20, description="bytes of batches held in memory while NATS is away")
    in_flight: int = Field(8, ge=1, le=256, description="batches sent and not yet acknowledged")
    stop_timeout: Seconds = Field(15.0, le=25, description="seconds to publish what is left when told to stop")
    spool_dir: Path | None = Field(
        None, description="folder where batches wait on disk until they are acknowledged; none: in memory only"
    )
    spool_bytes: int = Field(1 << 30, ge=16 << 20, description="bytes of the spool folder; past it the oldest go")
    spool_age: Seconds = Field(259_200.0, description="seconds after which a batch in the spool is given up")

    @field_validator("file")
    @classmethod
    def _file_is_named(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None and info.data.get("source") == "file":
            raise ValueError("is not set, and STREAMGAUGE_COLLECTOR_SOURCE is file")
        return value

    @field_validator("filter")
    @classmethod
    def _filter_is_for_live_capture(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("source") == "file":
            raise ValueError("is for live capture; filter a file before: tcpdump -r FILE -w FILTERED EXPRESSION")
        return value

    @field_validator("promiscuous")
    @classmethod
    def _one_interface_is_promiscuous(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("interface") == "any":
            raise ValueError("needs one interface; name it in STREAMGAUGE_COLLECTOR_INTERFACE")
        return value

    @field_validator("ring_block_bytes")
    @classmethod
    def _is_whole_pages(cls, value: int) -> int:
        if value < 4096 or value & (value - 1):
            raise ValueError("is no power of two of at least 4096")
        return value
