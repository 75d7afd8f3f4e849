"""The collector's way to NATS: comes up when the server does, and is kept up.

A collector starts with its node, often before NATS. It captures at once and waits for the server; only a wrong
configuration stops it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from streamgauge.errors import BusError
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from streamgauge.bus import Bus

_log = get("link")

#: Seconds between attempts to connect or to find the stream, and between looks at whether the connection lives.
RETRY_INTERVAL: Final = 1.0


class Link:
    """Keeps one ``Bus`` connected and its stream there; ``trouble`` says in words why it is not."""

    def __init__(self, bus: Bus, failure: Failure) -> None:
        self._bus = bus
        self._failure = failure
        self._task: asyncio.Task[None] | None = None
        self._sampled = Sampled(_log)
        self._stream_known = asyncio.Event()
        self._refusal: str | None = "NATS was not reached yet"

    @property
    def trouble(self) -> str | None:
        """Why nothing can be published now, in words; None if it can."""
        if self._refusal is None and not self._bus.connected:
            return "NATS is away; reconnecting"
        return self._refusal

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        self._task = spawn(self._keep(), name="link", failure=self._failure)

    async def stop(self) -> None:
        """Close the connection."""
        await cancel(self._task)
        await self._bus.stop()

    async def wait(self) -> None:
        """Wait until the server and the stream are there."""
        while not (self._bus.up.is_set() and self._stream_known.is_set()):
            await self._bus.up.wait()
            await self._stream_known.wait()

    def look_for_stream(self) -> None:
        """Look up the stream anew: a message found none."""
        self._stream_known.clear()

    async def _keep(self) -> None:
        while True:
            try:
                if self._bus.closed:
                    self._stream_known.clear()
                    await self._bus.start()
                if not self._stream_known.is_set() and self._bus.connected:
                    info = await self._bus.ensure_stream()
                    _log.info("stream found", stream=info.config.name)
                    self._stream_known.set()
                self._refusal = None
            except BusError as error:
                self._refusal = str(error)
                self._sampled.warning("waiting for nats", error=str(error))
            await asyncio.sleep(RETRY_INTERVAL)
