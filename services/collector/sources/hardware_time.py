"""Whether a network card tells when it saw a packet: the kernel falls back on its own time without a word."""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from typing import Final

# linux/sockios.h, linux/ethtool.h, linux/net_tstamp.h
_SIOCETHTOOL: Final = 0x8946
_SIOCGHWTSTAMP: Final = 0x89B1
_GET_TS_INFO: Final = 0x41
_RX_HARDWARE, _RAW_HARDWARE = 1 << 2, 1 << 6
#: struct ethtool_ts_info: command, capabilities, clock, and what senders and receivers can.
_TS_INFO: Final = struct.Struct("IIi8I")
#: struct hwtstamp_config: flags, for which packets sent, for which received.
_CONFIG: Final = struct.Struct("3i")


def lacking(interface: str) -> str | None:
    """Return why an interface gives no timestamps of its own, with how to mend it; None if it gives them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            _, offered, *_ = _ask(probe, interface, _SIOCETHTOOL, _TS_INFO, _GET_TS_INFO)
        except OSError as error:
            return f"the driver does not tell whether it has any ({error.strerror})"
        if not offered & _RX_HARDWARE or not offered & _RAW_HARDWARE:
            return f"the interface has none (ethtool -T {interface})"
        try:
            _, _, received = _ask(probe, interface, _SIOCGHWTSTAMP, _CONFIG)
        except OSError as error:
            if error.errno in {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL}:  # older drivers have no such question
                return None
            return f"the driver does not tell whether they are on ({error.strerror})"
    return None if received else f"they are off; switch them on with: hwstamp_ctl -i {interface} -r 1"


def _ask(
    probe: socket.socket, interface: str, request: int, layout: struct.Struct, command: int = 0
) -> tuple[int, ...]:
    """Ask a driver; ``struct ifreq`` holds the name and the address of what is filled in."""
    answer = array.array("B", struct.pack("I", command).ljust(layout.size, b"\0"))
    fcntl.ioctl(probe, request, struct.pack("16sP16x", interface.encode(), answer.buffer_info()[0]))
    return layout.unpack(answer)
