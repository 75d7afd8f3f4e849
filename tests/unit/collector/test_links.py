"""Waiting for interfaces, and what a card's driver says of its timestamps."""

from __future__ import annotations

import ctypes
import errno
import struct
import threading
import time

import pytest

from services.collector.sources import hardware_time
from services.collector.sources.links import LinkWatch


def refuse(*_arguments: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("heard", [True, False])
def test_a_wait_ends_when_woken_or_by_the_clock(monkeypatch: pytest.MonkeyPatch, heard: bool) -> None:
    """Also where the kernel's messages are not to be had."""
    if not heard:
        monkeypatch.setattr("services.collector.sources.links.socket.socket", refuse)
    links = LinkWatch()
    try:
        threading.Timer(0.05, links.wake).start()
        begin = time.monotonic()
        links.wait(30.0)
        woken = time.monotonic()
        links.wait(0.01)
    finally:
        links.close()

    assert 0.04 < woken - begin < 20.0
    assert time.monotonic() - woken < 20.0


OFFERED, SOFTWARE = 1 << 2 | 1 << 6, 1 << 3


@pytest.mark.parametrize(
    ("offered", "received", "words"),
    [
        (OFFERED, 1, None),
        (OFFERED, 0, "they are off; switch them on with: hwstamp_ctl -i eth9 -r 1"),
        (OFFERED, -errno.EOPNOTSUPP, None),
        (OFFERED, -errno.EPERM, "the driver does not tell whether they are on"),
        (SOFTWARE, 1, "the interface has none"),
        (1 << 2, 1, "the interface has none"),
        (None, 1, "the driver does not tell whether it has any"),
    ],
)
def test_what_a_driver_says(
    monkeypatch: pytest.MonkeyPatch, offered: int | None, received: int, words: str | None
) -> None:
    """A card that stamps needs no word; else the line says what is missing. Below 0, ``received`` is an error."""

    def ioctl(_probe: object, request: int, argument: bytes) -> None:
        name, address = struct.unpack("16sP16x", argument)
        assert name.rstrip(b"\0") == b"eth9"
        if request == 0x8946:
            assert ctypes.string_at(address, 4) == struct.pack("I", 0x41)
            if offered is None:
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            ctypes.memmove(address + 4, struct.pack("I", offered), 4)
        elif received < 0:
            raise OSError(-received, "no")
        else:
            ctypes.memmove(address + 8, struct.pack("i", received), 4)

    monkeypatch.setattr(hardware_time.fcntl, "ioctl", ioctl)
    said = hardware_time.lacking("eth9")

    assert said is words is None or (words is not None and said is not None and said.startswith(words))
