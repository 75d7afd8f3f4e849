"""Where the packets of a demo come from: an interface, the user's file, or a sample."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streamgauge.demo import sample
from streamgauge.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LOOPBACK = "lo"
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class DemoSource:
    """What the collector is told, and whether the demo makes the traffic itself."""

    settings: dict[str, str]
    words: str
    #: How to get a better source, if this one is only the best that is allowed.
    advice: str | None = None
    live: bool = False
    makes_traffic: bool = False


def choose(
    *, pcap: Path | None, interface: str | None, loop: bool, scratch: Path, own_ports: Iterable[int]
) -> DemoSource:
    """Return the source that was asked for, or the best that is allowed.

    Raises:
        CaptureFileError: the file cannot be read, or is no capture.
        CaptureError: an interface was asked for that may not, or cannot, be captured.

    """
    if pcap is not None:
        check(pcap)
        return _file(pcap, loop=loop, words=f"replaying {pcap}")
    refusal = _refusal()
    if interface is not None:
        interface = _existing(interface)
    if refusal is None:
        return _live(interface or LOOPBACK, own_ports)
    if interface is not None:
        raise CaptureError(f"interface {interface} cannot be captured: {refusal}")
    path = scratch / "sample.pcap"
    sample.write(path)
    source = _file(path, loop=True, words="replaying a sample capture")
    return replace(
        source,
        settings={**source.settings, "STREAMGAUGE_COLLECTOR_FILE_PACE": "recorded"},
        advice=f"live capture is refused: {refusal}",
    )


def check(pcap: Path) -> None:
    """Look whether a file is a capture, before anything is started for it.

    Raises:
        CaptureFileError: it cannot be read, or is no capture.

    """
    from streamgauge.decode.capture_file import open_capture

    open_capture(pcap).close()


def _file(path: Path, *, loop: bool, words: str) -> DemoSource:
    return DemoSource(
        {
            "STREAMGAUGE_COLLECTOR_SOURCE": "file",
            "STREAMGAUGE_COLLECTOR_FILE": str(path.resolve()),
            "STREAMGAUGE_COLLECTOR_FILE_LOOP": "0" if loop else "1",
        },
        words,
    )


def _existing(interface: str) -> str:
    """Return the names of interfaces that are there: `ip link` shows the peer of some as well, as in ``veth0@if2``."""
    there = [name for _, name in socket.if_nameindex()]
    names = [name if name in there else name.partition("@")[0] for name in interface.split(",")]
    for name in names:
        # A pattern may match later.
        if name not in (*there, "any") and _WILD.isdisjoint(name):
            raise CaptureError(f"no interface {name}; there are: any (all of them), {', '.join(there)}")
    return ",".join(names)


def _live(interface: str, own_ports: Iterable[int]) -> DemoSource:
    settings = {"STREAMGAUGE_COLLECTOR_INTERFACE": interface}
    if interface not in (LOOPBACK, "any"):
        return DemoSource(settings, f"capturing {interface}", live=True)
    # Otherwise each batch that is published would be captured, decoded and published again, for ever.
    own = " or ".join(f"port {port}" for port in sorted(own_ports))
    settings["STREAMGAUGE_COLLECTOR_FILTER"] = f"not (tcp and ({own}))"
    return DemoSource(settings, f"capturing {interface}, without the demo's own ports", live=True, makes_traffic=True)


def _refusal() -> str | None:
    """Return why this process may not capture, None if it may."""
    if not hasattr(socket, "AF_PACKET"):
        return "live capture needs Linux"
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError as error:
        return f"{error.strerror}; {_remedy()}"
    return None


def _remedy() -> str:
    """Return the command that gives this one run the right to capture and no other."""
    if os.geteuid() == 0:
        # A container's root, as a rule.
        return "the capability CAP_NET_RAW is missing, add it (`docker run --cap-add NET_RAW`)"
    right = f"--reuid {os.getuid()} --regid {os.getgid()} --init-groups --inh-caps +net_raw --ambient-caps +net_raw"
    return f"run it as root, or with this right alone: sudo setpriv {right} {shlex.join(sys.argv)}"
