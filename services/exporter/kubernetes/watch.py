"""Follows one resource of the Kubernetes API: a list, then a watch from there, again when the watch is too old.

    GET /api/v1/pods?limit=500                                   pages; each names where the next begins
    GET /api/v1/pods?watch=true&resourceVersion=…                one JSON object a line, for minutes

A watch that ends or breaks goes on behind the last version seen. ``410 Gone``, as a status or as an ``ERROR`` event,
means that the server no longer knows that version: then everything is listed anew, and what is missing is gone.
Bookmarks keep the version young where nothing happens.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
import orjson

from services.exporter.kubernetes.objects import READERS
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from services.exporter.kubernetes.access import Access
    from services.exporter.kubernetes.objects import Object
    from streamgauge.identity.events import Binding

_log = get("kubernetes")

#: Objects on a page of a list.
PAGE: Final = 500
#: Seconds a watch is asked to last, at least; up to twice that, so that watches do not end together.
_WATCH_SECONDS: Final = 300
#: Seconds without a byte after which a connection counts as dead; bookmarks come about once a minute.
_SILENCE: Final = 150.0
_CONNECT: Final = 10.0
#: Seconds to wait after a failure: the first time, and at the most.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
#: Longest line: etcd takes objects of 1.5 MiB.
_LONGEST_LINE: Final = 16 << 20
_GONE: Final = 410
#: How often a list may expire between two pages until it is asked for in one piece.
_EXPIRIES: Final = 3


#: Seconds after which an attempt that ends counts as one that worked.
_LASTED: Final = 5.0


class Follower(Protocol):
    """Who is told."""

    def listed(self, resource: str, objects: dict[str, list[Binding]]) -> None:
        """Take the bindings of all objects there are now, by uid; others are gone."""

    def changed(self, resource: str, uid: str, bindings: list[Binding] | None) -> None:
        """Take the bindings of one object; None: it is gone."""


class GoneError(Exception):
    """The server no longer knows the version asked for."""


class RefusedError(Exception):
    """The server answers, with an error."""

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Watch:
    """Follows one resource; ``run`` ends when it is cancelled."""

    def __init__(self, resource: str, access: Access, session: aiohttp.ClientSession, follower: Follower) -> None:
        self.resource = resource
        self._access = access
        self._session = session
        self._follower = follower
        self._read_object = READERS[resource]
        self._sampled = Sampled(_log)
        self._version = ""
        self._pause = _FIRST_PAUSE
        #: Whether a list was read and a watch is up, or was up to a moment ago.
        self.connected = False
        #: Lists read, events taken.
        self.lists = 0
        self.events = 0
        #: Objects that are not as they should be.
        self.refused = 0
        #: Why it is not connected, in words.
        self.trouble = "starting"

    async def run(self) -> None:
        """List and watch for ever."""
        while True:
            began, least = time.monotonic(), 0.0
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except GoneError:
                self._version = ""
            except RefusedError as error:
                self._fail(error)
                least = max(error.retry_after, _FIRST_PAUSE)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._fail(error)
                least = _FIRST_PAUSE
            except (KeyError, TypeError, ValueError) as error:
                # What cannot be read may have been an event.
                self._version = ""
                self._fail(error)
                least = _FIRST_PAUSE
            await asyncio.sleep(max(least, self._next_pause(time.monotonic() - began)))

    def _fail(self, error: Exception) -> None:
        self.connected = False
        self.trouble = str(error) or type(error).__name__
        self._sampled.warning("cannot watch", resource=self.resource, error=self.trouble)

    def _next_pause(self, lasted: float) -> float:
        """Return how long to wait after an attempt: none after one that lasted, ever longer after short ones."""
        if lasted >= _LASTED:
            self._pause = _FIRST_PAUSE
            return 0.0
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return pause * random.uniform(0.75, 1.25)  # noqa: S311

    async def _list(self) -> None:
        objects: dict[str, list[Binding]] = {}
        query = {"limit": str(PAGE)}
        expired = 0
        while True:
            try:
                page = await self._read(query)
            except GoneError:
                if "continue" not in query:
                    raise
                # The list took longer than the server keeps old versions.
                expired += 1
                objects, query = {}, {"limit": str(PAGE)} if expired < _EXPIRIES else {}
                continue
            for thing in page.get("items") or ():
                objects[thing["metadata"]["uid"]] = self._bindings(thing)
            metadata = page["metadata"]
            if not metadata.get("continue"):
                break
            query = {"limit": str(PAGE), "continue": metadata["continue"]}
        self._follower.listed(self.resource, objects)
        self._version = metadata["resourceVersion"]
        self.lists += 1
        _log.info("listed", resource=self.resource, objects=len(objects), version=self._version)

    async def _read(self, query: Mapping[str, str]) -> Any:
        async with self._session.get(
            self._url, params=query, headers=await self._headers(), timeout=_timeout(60.0)
        ) as answer:
            await _check(answer)
            return orjson.loads(await answer.read())

    async def _watch(self) -> None:
        seconds = random.randint(_WATCH_SECONDS, 2 * _WATCH_SECONDS)  # noqa: S311
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(seconds),
        }
        async with self._session.get(
            self._url, params=query, headers=await self._headers(), timeout=_timeout(_SILENCE)
        ) as answer:
            await _check(answer)
            self.connected, self.trouble = True, ""
            async for line in _lines(answer.content):
                self._take(orjson.loads(line))

    def _take(self, event: Any) -> None:
        change, thing = event["type"], event["object"]
        if change == "ERROR":
            if thing.get("code") == _GONE or thing.get("reason") in ("Expired", "Gone"):
                raise GoneError
            # What went wrong on the server's side may have cost events: begin anew.
            self._version = ""
            raise RefusedError(int(thing.get("code") or 500), str(thing.get("message") or "the watch failed"))
        if change != "BOOKMARK":
            self.events += 1
            gone = change == "DELETED"
            self._follower.changed(self.resource, thing["metadata"]["uid"], None if gone else self._bindings(thing))
        self._version = thing["metadata"]["resourceVersion"]

    def _bindings(self, thing: Object) -> list[Binding]:
        try:
            return self._read_object(thing)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.refused += 1
            self._sampled.warning("object refused", resource=self.resource, error=repr(error))
            return []

    @property
    def _url(self) -> str:
        return f"{self._access.server}/api/v1/{self.resource}"

    async def _headers(self) -> dict[str, str]:
        token = await asyncio.to_thread(self._access.token)
        return {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}


def _timeout(silence: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=silence)


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status == _GONE:
        raise GoneError
    if answer.status >= 400:
        text = (await answer.read())[:4096]
        try:
            message = str(orjson.loads(text)["message"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            message = text.decode(errors="replace").strip() or answer.reason or ""
        after = answer.headers.get("Retry-After", "")
        raise RefusedError(answer.status, f"{answer.status}: {message}", float(after) if after.isdecimal() else 0.0)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield whole lines; what stands behind the last one when the connection ends is left out."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
        if len(rest) > _LONGEST_LINE:
            raise ValueError(f"a line of more than {_LONGEST_LINE} bytes")
