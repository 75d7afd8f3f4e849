"""The page every service has: /metrics, /livez, /readyz, served by uvicorn inside the service's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from streamgauge.errors import ConfigurationError
from streamgauge.lifecycle import Failure, spawn
from streamgauge.logs import get

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from streamgauge.metrics import Metrics
    from streamgauge.settings import HttpSettings

_log = get("http")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the service's lifecycle owns them."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


class HttpServer:
    """Serves metrics and probes; one per service, started last and stopped first.

    ``ready`` answers /readyz: None when ready, else the reason in words.
    """

    def __init__(
        self,
        settings: HttpSettings,
        metrics: Metrics,
        failure: Failure,
        *,
        ready: Callable[[], str | None],
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._failure = failure
        self._ready = ready
        self._routes = routes
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        #: The port in use, once started.
        self.port = settings.port

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            ConfigurationError: the address or port cannot be used.

        """
        listener = self._bind()
        self.port = listener.getsockname()[1]
        app = Starlette(
            routes=[
                Route("/metrics", self._show_metrics),
                Route("/livez", self._show_live),
                Route("/readyz", self._show_ready),
                *self._routes,
            ],
            middleware=[Middleware(GZipMiddleware, minimum_size=4096)],
        )
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, lifespan="off")
        self._server = _Server(config)
        self._task = spawn(self._server.serve(sockets=[listener]), name="http", failure=self._failure)
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 uvicorn has a flag, no event
            await asyncio.sleep(0.005)
        _log.info("listening", address=f"http://{self._settings.host}:{self.port}/metrics")

    async def stop(self) -> None:
        """Stop serving."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    def _bind(self) -> socket.socket:
        host, port = self._settings.host, self._settings.port
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise ConfigurationError(
                f"cannot listen on {host}:{port}: {error.strerror}; free the port or set another (…_HOST, …_PORT)"
            ) from error
        return listener

    async def _show_metrics(self, _request: Request) -> Response:
        page = await asyncio.to_thread(self._metrics.render)
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _show_live(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _show_ready(self, _request: Request) -> Response:
        reason = self._ready()
        return PlainTextResponse("ok\n" if reason is None else f"{reason}\n", 200 if reason is None else 503)
