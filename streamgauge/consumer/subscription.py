"""``streamgauge.subscribe``: summaries from NATS into a program, one Arrow record batch after the other."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import time
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from streamgauge import codec, schema, subjects
from streamgauge.consumer.batch import Batch
from streamgauge.consumer.connection import Login, close, connect
from streamgauge.consumer.durable import DurableSource
from streamgauge.consumer.gaps import Gap, Reason, Tracker, Verdict
from streamgauge.consumer.live import REPLAY, LiveSource, traffic_class
from streamgauge.consumer.replay import ReplaySource, StreamReader
from streamgauge.consumer.source import EndOfStreamError, Message, Source
from streamgauge.errors import BusError, ConfigurationError, PayloadError, SubjectError
from streamgauge.lifecycle import spawn

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from nats.aio.client import Client

#: Where in the stream a subscription begins.
Since = dt.datetime | dt.timedelta | Literal["all"]

#: Seconds between two looks at what is due while nothing comes.
_TICK: Final = 0.5
_ONCE: Final = "a subscription is iterated over once: call subscribe again"
#: Gaps that are kept.
_MISSED: Final = 1000
#: Characters that NATS allows in the name of a consumer.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")


class Subscription:
    """Batches of one subscription: iterate over it once.

    Made by ``subscribe``. ``async with`` closes it at a known point; without, it is closed when the loop is left.
    """

    def __init__(
        self,
        login: Login,
        subject: str,
        *,
        stream: str,
        durable: str | None,
        since: Since | None,
        follow: bool,
        buffer_bytes: int,
        ack_wait: float,
    ) -> None:
        """Check the arguments; nothing is connected yet.

        Raises:
            ConfigurationError: an argument is wrong, or two do not go together.

        """
        self._login = login
        self._subject = subject
        self._stream = stream
        self._durable = durable
        self._since = _point(since)
        self._everything = since == "all"
        self._live = durable is None and since is None
        self._follow = follow
        self._buffer_bytes = buffer_bytes
        self._ack_wait = ack_wait
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._source: Source | None = None
        self._tracker = Tracker()
        self._lost = self._refused = ""
        self._begun = self._iterated = False
        #: All gaps so far, in the order they were told; past 1000 the oldest go. Once it is closed, also those that no
        #: batch came behind.
        self.missed: list[Gap] = []
        #: Messages that came under the subject and could not be read.
        self.damaged = 0
        #: Batches that came twice and were handed on once.
        self.duplicates = 0
        self._check()

    def _check(self) -> None:
        self._login.check()
        check_subject(self._subject)
        if self._durable is not None and not _NAME.fullmatch(self._durable):
            raise ConfigurationError(f"durable={self._durable!r}: a name is made of letters, digits, - and _")
        if not self._live and self._subject.startswith(REPLAY):
            raise ConfigurationError(f"{self._subject} is in no stream: subscribe without durable and since")
        if not self._follow and (self._live or self._durable):
            raise ConfigurationError("follow=False ends a replay: give since=, and no durable=")
        if self._buffer_bytes <= 0 or self._ack_wait <= 0:
            raise ConfigurationError("buffer_bytes and ack_wait must be more than 0")

    async def __aenter__(self) -> Self:
        """Connect and begin.

        Raises:
            BusError: NATS is away, refuses, or lacks the stream.

        """
        if self._begun:
            raise ConfigurationError(_ONCE)
        self._begun = True
        task = asyncio.current_task()
        cancelled = task.cancelling() if task is not None else 0
        self._loop = asyncio.get_running_loop()
        self._client = await connect(
            self._login,
            disconnected=_weakly(self._disconnected),
            refused=_weakly(self._refuse),
            closed=_weakly(self._closed),
        )
        self._source = self._make(self._client)
        try:
            await self._source.start()
        except BusError as error:
            await self.close()
            raise BusError(f"{error} ({self._refused})" if self._refused else str(error)) from error
        except BaseException:
            await self.close()
            raise
        if task is not None and task.cancelling() > cancelled:
            # nats-py swallows a cancellation while it connects or subscribes.
            await self.close()
            raise asyncio.CancelledError
        return self

    def __del__(self) -> None:
        """Warn, as of a file that was not closed, and let the connection go."""
        client = getattr(self, "_client", None)
        if client is None or self._loop is None or self._loop.is_closed():
            return
        warnings.warn(
            f"unclosed subscription to {self._subject} at {self._login.shown}: use `async with`",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        self._loop.call_soon_threadsafe(lambda: spawn(close(client), name="close what was forgotten"))

    async def __aexit__(self, *_error: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Give back what was not dealt with, and close the connection; once closed it stays so."""
        source, client = self._source, self._client
        self._source = self._client = None
        self._tell(self._tracker.finish())
        if client is None:
            return
        try:
            if source is not None:
                await source.stop()
        finally:
            await close(client)

    async def __aiter__(self) -> AsyncIterator[Batch]:
        """Yield the batches; each counts as dealt with when the next is asked for.

        Raises:
            BusError: NATS refuses for good, or the consumer was deleted.
            ConfigurationError: it was iterated over before; leaving that loop closed it.

        """
        if self._iterated:
            raise ConfigurationError(_ONCE)
        self._iterated = True
        if self._source is None:
            await self.__aenter__()
        try:
            while (source := self._source) is not None:
                try:
                    message = await source.next(_TICK)
                except EndOfStreamError:
                    # What was discarded at the very end has no batch behind it that would show it.
                    await source.explain(self._tracker)
                    return
                if message is None:
                    if self._refused and self._live:
                        raise BusError(f"NATS at {self._login.shown} refuses {self._subject}: {self._refused}")
                    if self._lost:
                        raise BusError(f"NATS at {self._login.shown} closed the connection: {self._lost}")
                    continue
                batch = await self._batch(source, message)
                if batch is not None:
                    yield batch
                    await source.done(message)
        finally:
            await self.close()

    async def _batch(self, source: Source, message: Message) -> Batch | None:
        """Return the batch in a message; None for one that was seen before or cannot be read."""
        try:
            envelope = subjects.Envelope.from_headers(message.headers)
            kind = traffic_class(message.subject)
        except (PayloadError, SubjectError):
            self.damaged += 1
            await source.refuse(message)
            return None
        if self._tracker.surprising(envelope, kind):
            await source.explain(self._tracker)
        now = time.monotonic()
        try:
            arrow = codec.decode(message.data, envelope.content_type)
        except PayloadError:
            self.damaged += 1
            self._tracker.drop(envelope, kind, Reason.DAMAGED, now)
            await source.refuse(message)
            return None
        verdict = self._tracker.take(envelope, kind, now)
        if verdict is Verdict.DUPLICATE:
            self.duplicates += 1
            await source.done(message)
            return None
        gaps = self._tracker.due(now)
        self._tell(gaps)
        return Batch(
            arrow,
            kind,
            envelope,
            gaps=tuple(gaps),
            late=verdict is Verdict.LATE,
            stream_sequence=message.stream_sequence,
        )

    def _tell(self, gaps: list[Gap]) -> None:
        if gaps:
            self.missed = [*self.missed, *gaps][-_MISSED:]

    def _make(self, client: Client) -> Source:
        if self._live:
            return LiveSource(client, self._subject, self._tracker, buffer_bytes=self._buffer_bytes)
        reader = StreamReader(client, self._stream, timeout=self._login.timeout)
        subject = stored(self._subject)
        if self._durable is None:
            return ReplaySource(reader, subject, since=self._since, follow=self._follow, tracker=self._tracker)
        return DurableSource(
            reader,
            subject,
            self._durable,
            since=self._since,
            everything=self._everything,
            ack_wait=self._ack_wait,
            tracker=self._tracker,
        )

    def _disconnected(self) -> None:
        if self._source is not None:
            self._source.disconnected()

    def _refuse(self, words: str) -> None:
        self._refused = words

    def _closed(self, reason: str) -> None:
        self._lost = reason or "no reason given"


def _weakly(method: Callable[..., None]) -> Callable[..., None]:
    """Return a callback that keeps no subscription alive which nobody else holds."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: str) -> None:
        found = reference()
        if found is not None:
            found(*arguments)

    return call


def subscribe(
    servers: str,
    subject: str = "traffic.v1.*.*",
    *,
    durable: str | None = None,
    since: Since | None = None,
    follow: bool = True,
    stream: str = "TRAFFIC",
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    credentials: str | Path | None = None,
    tls: ssl.SSLContext | str | Path | None = None,
    timeout: float = 10.0,
    inbox_prefix: str = "_INBOX",
    buffer_bytes: int = 64 << 20,
    ack_wait: float = 30.0,
) -> Subscription:
    """Return summaries from NATS as an asynchronous iterator of batches.

    >>> async def count_dns():
    ...     async for batch in subscribe("nats://127.0.0.1:4222", "traffic.v1.*.dns"):
    ...         print(batch.node, batch.packets, batch.arrow.column("dns_name"))

    Live (the default): what is published from now on. Nothing is left on the server; a program that is slower than the
    traffic, or away, misses batches and is told which.

    Replay (``since``): from a point in time on, out of the stream, then whatever is published; ``follow=False`` ends
    where the stream ended at the start. Nothing is left on the server.

    Durable (``durable``): the server remembers how far this name is, over restarts. A batch is acknowledged when the
    next one is asked for: the one at which a program dies comes again.

    Within one subscription each batch comes once.

    Args:
        servers: ``nats://host:4222``, several separated by commas; ``tls://`` for TLS.
        subject: ``traffic.v1.<node>.<class>`` with ``*`` for any node or class.
        durable: Name of this reader; a name belongs to one running program.
        since: A time, how long ago, or ``"all"`` for everything the stream has. For a durable reader it says where it
            begins the first time; without it, now. A ``datetime`` without a zone is UTC.
        follow: Whether a replay goes on at the end of the stream.
        stream: Name of the stream.
        user: Name of the NATS user.
        password: Its password.
        token: Token, instead of user and password.
        credentials: Path of a ``.creds`` file (needs ``nats-py[nkeys]``).
        tls: Path of the authority's certificate, or a context (for a client certificate).
        timeout: Seconds a server may take to answer.
        inbox_prefix: Where the server answers; needed if the user may not listen on ``_INBOX.>``.
        buffer_bytes: Memory for batches that were not asked for yet (live); past it the oldest are dropped.
        ack_wait: Seconds without a sign of life after which the server gives a batch again (durable).

    Raises:
        ConfigurationError: an argument is wrong.

    """
    login = Login(servers, user, password, token, credentials, tls, timeout, inbox_prefix)
    return Subscription(
        login,
        subject,
        stream=stream,
        durable=durable,
        since=since,
        follow=follow,
        buffer_bytes=buffer_bytes,
        ack_wait=ack_wait,
    )


def check_subject(subject: str) -> None:
    """Make sure that batches can come under a subject: a server would wait for ever with the asker.

    Raises:
        ConfigurationError: it is none of ours, or names a class that does not exist.

    """
    tokens = str(subject).split(".")
    ours = ".".join(tokens[:2]) in (subjects.TRAFFIC, REPLAY)
    whole = len(tokens) == 4 or (tokens[-1] == ">" and len(tokens) in (3, 4))
    if not ours or not whole or not all(tokens) or re.search(r"\s", subject):
        raise ConfigurationError(
            f"subject {subject!r} is no {subjects.TRAFFIC}.<node>.<class>: try {subjects.TRAFFIC}.*.dns"
        )
    classes = [member.token for member in schema.TrafficClass]
    if tokens[-1] not in ("*", ">", *classes):
        raise ConfigurationError(f"subject {subject!r}: {tokens[-1]} is no class; there are {', '.join(classes)}")


def stored(subject: str) -> str:
    """Return a subject as the stream stores it: with the shard behind it.

    >>> stored("traffic.v1.*.dns")
    'traffic.v1.*.dns.*'
    >>> stored("traffic.v1.>")
    'traffic.v1.>'
    """
    return subject if subject.endswith(">") else f"{subject}.*"


def _point(since: Since | None) -> dt.datetime | None:
    value: Any = since
    if value is None or value == "all":
        return None
    if isinstance(value, dt.timedelta):
        return dt.datetime.now(dt.UTC) - value
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value
    raise ConfigurationError(f"since={since!r} is no datetime, no timedelta and not 'all'")
