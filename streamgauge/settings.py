"""Configuration: one frozen model a component, from the environment and an optional TOML file.

A setting is ``STREAMGAUGE_<SECTION>_<NAME>``, e.g. ``STREAMGAUGE_NATS_URL``.

Order, last wins: the defaults here, the file named by ``STREAMGAUGE_CONFIG``, the environment. A secret may also come
from a file: ``STREAMGAUGE_S3_SECRET_KEY_FILE=/run/secrets/s3``. All faults are reported at once, and a name that no
component knows is a fault, so that a typing error is never silently ignored.
"""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from streamgauge.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "STREAMGAUGE_"
CONFIG_FILE: Final = f"{PREFIX}CONFIG"

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


class HttpSettings(Section):
    """The page with metrics and probes that every service has."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(0, description="port to listen on; 0 takes a free one and logs it")


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
    observation_point: str = Field("interface", min_length=1, description="where on a packet's way this capture stands")
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


class ExporterSettings(SharedWorkSettings):
    """From the stream to Prometheus metrics."""

    port: Port = Field(9103, description="port of /metrics, /livez and /readyz; 0 takes a free one")
    replay: bool = Field(False, description="count from the start of the stream instead of from now")
    max_lag: Seconds = Field(300.0, description="seconds of lag past which it skips to now and counts what it skipped")
    inside: str = Field(
        "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7",
        description="networks that are inside, for the label direction",
    )
    series_budget: int = Field(20_000, ge=10, le=1_000_000, description="most series of one metric family")


SECTIONS: Final[dict[str, type[Section]]] = {
    "log": LogSettings,
    "nats": NatsSettings,
    "s3": S3Settings,
    "collector": CollectorSettings,
    "backup": BackupSettings,
    "exporter": ExporterSettings,
}

#: Which sections each program reads.
PROGRAMS: Final[dict[str, tuple[str, ...]]] = {
    "collector": ("log", "nats", "collector"),
    "backup": ("log", "nats", "s3", "backup"),
    "exporter": ("log", "nats", "exporter"),
}

S = TypeVar("S", bound=Section)


class Settings:
    """The effective configuration: asked for by section, ``settings.section(NatsSettings)``."""

    def __init__(self, sections: dict[str, Section]) -> None:
        self._sections = sections

    def section(self, model: type[S]) -> S:
        """Return one section.

        Raises:
            KeyError: the section was not loaded.

        """
        for section in self._sections.values():
            if type(section) is model:
                return section
        raise KeyError(model.__name__)

    def dump(self) -> dict[str, str]:
        """Return every setting by its environment name, secrets masked."""
        return {
            f"{PREFIX}{section.upper()}_{name.upper()}": "********" if isinstance(value, SecretStr) else str(value)
            for section, model in self._sections.items()
            for name, value in model
            if value is not None
        }


def load(sections: tuple[str, ...], environment: Mapping[str, str] | None = None) -> Settings:
    """Read the named sections.

    Raises:
        ConfigurationError: one line for each fault found, in the file and in the environment.

    """
    environment = os.environ if environment is None else environment
    faults: list[str] = []
    values = _from_file(environment.get(CONFIG_FILE), faults)
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and name != CONFIG_FILE:
            _take(name, text, values, faults)
    loaded: dict[str, Section] = {}
    for section in sections:
        try:
            loaded[section] = SECTIONS[section].model_validate(values.get(section, {}))
        except ValidationError as error:
            faults.extend(_sentence(section, fault) for fault in error.errors())
    if faults:
        raise ConfigurationError("\n".join(faults))
    return Settings(loaded)


def environment_name(section: str, field: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{section.upper()}_{field.upper()}"


def _sentence(section: str, fault: Any) -> str:
    name = environment_name(section, str(fault["loc"][0]) if fault["loc"] else "")
    if fault["type"] == "missing":
        return f"{name} is not set"
    given = (
        ""
        if isinstance(fault["input"], (dict, SecretStr, type(None))) or "SECRET" in name or "PASSWORD" in name
        else f"={fault['input']}"
    )
    return f"{name}{given}: {fault['msg'].removeprefix('Value error, ')}"


def _take(name: str, text: str, values: dict[str, dict[str, Any]], faults: list[str]) -> None:
    section, _, field = name.removeprefix(PREFIX).lower().partition("_")
    model = SECTIONS.get(section)
    if model is not None and field in model.model_fields:
        values.setdefault(section, {})[field] = text
        return
    field = field.removesuffix("_file")
    if model is not None and name.endswith("_FILE") and field in model.model_fields:
        try:
            values.setdefault(section, {})[field] = Path(text).read_text(encoding="utf-8").strip()
        except OSError as error:
            faults.append(f"{name}={text}: cannot be read: {error.strerror}")
        return
    faults.append(f"{name} is no setting; `streamgauge config --list` shows all{_nearest(name)}")


def _nearest(name: str) -> str:
    import difflib

    known = [environment_name(section, field) for section, model in SECTIONS.items() for field in model.model_fields]
    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _from_file(path: str | None, faults: list[str]) -> dict[str, dict[str, Any]]:
    if not path:
        return {}
    try:
        with Path(path).open("rb") as handle:
            table = tomllib.load(handle)
    except OSError as error:
        faults.append(f"{CONFIG_FILE}={path}: cannot be read: {error.strerror}")
        return {}
    except tomllib.TOMLDecodeError as error:
        faults.append(f"{CONFIG_FILE}={path}: is not TOML: {error}")
        return {}
    values: dict[str, dict[str, Any]] = {}
    for section, content in table.items():
        model = SECTIONS.get(section)
        if model is None or not isinstance(content, dict):
            faults.append(f"{path}: [{section}] is no section; sections: {', '.join(SECTIONS)}")
            continue
        for field, value in content.items():
            if field in model.model_fields:
                values.setdefault(section, {})[field] = value
            else:
                faults.append(f"{path}: [{section}] {field} is no setting")
    return values
