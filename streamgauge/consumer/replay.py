"""Batches of the stream from a point in time on, read by direct gets: nothing is created on the server.

One request is answered with the next message that matches. Its user needs no right but to read single messages, which
the shipped user ``consumer`` has.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import orjson

from streamgauge.consumer.gaps import Reason
from streamgauge.consumer.source import EndOfStreamError, Message
from streamgauge.errors import BusError

if TYPE_CHECKING:
    import datetime as dt

    from nats.aio.client import Client
    from nats.js.api import StreamInfo

    from streamgauge.consumer.gaps import Tracker

#: Seconds between two looks for what is new.
_POLL: Final = 0.25
_NOT_FOUND: Final = "404"


class AwayError(Exception):
    """The server, or the stream's leader, does not answer now."""


class StreamReader:
    """What replay and durable subscriptions need to know of the stream."""

    def __init__(self, client: Client, stream: str, *, timeout: float) -> None:
        """Take the name of the stream, and the seconds the server may take to answer."""
        self.client = client
        self.name = stream
        self.timeout = timeout
        #: The stream sequence up to which everything that matches has been handed on.
        self.position = 0

    async def info(self) -> StreamInfo:
        """Return the state of the stream.

        Raises:
            BusError: there is no such stream, or this user may not ask.

        """
        from nats.errors import Error as NatsError
        from nats.js.errors import NotFoundError

        try:
            return await self.client.jetstream(timeout=self.timeout).stream_info(self.name)
        except NotFoundError as error:
            raise BusError(f"there is no stream {self.name}; `streamgauge bootstrap` creates it") from error
        except (NatsError, TimeoutError) as error:
            raise BusError(f"cannot ask for stream {self.name}: {error or 'no answer'}") from error

    async def get(self, sequence: int, subject: str, since: dt.datetime | None = None) -> Message | None:
        """Return the next message of a subject from a sequence on, or from a time if one is given; None: there is none.

        Raises:
            AwayError: no answer.
            BusError: the server refuses.

        """
        from nats.errors import Error as NatsError

        request: dict[str, Any] = {"seq": sequence, "next_by_subj": subject}
        if since is not None:
            request = {"start_time": since.isoformat(), "next_by_subj": subject}
        try:
            answer = await self.client.request(
                f"$JS.API.DIRECT.GET.{self.name}", orjson.dumps(request), timeout=self.timeout
            )
        except (TimeoutError, NatsError) as error:
            raise AwayError from error
        headers = answer.headers or {}
        # A message may have been published with a header of that name; an answer without one has no sequence.
        status = None if "Nats-Sequence" in headers else headers.get("Status")
        if status == _NOT_FOUND:
            return None
        if status:
            raise BusError(f"stream {self.name}: {headers.get('Description', status)}")
        return Message(headers["Nats-Subject"], headers, answer.data, int(headers["Nats-Sequence"]))

    async def explain(self, tracker: Tracker) -> None:
        """Tell the tracker if the stream has discarded what was not handed on yet."""
        try:
            info = await self.info()
        except BusError:
            return
        if info.state.first_seq > self.position + 1:
            tracker.doubt(Reason.DISCARDED)


class ReplaySource:
    """Walks the stream from a time on, and goes on with what is published, unless told to stop at its end."""

    def __init__(
        self, reader: StreamReader, subject: str, *, since: dt.datetime | None, follow: bool, tracker: Tracker
    ) -> None:
        """Set what is read: ``since`` None is from the beginning of the stream."""
        self._reader = reader
        self._subject = subject
        self._since = since
        self._follow = follow
        self._tracker = tracker
        self._next = 1
        self._end = 0
        self._begun = False

    async def start(self) -> None:
        """Find out where the stream ends now.

        Raises:
            BusError: there is no such stream, or this user may not read it.

        """
        info = await self._reader.info()
        if not info.config.allow_direct:
            raise BusError(f"stream {self._reader.name} allows no direct gets: set allow_direct, or use durable=")
        self._end = info.state.last_seq
        self._next = max(1, info.state.first_seq)
        self._reader.position = self._next - 1

    async def next(self, wait: float) -> Message | None:
        """Return the next message, None if there is none yet.

        Raises:
            EndOfStreamError: all up to the end at the start has been returned, and more is not wanted.
            BusError: the server refuses.

        """
        if not self._follow and self._next > self._end:
            raise EndOfStreamError
        try:
            before = await self._last_sequence() if self._follow else self._end
            message = await self._reader.get(self._next, self._subject, self._since) if before >= self._next else None
        except AwayError:
            await asyncio.sleep(min(wait, _POLL))
            return None
        if message is None:
            if not self._follow:
                raise EndOfStreamError
            self._caught_up(before)
            await asyncio.sleep(min(wait, _POLL))
            return None
        assert message.stream_sequence is not None
        if not self._follow and message.stream_sequence > self._end:
            raise EndOfStreamError
        if not self._begun:
            # Here it begins: what the stream discarded before was not asked for.
            self._begun = True
            self._reader.position = max(self._reader.position, message.stream_sequence - 1)
        self._next = message.stream_sequence + 1
        self._since = None
        return message

    async def _last_sequence(self) -> int:
        """Return where the stream ends, asked only when the end may be near."""
        if self._next > self._end:
            try:
                self._end = (await self._reader.info()).state.last_seq
            except BusError as error:
                raise AwayError from error
        return self._end

    def _caught_up(self, last: int) -> None:
        """Know that nothing up to ``last`` is left; a stream that ends before was made anew."""
        if last + 1 < self._next:
            self._tracker.doubt(Reason.DISCARDED)
            self._next = 1
            self._reader.position = 0
        elif self._since is None:
            self._reader.position = max(self._reader.position, last)
            self._next = max(self._next, last + 1)

    async def explain(self, tracker: Tracker) -> None:
        """Ask the stream what it discarded."""
        await self._reader.explain(tracker)

    def disconnected(self) -> None:
        """Do nothing: the stream keeps what is published meanwhile."""

    async def done(self, message: Message) -> None:
        """Note how far it is."""
        self._reader.position = max(self._reader.position, message.stream_sequence or 0)

    async def refuse(self, message: Message) -> None:
        """Note how far it is."""
        await self.done(message)

    async def stop(self) -> None:
        """Do nothing: the server knows nothing of it."""
