"""NATS as the services use it: one connection that survives the server, one stream, awaited publishes.

nats-py leaves some things to its caller, and they are handled here once: a connection gives up after 60 attempts unless
told otherwise, ``drain`` raises while reconnecting, and what the server says about a refusal arrives in a callback.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import TYPE_CHECKING, Any, Final

from nats.errors import Error as NatsError
from nats.errors import NoServersError
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo, SubjectTransform
from nats.js.errors import APIError, NotFoundError

from streamgauge import subjects
from streamgauge.errors import BusError, ConfigurationError
from streamgauge.logs import Sampled, get
from streamgauge.nats_client import Client

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from streamgauge.settings import NatsSettings

_log = get("bus")

#: Bytes nats-py may buffer while disconnected before it refuses; our own bounds hold before it.
_PENDING_BYTES: Final = 64 << 20

#: A server that hangs without closing the connection is noticed after 30 seconds, not after nats-py's 6 minutes.
_PING_INTERVAL: Final = 10  # seconds
_PINGS_UNANSWERED: Final = 3

#: Bytes of a message every server takes unless configured otherwise.
_DEFAULT_MAX_PAYLOAD: Final = 1 << 20


class Bus:
    """One connection to NATS and its JetStream context; ``connected`` tells whether the server is there now.

    Lives as long as its service. ``start`` waits up to ``connect_timeout`` for the first connection; later losses are
    repaired in the background, for ever.
    """

    def __init__(self, settings: NatsSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._client: Client | None = None
        self._sampled = Sampled(_log)
        #: What the server, or the way to it, complained about last.
        self._said = ""
        #: How often the connection was lost.
        self.disconnects = 0
        #: Set while the server is there.
        self.up = asyncio.Event()
        self._stopping = False

    async def start(self) -> None:
        """Connect.

        Raises:
            BusError: no server answers, or it refuses the credentials.

        """
        settings = self._settings
        client = Client()
        try:
            await asyncio.wait_for(
                client.connect(
                    servers=[url.strip() for url in settings.url.split(",")],
                    name=self._name,
                    user=settings.user,
                    password=settings.password.get_secret_value() if settings.password else None,
                    tls=self._tls(),
                    connect_timeout=settings.connect_timeout,  # type: ignore[arg-type] # it takes parts of a second
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,  # type: ignore[arg-type]
                    ping_interval=_PING_INTERVAL,
                    max_outstanding_pings=_PINGS_UNANSWERED,
                    pending_size=_PENDING_BYTES,
                    inbox_prefix=f"_INBOX_{self._name}".encode(),
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnect,
                    reconnected_cb=self._on_reconnect,
                    closed_cb=self._on_close,
                ),
                settings.connect_timeout,
            )
        except (NatsError, NoServersError, OSError, TimeoutError) as error:
            # While it tries again, nats-py only tells its callback why: refused, unknown host, wrong password.
            reason = str(error) or self._said or "no answer"
            raise BusError(
                f"cannot reach NATS at {settings.url}: {reason}; "
                "start the server or correct STREAMGAUGE_NATS_URL, _USER, _PASSWORD"
            ) from error
        self._client = client
        self.up.set()

    async def stop(self) -> None:
        """Send what is buffered and close."""
        self._stopping = True
        if self._client is None or self._client.is_closed:
            return
        with contextlib.suppress(NatsError, asyncio.TimeoutError, OSError):
            if self._client.is_connected:
                await asyncio.wait_for(self._client.flush(timeout=2), 3)
        # Writes once more what is buffered, and raises when the server is away.
        with contextlib.suppress(OSError):
            await self._client.close()

    @property
    def client(self) -> Client:
        """The connection, for plain subscriptions."""
        if self._client is None:
            raise BusError("the connection to NATS was used before it was started")
        return self._client

    @property
    def connected(self) -> bool:
        """Whether the server is there now."""
        return self._client is not None and self._client.is_connected

    @property
    def closed(self) -> bool:
        """Whether there is no connection and none will come by itself: not started, or refused for good."""
        return self._client is None or self._client.is_closed

    @property
    def said(self) -> str:
        """What the server, or the way to it, complained about last; empty when it did not."""
        return self._said

    @property
    def max_payload(self) -> int:
        """Bytes the server takes in one message, headers included."""
        return self._client.max_payload if self._client is not None else _DEFAULT_MAX_PAYLOAD

    @property
    def jetstream(self) -> JetStreamContext:
        """The JetStream context of the connection."""
        return self.client.jetstream(timeout=self._settings.connect_timeout)

    async def ensure_stream(self) -> StreamInfo:
        """Return the stream, created if it is missing and creating is allowed.

        Raises:
            BusError: the stream is missing and may not (or cannot) be created, or it lacks our subjects.

        """
        name = self._settings.stream
        try:
            info = await self._stream_info(name)
            if info is None and self._settings.create_stream:
                await self.jetstream.add_stream(stream_config(self._settings))
                _log.info("stream created", stream=name, shards=self._settings.shards)
                info = await self._stream_info(name)
        except (APIError, NatsError, TimeoutError) as error:
            raise BusError(
                f"cannot look up or create stream {name}: {_reason(error)}; "
                "JetStream must be on (nats-server -js) and this user must be allowed to use it"
            ) from error
        if info is None:
            raise BusError(
                f"stream {name} does not exist and STREAMGAUGE_NATS_CREATE_STREAM is off; "
                "create it with `streamgauge bootstrap` or switch creating on"
            )
        if subjects.ALL_TRAFFIC not in (info.config.subjects or []):
            raise BusError(
                f"stream {name} does not take {subjects.ALL_TRAFFIC}, only {info.config.subjects}; "
                "set STREAMGAUGE_NATS_STREAM to another name or correct the stream"
            )
        return info

    async def _stream_info(self, name: str) -> StreamInfo | None:
        try:
            return await self.jetstream.stream_info(name)
        except NotFoundError:
            return None

    def _tls(self) -> ssl.SSLContext | None:
        settings = self._settings
        if settings.tls_ca is None and not settings.url.startswith("tls://"):
            return None
        try:
            return ssl.create_default_context(cafile=settings.tls_ca)
        except OSError as error:
            raise ConfigurationError(f"STREAMGAUGE_NATS_TLS_CA={settings.tls_ca}: cannot be read: {error}") from error

    async def _on_error(self, error: Exception) -> None:
        # A server that refuses a login closes at once, and a later attempt may see no more than the closing.
        if not _refused(self._said):
            self._said = _reason(error)
        self._sampled.warning("nats", error=_reason(error))

    async def _on_disconnect(self) -> None:
        self.up.clear()
        if self._stopping:
            return
        self.disconnects += 1
        _log.warning("disconnected from nats", url=self._settings.url)

    async def _on_close(self) -> None:
        self.up.clear()

    async def _on_reconnect(self) -> None:
        self.up.set()
        self._said = ""
        _log.info("connected to nats again", url=self._settings.url)


def shard_count(info: StreamInfo) -> int:
    """Return into how many shards a stream splits the nodes: what its transform says, 1 without one."""
    transform = info.config.subject_transform
    if transform is None or "partition(" not in (transform.dest or ""):
        return 1
    return int(transform.dest.partition("partition(")[2].partition(",")[0])


def stream_config(settings: NatsSettings) -> StreamConfig:
    """Return the stream as it should be: limits retention, file storage, a shard token appended by node."""
    return StreamConfig(
        name=settings.stream,
        description="streamgauge: packet summaries, ledger and identity events",
        subjects=[subjects.ALL_TRAFFIC, f"{subjects.LEDGER}.*", f"{subjects.IDENTITY}.*"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=settings.max_age_hours * 3600,
        max_bytes=settings.max_bytes,
        num_replicas=settings.replicas,
        duplicate_window=settings.duplicate_window,
        allow_direct=True,
        subject_transform=SubjectTransform(
            src=subjects.ALL_TRAFFIC,
            dest=f"{subjects.TRAFFIC}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.{{{{partition({settings.shards},1)}}}}",
        ),
    )


def _refused(said: str) -> bool:
    return "authorization" in said.lower()


def _reason(error: BaseException) -> str:
    if isinstance(error, APIError):
        return str(error.description)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        # An OSError, whose number is not the system's: its words would be "Operation not permitted".
        return f"TLS: {error.reason or error}"
    if isinstance(error, OSError) and error.strerror:
        # asyncio puts the address in front of the system's words, uvloop does not; resolvers count from -1 down.
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    # nats-py writes "nats: 'Authorization Violation'".
    return str(error).removeprefix("nats: ").strip("'") or type(error).__name__


__all__: Any = ["Bus", "shard_count", "stream_config"]
