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
_SILENCE: Final = 6  # samples without any packet after which a word is said about the interface
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
    #: Go on when the file is read, so that it can be asked about; None: at a terminal, unless a duration is given.
    stay: bool | None = None
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
        # The collector ends with its file.
        reads_once = options.pcap is not None and not options.loop
        lasting = [name for name in self._stand.services if name != "collector" or not reads_once]
        self._view: View = view.make(
            [
                ("live page", self._stand.live_page),
                *((f"{name}", service.url) for name, service in self._stand.services.items()),
                ("nats", self._stand.nats.url),
                ("settings", str(self._stand.write_settings(lasting=lasting))),
            ]
        )
        self._stopping = asyncio.Event()
        self._live = False
        #: Samples without any packet.
        self._silent = 0
        #: When to stop, by the clock of the event loop; None: when told to.
        self._end: float | None = None
        #: Whether the end of the file is not yet the end of the demo.
        self._stays = options.stay
        if self._stays is None:
            self._stays = sys.stdout.isatty() and options.duration is None

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
        if chosen.advice is not None:
            self._view.say(chosen.advice)
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
        if self._options.duration is not None:
            self._end = asyncio.get_running_loop().time() + self._options.duration
        with self._view.running():
            while stand.services["collector"].running and not await self._told_to_stop(watch):
                pass
            if self._stays and stand.services["collector"].exit_code == 0 and not self._stopping.is_set():
                await self._stay(watch, bus, stream)
        await stand.stop_traffic()
        trouble = stand.failed("collector")
        if trouble is None:
            if stand.services["collector"].running:
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

    async def _stay(self, watch: Watch, bus: Bus, stream: str) -> None:
        """Go on showing what a file brought, for whoever asks about it."""
        self._view.say("the file is read; everything stays up for questions until Ctrl-C")
        watch.close_account(await audit.last_record(bus, stream, NODE))
        while not await self._told_to_stop(watch):
            pass

    async def _told_to_stop(self, watch: Watch) -> bool:
        """Show the numbers of this moment, and return within a second whether that was the last one."""
        figures = await watch.sample()
        self._view.show(figures)
        self._complain_about_the_dead()
        if self._live and not figures.captured:
            self._silent += 1
            if self._silent == _SILENCE:
                self._view.say("no packet yet; `ip -s link` shows which interfaces have traffic, `any` takes all")
        rest = _SAMPLE_INTERVAL
        if self._end is not None:
            rest = min(rest, max(self._end - asyncio.get_running_loop().time(), 0.0))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), rest)
        return self._stopping.is_set() or (self._end is not None and asyncio.get_running_loop().time() >= self._end)

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
