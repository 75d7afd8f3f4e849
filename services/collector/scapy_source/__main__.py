# SPDX-License-Identifier: GPL-2.0-only
"""Sniff with scapy and write a pcap stream to standard output.

    python services/collector/scapy_source --interface eth0 --filter "tcp port 443" --snaplen 256

A program of its own, because scapy is GPL-2.0-only (docs/decisions/0002-scapy-runs-apart.md): it imports nothing of
streamgauge, and streamgauge imports nothing of it; a pipe with the pcap format lies between them. It ends with its
parent's pipe, or on SIGTERM; one line on standard error says why it could not start.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import struct
import sys
import threading
from typing import Any

#: pcap with nanoseconds (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-06.html)
_FILE_HEADER = struct.Struct("=IHHiIII")
_RECORD = struct.Struct("=IIII")
_MAGIC_NANOSECONDS = 0xA1B23C4D
_WHOLE = 262_144
#: Link type of a captured packet, by the name of scapy's class for it; others are handed over as unknown (147).
_LINKS = {"Ether": 1, "Loopback": 0, "IP": 101, "IPv6": 101, "CookedLinux": 113, "RadioTap": 127}
_UNKNOWN = 147
_RECEIVE_BYTES = 8 << 20  # room in the kernel for packets while Python is busy
_LOOK_INTERVAL = 0.5  # seconds between looks at whether the sniffer still runs


class Stream:
    """The pcap stream, unbuffered: a packet goes out when it comes in."""

    def __init__(self, descriptor: int, snaplen: int, link: int) -> None:
        """Write the file header."""
        self._descriptor = descriptor
        self._snaplen = snaplen or _WHOLE
        self._write(_FILE_HEADER.pack(_MAGIC_NANOSECONDS, 2, 4, 0, 0, self._snaplen, link))

    def packet(self, packet: Any) -> None:
        """Write one packet."""
        frame = packet.original or bytes(packet)
        seconds, nanoseconds = divmod(int(packet.time * 1_000_000_000), 1_000_000_000)
        captured = frame[: self._snaplen]
        wire = getattr(packet, "wirelen", None) or len(frame)
        self._write(_RECORD.pack(seconds, nanoseconds, len(captured), wire) + captured)

    def _write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._descriptor, view) :]


def main() -> int:
    """Sniff until told to stop."""
    parser = argparse.ArgumentParser(prog="scapy_source", description="Sniff with scapy; a pcap stream on stdout.")
    parser.add_argument("--interface", required=True, help="interface to sniff")
    parser.add_argument("--filter", default="", help="capture filter in libpcap's language")
    parser.add_argument("--snaplen", type=int, default=0, help="bytes kept of each packet; 0: all")
    parser.add_argument("--promiscuous", action="store_true", help="also capture frames for other hosts")
    options = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        _sniff(options, stopped)
    except ImportError:
        return _complain("scapy is not installed: pip install 'streamgauge[scapy]'", 2)
    except PermissionError:
        return _complain("no permission to capture packets: CAP_NET_RAW is missing; run with sudo", 1)
    except Exception as error:  # noqa: BLE001 scapy raises many kinds; each is told in one line
        return _complain(" ".join(str(error).split()), 1)
    return 0


def _complain(line: str, status: int) -> int:
    sys.stderr.write(f"{line}\n")
    return status


def _sniff(options: argparse.Namespace, stopped: threading.Event) -> None:
    from scapy.all import AsyncSniffer, conf  # noqa: TID251 this program is the one that may

    names = [name for _, name in socket.if_nameindex()]
    if options.interface not in names:
        raise OSError(f"no interface {options.interface}; there are: {', '.join(names)}")
    conf.bufsize = _RECEIVE_BYTES
    listener = _listener(conf, options)
    stream = Stream(sys.stdout.fileno(), options.snaplen, _LINKS.get(listener.LL.__name__, _UNKNOWN))
    # The bytes are all that is wanted: without dissection a packet costs a tenth.
    listener.LL = conf.raw_layer
    broken: list[OSError] = []

    def write(packet: Any) -> None:
        try:
            stream.packet(packet)
        except OSError as error:
            broken.append(error)
            stopped.set()

    sniffer = AsyncSniffer(opened_socket=listener, store=False, prn=write)
    sniffer.start()
    while not stopped.wait(_LOOK_INTERVAL) and sniffer.running:
        pass
    if sniffer.running:
        sniffer.stop()
    elif isinstance(failure := getattr(sniffer, "exception", None), BaseException):
        raise failure
    # A reader that went away is the usual end.
    if broken and not isinstance(broken[0], BrokenPipeError):
        raise broken[0]


def _listener(conf: Any, options: argparse.Namespace) -> Any:
    """Open the socket; on the loopback interface scapy's sending kind, which leaves out the copy of what is sent."""
    loopback = sys.platform == "linux" and options.interface == conf.loopback_name
    kind = conf.L2socket if loopback else conf.L2listen
    return kind(iface=options.interface, filter=options.filter or None, promisc=options.promiscuous)


if __name__ == "__main__":
    sys.exit(main())
