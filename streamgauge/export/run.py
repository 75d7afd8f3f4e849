"""Takes batches from NATS and sends their flows to a collector, at a pace that it can follow."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from streamgauge.errors import ConfigurationError, StreamgaugeError
from streamgauge.export.flows import End, Flow, Flows
from streamgauge.export.ipfix import Exporter, domain_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamgauge.consumer import Batch, Subscription

#: Seconds between two looks for nodes that send no more.
_TICK: Final = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """When flows end, and how they are sent. Times in seconds."""

    active: float = 60.0
    inactive: float = 15.0
    template_interval: float = 60.0
    #: Open flows of one observation domain.
    limit: int = 500_000
    #: Messages a second at the most, 20 flows each: UDP has no way to say that it is too much.
    rate: float = 2000.0


@dataclass(slots=True)
class Progress:
    """What was done so far."""

    batches: int = 0
    packets: int = 0
    flows: int = 0
    messages: int = 0
    #: Packets that are in no flow: not IP.
    not_ip: int = 0


@dataclass(slots=True)
class _Domain:
    flows: Flows
    exporter: Exporter
    heard_at: float = field(default_factory=time.monotonic)


class Export:
    """One run: from a subscription to a UDP address."""

    def __init__(self, host: str, port: int, options: Options, *, told: Callable[[str], None]) -> None:
        """Take where it goes; ``told`` is given a line for each gap in what is exported.

        Raises:
            ConfigurationError: the host is unknown.

        """
        self._options = options
        self._told = told
        self._shown = f"{host}:{port}"
        self._domains: dict[tuple[str, str], _Domain] = {}
        self._next_send = 0.0
        # Messages of a domain are numbered: one after the other, whoever sends.
        self._sending = asyncio.Lock()
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise ConfigurationError(f"--to: the host {host} is unknown: {error.strerror}") from error
        self._socket = socket.socket(family, kind)
        self._address = address
        self.progress = Progress()

    async def run(self, subscription: Subscription) -> Progress:
        """Export until the subscription ends, or the task is cancelled; open flows are sent at the end.

        Raises:
            StreamgaugeError: NATS refuses, or the address cannot be sent to.

        """
        ticking = asyncio.ensure_future(self._tick())
        try:
            async for batch in subscription:
                for gap in batch.gaps:
                    self._told(f"missed, and in no flow: {gap}")
                await self._take(batch)
                if ticking.done():
                    ticking.result()
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            await self._end()
        return self.progress

    async def _take(self, batch: Batch) -> None:
        domain = self._domain(batch)
        domain.heard_at = time.monotonic()
        before = domain.flows.not_ip
        await self._send(domain, list(domain.flows.take(batch)))
        self.progress.batches += 1
        self.progress.packets += batch.packets
        self.progress.not_ip += domain.flows.not_ip - before

    def _domain(self, batch: Batch) -> _Domain:
        key = (batch.node, batch.interface)
        domain = self._domains.get(key)
        if domain is None:
            options = self._options
            domain = self._domains[key] = _Domain(
                Flows(active=options.active, inactive=options.inactive, limit=options.limit),
                Exporter(domain_of(*key), template_interval=options.template_interval),
            )
        return domain

    async def _tick(self) -> None:
        """End the flows of nodes from which nothing comes: their clock stands still."""
        while True:
            await asyncio.sleep(_TICK)
            for domain in list(self._domains.values()):
                if len(domain.flows) and time.monotonic() - domain.heard_at >= self._options.inactive:
                    await self._send(domain, list(domain.flows.flush(End.IDLE)))

    async def _end(self) -> None:
        try:
            for domain in self._domains.values():
                await self._send(domain, list(domain.flows.flush(End.FORCED)))
        finally:
            self._socket.close()

    async def _send(self, domain: _Domain, ended: Iterable[tuple[Flow, End]]) -> None:
        flows = list(ended)
        async with self._sending:
            await self._send_messages(domain, flows)
        self.progress.flows += len(flows)

    async def _send_messages(self, domain: _Domain, flows: list[tuple[Flow, End]]) -> None:
        for message in domain.exporter.messages(flows, time.time()):
            await self._pace()
            try:
                self._socket.sendto(message, self._address)
            except ConnectionRefusedError:
                # An earlier message came back: nobody listens there now. It may listen later.
                self._told(f"nobody listens on {self._shown}")
            except OSError as error:
                raise StreamgaugeError(f"cannot send to {self._shown}: {error.strerror}") from error
            self.progress.messages += 1

    async def _pace(self) -> None:
        now = time.monotonic()
        self._next_send = max(self._next_send, now - 0.01) + 1 / self._options.rate
        if self._next_send > now:
            await asyncio.sleep(self._next_send - now)
