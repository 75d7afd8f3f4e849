"""Keeps who has which address: from the Kubernetes API, a labels file, both or neither; a component of the service."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import aiohttp

from services.exporter.identity_publisher import Publisher
from services.exporter.kubernetes import access
from services.exporter.kubernetes.book import Book
from services.exporter.kubernetes.objects import READERS
from services.exporter.kubernetes.watch import Watch
from streamgauge import bus
from streamgauge.errors import ConfigurationError
from streamgauge.identity import labels
from streamgauge.identity.table import IdentityTable
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from services.exporter.kubernetes.access import Access
    from services.exporter.workloads import Workload, Workloads
    from streamgauge.identity.events import Binding
    from streamgauge.identity.table import Network
    from streamgauge.settings import ExporterSettings, NatsSettings

_log = get("identity")

#: Seconds the start waits for the first lists, so that the first packets have names; then it goes on without.
FIRST_LISTS: Final = 10.0
#: Seconds between two tables, at least; a table that takes long to build is built more seldom.
_BETWEEN_TABLES: Final = 0.5
_SHARE_OF_TIME: Final = 10
#: Seconds between two looks at the labels file.
_LABELS_INTERVAL: Final = 2.0


class Identity:
    """Watches, builds a table after changes, hands it to the workloads, and publishes the changes."""

    def __init__(
        self, nats_bus: bus.Bus, settings: ExporterSettings, nats: NatsSettings, workloads: Workloads, failure: Failure
    ) -> None:
        self._bus = nats_bus
        self._settings = settings
        self._workloads = workloads
        self._failure = failure
        self._sampled = Sampled(_log)
        self._session: aiohttp.ClientSession | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._listed = asyncio.Event()
        self._publishes = False
        self._networks: list[Network] = []
        self._labels_state: tuple[int, ...] = ()
        self._labels_read = 0
        self._built = (-1, -1)
        self._expires: int | None = None
        self.book = Book()
        self.publisher = Publisher(nats_bus, self.book, stream=nats.stream, cluster=settings.cluster)
        self.watches: tuple[Watch, ...] = ()
        #: Whether the labels file as it is now could be read.
        self.labels_good = True

    async def start(self) -> None:
        """Begin to watch, and wait a little for the first lists.

        Raises:
            ConfigurationError: the labels file or the access to Kubernetes cannot be used.

        """
        self._read_labels()
        found = access_to_kubernetes(self._settings)
        if found is not None:
            self._publishes = 0 in self._settings.shards_of(bus.shard_count(await self._bus.ensure_stream()))
            connector = aiohttp.TCPConnector(ssl=found.tls if found.tls is not None else True)
            self._session = aiohttp.ClientSession(connector=connector)
            self.watches = tuple(Watch(resource, found, self._session, self) for resource in READERS)
            self._spawn_watches()
            _log.info("watching kubernetes", server=found.server, publishing=self._publishes)
            try:
                await asyncio.wait_for(self._listed.wait(), FIRST_LISTS)
            except TimeoutError:
                trouble = "; ".join(watch.trouble for watch in self.watches if watch.trouble)
                _log.warning("kubernetes does not answer yet; addresses have no names until it does", error=trouble)
        await self._refresh()
        self._tasks.append(spawn(self._keep_fresh(), name="identity", failure=self._failure))
        if self._publishes:
            self._tasks.append(spawn(self._publish(), name="identity publisher", failure=self._failure))

    async def stop(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            await cancel(task)
        if self._session is not None:
            await self._session.close()

    def listed(self, resource: str, objects: dict[str, list[Binding]]) -> None:
        """See ``Follower``."""
        self._changed(self.book.replace(resource, objects, time.time_ns()))
        if all(watch.lists or watch.resource == resource for watch in self.watches):
            self._listed.set()

    def changed(self, resource: str, uid: str, bindings: list[Binding] | None) -> None:
        """See ``Follower``."""
        now = time.time_ns()
        if bindings is None:
            self._changed(self.book.remove(resource, uid, now))
        else:
            self._changed(self.book.put(resource, uid, bindings, now))

    def _changed(self, bindings: list[Binding]) -> None:
        if bindings:
            self._wake.set()
            # What came before the first snapshot is in it.
            if self._publishes and self._listed.is_set():
                self.publisher.note(bindings)

    def _spawn_watches(self) -> None:
        for watch in self.watches:
            self._tasks.append(spawn(watch.run(), name=f"watch {watch.resource}", failure=self._failure))

    async def _publish(self) -> None:
        await self._listed.wait()
        await self.publisher.run()

    async def _keep_fresh(self) -> None:
        pause = _BETWEEN_TABLES
        while True:
            await asyncio.sleep(pause)
            try:
                await asyncio.wait_for(self._wake.wait(), _LABELS_INTERVAL)
            except TimeoutError:
                self._look_at_labels()
            self._wake.clear()
            began = time.monotonic()
            await self._refresh()
            pause = max(_BETWEEN_TABLES, _SHARE_OF_TIME * (time.monotonic() - began))

    async def _refresh(self) -> None:
        """Build a new table if anything has changed, or a workload has been gone for long enough."""
        now = time.time_ns()
        state = (self.book.generation, self._labels_read)
        if state == self._built and (self._expires is None or now < self._expires):
            return
        self._built = state
        known, living = self.book.known(now), self.book.workloads(now)
        self._expires = self.book.next_death(now)
        named = {(owner.namespace, owner.workload, owner.workload_kind) for _, owner in self._networks}
        await asyncio.to_thread(self._use, known, frozenset(living | named))

    def _use(self, known: list[Binding], living: frozenset[Workload]) -> None:
        self._workloads.use(IdentityTable(known, self._networks), living)

    def _look_at_labels(self) -> None:
        try:
            self._read_labels()
        except ConfigurationError as error:
            self.labels_good = False
            self._sampled.warning("labels file refused; the former names stay", error=str(error))

    def _read_labels(self) -> None:
        path = self._settings.labels
        if path is None:
            return
        try:
            stat = path.stat()
        except OSError as error:
            self._labels_state = ()
            raise ConfigurationError(f"STREAMGAUGE_EXPORTER_LABELS={path}: {error.strerror}") from error
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if state == self._labels_state:
            return
        self._labels_state = state
        self._networks = labels.read(path)
        self._labels_read += 1
        self.labels_good = True
        _log.info("labels read", path=str(path), networks=len(self._networks))


def access_to_kubernetes(settings: ExporterSettings) -> Access | None:
    """Return how the API is reached; None if it is not asked.

    Raises:
        ConfigurationError: it is to be asked, and what that takes is missing.

    """
    if settings.identity == "none":
        return None
    if settings.kubeconfig is not None:
        return access.from_kubeconfig(settings.kubeconfig)
    if settings.identity == "kubernetes" or access.is_in_cluster():
        return access.in_cluster()
    return None


def check(settings: ExporterSettings) -> None:
    """Refuse settings that cannot be used.

    Raises:
        ConfigurationError: the labels file or the access to Kubernetes cannot be used.

    """
    access_to_kubernetes(settings)
    if settings.labels is not None:
        labels.read(settings.labels)
