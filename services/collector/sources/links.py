"""Waiting for interfaces to come and go: the kernel says so at once (rtnetlink), which needs no capability."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import Final

# linux/netlink.h, linux/rtnetlink.h
_NETLINK_ROUTE: Final = 0
_GROUP_LINK: Final = 1
_MESSAGE_BYTES: Final = 1 << 16


class LinkWatch:
    """Wakes one waiting thread when an interface changed; open from construction to ``close``."""

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._messages = _subscribe()
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        if self._messages is not None:
            self._poll.register(self._messages, select.POLLIN)

    def wait(self, seconds: float) -> None:
        """Return when an interface may have come, gone or changed, when woken, or after some seconds."""
        self._poll.poll(seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        # What the messages say does not matter, nor that some were lost (ENOBUFS): the caller looks for itself.
        with contextlib.suppress(OSError):
            while self._messages is not None:
                self._messages.recv(_MESSAGE_BYTES)

    def wake(self) -> None:
        """End the wait; any thread may call it."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Release everything; nobody waits or wakes any more."""
        os.close(self._wake)
        if self._messages is not None:
            self._messages.close()


def _subscribe() -> socket.socket | None:
    """Return a socket that gets the kernel's messages; None where they are not to be had: then the clock has to do."""
    try:
        messages = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_ROUTE)
    except OSError:
        return None
    try:
        messages.bind((0, _GROUP_LINK))
    except OSError:
        messages.close()
        return None
    return messages
