"""The first hop, seen from the machine that captures: permission, interface, and whether anything is on the wire.

Counters of the interface are read and no packet is: anybody may read them, and they tell "nothing on the wire" from
"we do not get it".
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import fnmatch
import socket
import struct
from pathlib import Path
from typing import Final

from streamgauge.doctor.words import Finding, broken, count, ok, some, unchecked

HOP: Final = "capture"
_COUNTERS: Final = Path("/proc/net/dev")
#: Seconds to listen for traffic.
LISTEN: Final = 3.0
_ANY: Final = "any"
_SIOCGIFFLAGS: Final = 0x8913
_IFF_UP: Final = 1

_PERMISSION: Final = (
    "run it as root, or give the capability: `docker run --cap-add NET_RAW`, Kubernetes: "
    "`securityContext.capabilities.add: [NET_RAW]`"
)


async def look(wanted: str, seconds: float = LISTEN) -> Finding:
    """Judge the interfaces of this machine that a collector would capture (``any``, or names and patterns)."""
    if not hasattr(socket, "AF_PACKET"):
        return unchecked(HOP, "this machine is no Linux: it cannot capture")
    before = counters()
    names = matching(wanted, before)
    if not names:
        there = ", ".join(before) or "none at all"
        return broken(
            HOP, f"no interface {wanted}; there are: {there}", "correct STREAMGAUGE_COLLECTOR_INTERFACE, or `any`"
        )
    refusal = permission()
    if refusal is not None:
        return broken(HOP, f"no permission to capture packets on {wanted}: {refusal}", _PERMISSION)
    await asyncio.sleep(seconds)
    after = counters()
    seen = sum(after.get(name, 0) - before[name] for name in names)
    which = "all interfaces" if wanted == _ANY else some(names)
    if seen <= 0:
        down = [name for name in names if not _is_up(name)]
        why = f"; {some(down)} is down: `ip link set {down[0]} up`" if down else "; is it the right interface?"
        return broken(
            HOP,
            f"nothing on the wire: 0 packets on {which} in {seconds:g} s{why}",
            f"`ip -s link show {names[0]}` counts packets; name the interface that does in "
            "STREAMGAUGE_COLLECTOR_INTERFACE",
        )
    return ok(HOP, f"permission is there, {count(seen, 'packet')} on {which} in {seconds:g} s")


def counters() -> dict[str, int]:
    """Return the packets received and sent so far, by interface."""
    found = {}
    for line in _COUNTERS.read_text().splitlines()[2:]:
        name, _, values = line.partition(":")
        fields = values.split()
        found[name.strip()] = int(fields[1]) + int(fields[9])
    return found


def matching(wanted: str, there: dict[str, int]) -> list[str]:
    """Return the interfaces that a setting such as ``any`` or ``eth0,veth*`` stands for."""
    patterns = [pattern.strip() for pattern in wanted.split(",")]
    if _ANY in patterns:
        return list(there)
    return [name for name in there if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def permission() -> str | None:
    """Return why this process may not capture, None if it may."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return "the capability CAP_NET_RAW is missing"
        return error.strerror or str(error)
    return None


def _is_up(name: str) -> bool:
    """Tell whether an interface is set up; loopback has no other state."""
    request = struct.pack("16s24x", name.encode())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            (flags,) = struct.unpack_from("H", fcntl.ioctl(probe, _SIOCGIFFLAGS, request), 16)
    except OSError:
        return True
    return bool(flags & _IFF_UP)
