"""Live traffic for one of the nodes: a veth pair, into one end of which the feed is sent for ever. Takes root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamgauge.lifecycle import cancel, spawn
from tests.chaos import feed

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The packet sockets of this namespace, and seconds to wait for one.
_SOCKETS: Final = Path("/proc/net/packet")
_WATCHED_TIMEOUT: Final = 60.0
_INTERVAL: Final = 0.02  # seconds between two small bursts
#: Frames sent without a pause; the kernel queues a thousand of them before it drops.
_AT_ONCE: Final = 100


class Wire:
    """Two joined interfaces; whoever captures on ``here`` sees what is sent into the other."""

    def __init__(self, *, rate: int) -> None:
        """``rate`` is in packets a second."""
        tag = f"sgc{os.getpid()}"
        self.here, self._there = f"{tag}a", f"{tag}b"
        self._rate = rate
        self._frames = [feed.frame(number) for number in range(feed.PACKETS)]
        self._sent = 0
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Make the interfaces.

        Raises:
            OSError: there is no ``ip``, or it may not.

        """
        try:
            _ip("link", "add", self.here, "type", "veth", "peer", "name", self._there)
            for name in (self.here, self._there):
                # No link-local address: else the kernel announces itself.
                _ip("link", "set", name, "addrgenmode", "none")
                _ip("link", "set", name, "up")
        except subprocess.CalledProcessError as error:
            raise PermissionError(error.stderr.decode().strip()) from error
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((self._there, 0))

    def start(self) -> None:
        """Begin to send."""
        self._task = spawn(self._run(), name="wire")

    async def pause(self) -> None:
        """Send no more."""
        await cancel(self._task)
        self._task = None

    async def close(self) -> None:
        """Send no more, and remove the interfaces."""
        await self.pause()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            _ip("link", "del", self.here)

    @property
    def undelivered(self) -> int:
        """Frames the kernel lost on the wire itself, before any capture could see them."""
        statistics = Path("/sys/class/net") / self._there / "statistics"
        return int((statistics / "tx_dropped").read_text())

    async def watched(self) -> None:
        """Wait until somebody captures, which a collector that was just started does not yet; not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WATCHED_TIMEOUT):
                while True:
                    if self._is_watched():
                        return
                    await asyncio.sleep(_INTERVAL)

    def _is_watched(self) -> bool:
        index = str(socket.if_nametoindex(self.here))
        # sk RefCnt Type Proto Iface …
        return any(line.split()[4] == index for line in _SOCKETS.read_text().splitlines()[1:])

    async def burst(self, count: int) -> None:
        """Send so many frames as fast as the wire takes them."""
        for first in range(0, count, _AT_ONCE):
            self._send(min(_AT_ONCE, count - first))
            await asyncio.sleep(0)

    async def _run(self) -> None:
        last = time.monotonic()
        owed = 0.0
        while True:
            await asyncio.sleep(_INTERVAL)
            now = time.monotonic()
            owed += (now - last) * self._rate
            last = now
            await self.burst(int(owed))
            owed -= int(owed)

    def _send(self, count: int) -> None:
        assert self._socket is not None
        for frame in self._next(count):
            self._socket.send(frame)

    def _next(self, count: int) -> Iterable[bytes]:
        for _ in range(count):
            yield self._frames[self._sent % feed.PACKETS]
            self._sent += 1


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
