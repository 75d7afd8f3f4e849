"""The traffic the demo makes: real DNS, HTTP, TLS, UDP and ICMP on loopback."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from streamgauge.demo import source
from tests.support import require

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.live

_ETHERNET = 14  # bytes


@pytest.fixture(name="loopback")
def _loopback() -> Iterator[socket.socket]:
    if source._refusal() is not None:
        require.missing("the right to capture")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3)) as capture:
        capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        capture.bind(("lo", 0))
        capture.settimeout(1)
        yield capture


def kind(frame: bytes) -> str | None:
    """Return what a client of the demo sends in this frame; None if it is something else."""
    packet = frame[_ETHERNET:]
    if len(packet) < 40 or packet[0] != 0x45 or packet[12] != 127 or packet[14] != 7:
        return None
    transport = packet[20:]
    if packet[9] == socket.IPPROTO_ICMP:
        return "icmp"
    if packet[9] == socket.IPPROTO_UDP:
        return "dns" if transport[2:4] == b"\0\x35" else "udp"
    payload = transport[4 * (transport[12] >> 4) :]
    return {b"GET ": "http", b"\x16\x03\x01": "tls"}.get(payload[:4] if payload[:1] == b"G" else payload[:3])


def test_every_kind_of_traffic_is_there_and_ends_with_the_process(loopback: socket.socket) -> None:
    """What a newcomer sees in the demo is what the decoder recognises; SIGTERM ends it in order."""
    wanted = {"dns", "http", "tls", "udp", "icmp"}
    seen: set[str | None] = {None}
    making = subprocess.Popen([sys.executable, "-m", "streamgauge.demo.traffic", "--rate", "400"])
    try:
        deadline = time.monotonic() + 40
        while not wanted <= seen and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                seen.add(kind(loopback.recv(65_536)))
        making.send_signal(signal.SIGTERM)

        assert making.wait(10) == 0
    finally:
        making.kill()
        making.wait()

    assert wanted <= seen
