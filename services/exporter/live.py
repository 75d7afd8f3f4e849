"""The live page: one self-contained document at ``/``, a stream of events, and a live tail with a filter.

Nothing comes from another host, all addresses are relative (so it works under a sub-path), and the content policy
allows only the script and style that stand in the document, by their hashes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from services.exporter import view
from streamgauge.errors import ConfigurationError
from streamgauge.lifecycle import Failure, cancel, spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from services.exporter.consumer import Consumer
    from services.exporter.health import Health
    from services.exporter.ledger_book import LedgerBook
    from services.exporter.recent import Recent
    from services.exporter.tail import Reader, Tail

_FOLDER: Final = Path(__file__).with_name("page")
#: Seconds between two events, and between two deliveries of the tail.
_TICK: Final = 1.0
_TAIL_TICK: Final = 0.25
#: Seconds after which an idle tail sends a comment, so that nothing on the way takes it for dead.
_KEEP_ALIVE: Final = 15.0
#: Open pages at a time.
_MOST_PAGES: Final = 100
#: Longest filter.
_FILTER_LENGTH: Final = 500

_STREAM_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class LivePage:
    """Serves the page; a component of the service, started before the HTTP server and stopped first of all."""

    def __init__(
        self,
        recent: Recent,
        tail: Tail,
        book: LedgerBook,
        health: Health,
        consumer: Consumer,
        *,
        failure: Failure,
    ) -> None:
        self._recent = recent
        self._tail = tail
        self._book = book
        self._health = health
        self._consumer = consumer
        self._failure = failure
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._pages = 0
        self._snapshot = b""
        self._ticked = asyncio.Event()
        self._document, self._policy = load_document()
        self.routes = [
            Route("/", self._show_page),
            Route("/events", self._show_events),
            Route("/tail", self._show_tail),
        ]

    async def start(self) -> None:
        """Begin to tick."""
        self._task = spawn(self._work(), name="live page", failure=self._failure)

    async def stop(self) -> None:
        """End all streams, so that the HTTP server can stop."""
        self._stopping = True
        await cancel(self._task)
        self._ticked.set()

    async def _work(self) -> None:
        while True:
            now = time.time()
            self._health.note_losses(now)
            if self._pages:
                self._snapshot = await asyncio.to_thread(self._build, now)
            # Who waits for this tick holds the old event; those who come later wait for the next.
            ticked, self._ticked = self._ticked, asyncio.Event()
            ticked.set()
            await asyncio.sleep(_TICK)

    def _build(self, now: float) -> bytes:
        return orjson.dumps(view.snapshot(self._recent, self._book, self._health, self._consumer.progress, now))

    async def _show_page(self, _request: Request) -> Response:
        headers = {
            "Content-Security-Policy": self._policy,
            "Cache-Control": "no-cache",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(self._document, media_type="text/html; charset=utf-8", headers=headers)

    async def _show_events(self, _request: Request) -> Response:
        if self._pages >= _MOST_PAGES:
            return PlainTextResponse("too many open pages; close one\n", 503)
        return StreamingResponse(self._events(), media_type="text/event-stream", headers=_STREAM_HEADERS)

    async def _events(self) -> AsyncIterator[bytes]:
        self._pages += 1
        try:
            now = time.time()
            seconds = self._recent.seconds()
            yield _event("history", orjson.dumps(view.points(seconds)))
            self._snapshot = await asyncio.to_thread(self._build, now)
            yield _event("snapshot", self._snapshot)
            last = seconds[-1].time if seconds else 0
            while not self._stopping:
                await self._ticked.wait()
                new = self._recent.seconds(last + 1)
                if new:
                    last = new[-1].time
                    yield _event("points", orjson.dumps(view.points(new)))
                if not self._stopping:
                    yield _event("snapshot", self._snapshot)
        finally:
            self._pages -= 1

    async def _show_tail(self, request: Request) -> Response:
        text = request.query_params.get("filter", "")
        if len(text) > _FILTER_LENGTH:
            return PlainTextResponse(f"a filter has at most {_FILTER_LENGTH} characters\n", 400)
        if self._tail.full:
            return PlainTextResponse("too many live tails are open; close one\n", 503)
        try:
            reader = self._tail.open(text)
        except ConfigurationError as error:
            # As an event, since a page cannot read the body of a stream that was refused.
            return Response(
                _event("refused", orjson.dumps(str(error))), media_type="text/event-stream", headers=_STREAM_HEADERS
            )
        return StreamingResponse(self._lines(reader), media_type="text/event-stream", headers=_STREAM_HEADERS)

    async def _lines(self, reader: Reader) -> AsyncIterator[bytes]:
        quiet_since = time.monotonic()
        try:
            yield b": open\n\n"
            while not self._stopping:
                lines, matched = reader.take()
                if matched:
                    yield _event("lines", orjson.dumps({"lines": lines, "matched": matched}))
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > _KEEP_ALIVE:
                    yield b": still here\n\n"
                    quiet_since = time.monotonic()
                await asyncio.sleep(_TAIL_TICK)
        finally:
            self._tail.close(reader)


def _event(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


def load_document() -> tuple[bytes, str]:
    """Return the page with style and scripts put in, and the content policy that allows just these."""
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("chart.js", "tables.js", "page.js"))
    document = (_FOLDER / "page.html").read_text(encoding="utf-8")
    document = document.replace("/* style */", style).replace("/* script */", script)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    return document.encode(), policy


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


__all__: Any = ["LivePage", "load_document"]
