"""Publishes which address is whose: each change as it becomes known, and all that holds at the start and every hour.

What waits for NATS is one binding a key, its newest state, so it is bounded by what there is. Where too much waits
(NATS is away and pods come and go), it is given up, and the next snapshot tells what holds instead.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError

from streamgauge import subjects
from streamgauge.errors import BusError
from streamgauge.identity import events
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.exporter.kubernetes.book import Book
    from streamgauge.bus import Bus
    from streamgauge.identity.events import Binding, Event

_log = get("identity")

#: Seconds between two snapshots; who reads the events of an hour finds one in the hour before.
SNAPSHOT_INTERVAL: Final = 3600.0
#: Seconds in which changes are gathered into one message, and between two attempts.
_GATHER: Final = 0.5
_RETRY: Final = 1.0
#: Bindings that may wait.
MOST_WAITING: Final = 50_000


class Publisher:
    """Fed in the event loop's thread; ``run`` ends when it is cancelled."""

    def __init__(self, bus: Bus, book: Book, *, stream: str, cluster: str) -> None:
        self._bus = bus
        self._book = book
        self._stream = stream
        self._cluster = cluster
        self._start = secrets.token_hex(8)
        self._sequence = 0
        self._waiting: dict[tuple[str, str], Binding] = {}
        self._wake = asyncio.Event()
        self._next_snapshot = 0.0
        self._sampled = Sampled(_log)
        #: Messages that JetStream took; bindings that were given up.
        self.published = 0
        self.given_up = 0

    @property
    def waiting(self) -> int:
        """Bindings that are not published yet."""
        return len(self._waiting)

    def note(self, changed: Iterable[Binding]) -> None:
        """Publish these as soon as possible."""
        for binding in changed:
            self._waiting.pop(binding.key, None)
            self._waiting[binding.key] = binding
        if len(self._waiting) > MOST_WAITING:
            self.given_up += len(self._waiting)
            self._waiting.clear()
            self._next_snapshot = 0.0
        if self._waiting:
            self._wake.set()

    async def run(self) -> None:
        """Publish for ever, beginning with a snapshot."""
        while True:
            now = time.monotonic()
            if now >= self._next_snapshot:
                await self._publish_snapshot()
                self._next_snapshot = time.monotonic() + SNAPSHOT_INTERVAL
                continue
            try:
                await asyncio.wait_for(self._wake.wait(), self._next_snapshot - now)
            except TimeoutError:
                continue
            await asyncio.sleep(_GATHER)
            self._wake.clear()
            changed, self._waiting = list(self._waiting.values()), {}
            for event in events.changes(self._cluster, time.time_ns(), changed):
                await self._publish(event)

    async def _publish_snapshot(self) -> None:
        ended = [binding for binding in self._waiting.values() if binding.valid_to is not None]
        self._waiting = {}
        now = time.time_ns()
        for event in (*events.changes(self._cluster, now, ended), *self._snapshot(now)):
            await self._publish(event)

    def _snapshot(self, now: int) -> Iterable[Event]:
        living = self._book.living()
        _log.info("publishing a snapshot", bindings=len(living))
        return events.snapshot(self._cluster, now, living)

    async def _publish(self, event: Event) -> None:
        """Publish until JetStream has taken it; the identity makes a repetition harmless."""
        self._sequence += 1
        headers = {"Nats-Msg-Id": f"identity/{self._start}/{self._sequence}", "Content-Type": "application/json"}
        payload = event.encode()
        while True:
            try:
                await self._bus.jetstream.publish(
                    subjects.identity(self._cluster), payload, stream=self._stream, headers=headers
                )
            except (NatsError, BusError, TimeoutError, OSError) as error:
                self._sampled.warning("cannot publish identities", error=str(error) or type(error).__name__)
                await asyncio.sleep(_RETRY)
            else:
                self.published += 1
                return
