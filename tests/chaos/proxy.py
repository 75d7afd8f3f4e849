"""A TCP proxy that does to connections what networks and overloaded servers do."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from streamgauge.lifecycle import cancel, spawn

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

_CHUNK: Final = 64 << 10
_HTTP_METHODS: Final = (b"GET ", b"PUT ", b"HEAD ", b"POST ", b"DELETE ")
_BUSY_BODY: Final = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BUSY_BODY), _BUSY_BODY)
)


class Mode(Enum):
    """What the proxy does."""

    PASS = auto()
    #: Each piece waits ``delay`` seconds.
    SLOW = auto()
    #: Nothing passes in either direction; connections stay open.
    HANG = auto()
    #: The server hears everything, its answers do not arrive.
    DEAF = auto()
    #: New connections are closed at once.
    REFUSE = auto()
    #: HTTP: each request is answered with 503.
    BUSY = auto()
    #: HTTP: of each upload the first half passes, then the connection is cut.
    CUT_UPLOAD = auto()
    #: HTTP: each upload passes whole, and the connection is cut instead of its answer.
    LOSE_ANSWER = auto()


class _Link:
    """One client and its connection to the server."""

    def __init__(self, client: StreamWriter, server: StreamWriter) -> None:
        self.client = client
        self.server = server
        self.uploading = False

    def abort(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()

    async def close(self) -> None:
        self.abort()
        for writer in (self.client, self.server):
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Proxy:
    """Listens on a port of its own and passes connections on to ``target``, both on loopback."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._mode = Mode.PASS
        self._changed = asyncio.Event()
        self._links: set[_Link] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._server: asyncio.Server | None = None
        #: Seconds of ``Mode.SLOW``.
        self.delay = 0.05
        self.port = 0

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        self.set(Mode.PASS)
        self.cut()
        await self._idle.wait()
        if self._server is not None:
            await self._server.wait_closed()

    def set(self, mode: Mode) -> None:
        """Change what is done, for connections that exist and for new ones."""
        self._mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    def cut(self) -> None:
        """Reset all connections."""
        for link in self._links:
            link.abort()

    def half_close(self) -> None:
        """End the clients' half of all connections: the server reads an end, and may still answer."""
        for link in self._links:
            with contextlib.suppress(OSError, RuntimeError):
                link.server.write_eof()

    async def _serve(self, reader: StreamReader, client: StreamWriter) -> None:
        try:
            from_server, server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            client.transport.abort()
            return
        link = _Link(client, server)
        self._links.add(link)
        self._idle.clear()
        if self._mode is Mode.REFUSE:
            link.abort()
        pumps = [
            spawn(self._up(link, reader), name="proxy up"),
            spawn(self._down(link, from_server), name="proxy down"),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                await cancel(pump)
            await link.close()
            self._links.discard(link)
            if not self._links:
                self._idle.set()

    async def _up(self, link: _Link, reader: StreamReader) -> None:
        """Pass on what the client says."""
        with contextlib.suppress(OSError, RuntimeError):
            while data := await reader.read(_CHUNK):
                await self._held(Mode.HANG)
                if self._mode is Mode.BUSY and data.startswith(_HTTP_METHODS):
                    await self._answer_busy(link, reader)
                    return
                if self._mode is Mode.CUT_UPLOAD and link.uploading:
                    link.server.write(data[: len(data) // 2])
                    await link.server.drain()
                    return
                if data.startswith(_HTTP_METHODS):
                    link.uploading = data.startswith(b"PUT ") and b".parquet" in data.partition(b"\r\n")[0]
                link.server.write(data)
                await link.server.drain()

    async def _down(self, link: _Link, reader: StreamReader) -> None:
        """Pass on what the server answers."""
        with contextlib.suppress(OSError, RuntimeError):
            while data := await reader.read(_CHUNK):
                await self._held(Mode.HANG)
                if self._mode is Mode.LOSE_ANSWER and link.uploading:
                    return
                if self._mode is not Mode.DEAF:
                    link.client.write(data)
                    await link.client.drain()

    async def _held(self, mode: Mode) -> None:
        """Wait as long as the mode says."""
        while self._mode is mode:
            await self._changed.wait()
        if self._mode is Mode.SLOW:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.delay):
                    await self._changed.wait()

    async def _answer_busy(self, link: _Link, reader: StreamReader) -> None:
        link.client.write(_BUSY)
        await link.client.drain()
        # A connection closed with a body unread is reset, and the client may never see the answer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                while await reader.read(_CHUNK):
                    pass
