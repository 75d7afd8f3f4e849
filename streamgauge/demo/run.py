"""One demo from start to end: start, show, stop in the order of the packets' way, audit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamgauge import settings
from streamgauge.bus import Bus
from streamgauge.demo import audit, source, view
from streamgauge.demo.figures import Watch
from streamgauge.demo.services import require_services
from streamgauge.demo.stand import NODE, Stand
from streamgauge.errors import StreamgaugeError
from streamgauge.settings import NatsSettings, S3Settings
from streamgauge.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from streamgauge.demo.audit import Audit
    from streamgauge.demo.figures import Figures
    from streamgauge.demo.view import View

_SAMPLE_INTERVAL: Final = 1.0  # seconds
_TELL_AFTER: Final = 10.0  # seconds between two words about a start that takes long
#: Seconds without any progress after which the end does not wait for the rest.
_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    pcap: Path | None = None
    interface: str | None = None
    loop: bool = False
    duration: float | None = None
    rate: float = 1000.0
    keep: bool = False
    #: Open the live page in a browser; None: on a desktop, at a terminal.
    open_page: bool | None = None


class Demo:
    """One run; ``run`` returns whether all stages agree."""

    def __init__(self, options: Options) -> None:
        require_services()
        if options.pcap is not None:
            source.check(options.pcap)
        self._options = options
        self._scratch = Path(tempfile.mkdtemp(prefix="streamgauge-demo-"))
        self._stand = Stand(self._scratch, keep=options.keep)
        self._view: View = view.make(
            [
                ("live page", self._stand.live_page),
                *((f"{name}", service.url) for name, service in self._stand.services.items()),
                ("nats", self._stand.nats.url),
                ("settings", str(self._stand.write_settings())),
            ]
        )
        self._stopping = asyncio.Event()
        self._live = False

    async def run(self) -> bool:
        """Run until the time is over, the file is read, or the user ends it; then take the audit.

        Raises:
            StreamgaugeError: something could not be started, or ended by itself.

        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupted)
        try:
            loaded = await self._start()
            bus = Bus(loaded.section(NatsSettings), "demo")
            store = Store(loaded.section(S3Settings))
            async with _running(bus, store):
                return await self._watch_and_stop(bus, store, loaded.section(NatsSettings).stream)
        finally:
            await self._stand.close()
            if self._options.keep:
                self._view.say(f"kept: {self._scratch}")

    def _interrupted(self) -> None:
        if self._stopping.is_set():
            # Asked twice: do not wait for anything more.
            raise KeyboardInterrupt
        self._stopping.set()

    async def _start(self) -> settings.Settings:
        options, stand = self._options, self._stand
        chosen = source.choose(
            pcap=options.pcap,
            interface=options.interface,
            loop=options.loop,
            scratch=self._scratch,
            own_ports=stand.own_ports,
        )
        self._live = chosen.live
        self._view.say(f"{chosen.words}; starting NATS, S3 storage, collector, backup and exporter")
        await self._unless_interrupted(self._started(chosen.settings))
        if chosen.makes_traffic and options.rate > 0:
            stand.start_traffic(options.rate)
            self._view.say(
                f"everything runs; making DNS, HTTP, TLS, UDP and ICMP traffic, {options.rate:.0f} packets/s"
            )
        else:
            self._view.say("everything runs")
        await self._open_page()
        return settings.load(("nats", "s3"), {**stand.bus, **stand.storage})

    async def _open_page(self) -> None:
        wanted = self._options.open_page
        if wanted is None:
            wanted = sys.stdout.isatty() and bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
        if wanted and not await asyncio.to_thread(webbrowser.open, self._stand.live_page):
            self._view.say(f"no browser could be opened; open {self._stand.live_page} yourself")

    async def _started(self, collector: dict[str, str]) -> None:
        """Start everything, and say what it waits for when that takes long."""
        starting = asyncio.ensure_future(self._stand.start(collector))
        try:
            while not (await asyncio.wait({starting}, timeout=_TELL_AFTER))[0]:
                waiting = [name for name, service in self._stand.services.items() if not service.is_ready]
                self._view.say(f"waiting for {', '.join(waiting)}; the first start on a machine compiles the kernels")
            await starting
        finally:
            starting.cancel()

    async def _unless_interrupted(self, work: Coroutine[None, None, None]) -> None:
        starting = asyncio.ensure_future(work)
        told = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not starting.done():
            starting.cancel()
            raise StreamgaugeError("ended before everything had started")
        await starting

    async def _watch_and_stop(self, bus: Bus, store: Store, stream: str) -> bool:
        stand = self._stand
        watch = Watch(bus, stand.services, live=self._live)
        await watch.start()
        with self._view.running():
            await self._watch(watch)
        await stand.stop_traffic()
        trouble = stand.failed("collector")
        if trouble is None:
            self._view.say("stopping: the collector publishes what it has")
            await stand.stop("collector")
        else:
            # What it published before is still worth an audit: a file may be damaged at its end only.
            self._view.say(trouble)
        ledger = await audit.last_record(bus, stream, NODE)
        self._view.say(f"waiting until {ledger.published:,} packets are stored and counted")
        await self._caught_up(watch, ledger.published)
        pages = {name: await stand.services[name].page() for name in ("backup", "exporter")}
        for name in ("backup", "exporter"):
            await stand.stop(name)
        result: Audit = await audit.take(bus, store, stream=stream, node=NODE, **pages)
        self._view.finish(result)
        if trouble is not None:
            raise StreamgaugeError(trouble)
        return result.balanced

    async def _watch(self, watch: Watch) -> None:
        """Show the numbers until it is time to stop."""
        loop = asyncio.get_running_loop()
        end = None if self._options.duration is None else loop.time() + self._options.duration
        while self._stand.services["collector"].running and (end is None or loop.time() < end):
            self._view.show(await watch.sample())
            self._complain_about_the_dead()
            with contextlib.suppress(TimeoutError):
                rest = _SAMPLE_INTERVAL if end is None else min(_SAMPLE_INTERVAL, max(end - loop.time(), 0.0))
                await asyncio.wait_for(self._stopping.wait(), rest)
                return

    def _complain_about_the_dead(self) -> None:
        trouble = self._stand.failed("backup") or self._stand.failed("exporter")
        if trouble is not None:
            raise StreamgaugeError(trouble)

    async def _caught_up(self, watch: Watch, published: int) -> None:
        """Wait until backup and exporter have everything, as long as they get on."""
        loop = asyncio.get_running_loop()
        before: tuple[int, int] | None = None
        deadline = loop.time() + _PATIENCE
        while loop.time() < deadline:
            figures: Figures = await watch.sample()
            reached = (figures.stored, figures.counted)
            if min(reached) >= published:
                return
            if reached != before:
                before, deadline = reached, loop.time() + _PATIENCE
            await asyncio.sleep(0.1)


async def run(options: Options) -> bool:
    """Run a demo and return whether all stages agree.

    Raises:
        StreamgaugeError: something could not be started, or ended by itself.

    """
    return await Demo(options).run()


@contextlib.asynccontextmanager
async def _running(bus: Bus, store: Store) -> AsyncIterator[None]:
    try:
        await bus.start()
        store.open()
        yield
    finally:
        await store.stop()
        await bus.stop()
