"""A packet socket with a memory-mapped ring (AF_PACKET, TPACKET_V3): the part that talks to the kernel.

It needs the capability NET_RAW and nothing else. Order matters: the socket is made with protocol 0, so it receives
nothing until ring and filter are in place and ``begin`` binds it; no packet that the filter leaves out gets in before.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final

from services.collector.sources import SourceCounts
from services.collector.sources.ring_kernels import link_of
from streamgauge.errors import CaptureError

if TYPE_CHECKING:
    from services.collector.sources.bpf import Program

#: The interface name that stands for all of them.
ANY: Final = "any"

_ETH_P_ALL: Final = 0x0003
_SIOCGIFHWADDR: Final = 0x8927
_SO_ATTACH_FILTER: Final = 26

# linux/if_packet.h
_SOL_PACKET: Final = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _TIMESTAMP, _FANOUT, _IGNORE_OUTGOING = 1, 5, 6, 10, 17, 18, 23
_FANOUT_HASH, _FANOUT_DEFRAGMENT, _FANOUT_NEW_GROUP = 0, 0x8000, 0x2000
_RAW_HARDWARE: Final = 1 << 6  # linux/net_tstamp.h
_TPACKET_V3: Final = 2
_MEMBER_PROMISCUOUS: Final = 1
_RING_REQUEST: Final = struct.Struct("7I")  # struct tpacket_req3
_MEMBERSHIP: Final = struct.Struct("iHH8s")  # struct packet_mreq
_ADDRESS: Final = struct.Struct("=HHiHBB8s")  # struct sockaddr_ll
_COUNTS: Final = struct.Struct("2I")  # struct tpacket_stats; that of version 3 goes on

#: Only a unit of the request: in version 3, frames take the room they need.
_FRAME_BYTES: Final = 2048

_NO_PERMISSION: Final = (
    "no permission to capture packets: the capability CAP_NET_RAW is missing; run with sudo, with "
    "`docker run --cap-add NET_RAW`, or in Kubernetes with securityContext.capabilities.add: [NET_RAW]"
)


def interface_link(interface: str) -> int | None:
    """Return the link type of an interface, None for all interfaces.

    Raises:
        CaptureError: there is no such interface; lists those there are.

    """
    if interface == ANY:
        return None
    try:
        socket.if_nametoindex(interface)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            answer = fcntl.ioctl(probe, _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
    except OSError as error:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise CaptureError(f"no interface {interface}; there are: {ANY} (all of them), {names}") from error
    # Only kernels may call a compiled inner kernel; for one call from here its plain function does.
    plain = getattr(link_of, "py_func", link_of)
    return int(plain(struct.unpack_from("H", answer, 16)[0]))


class PacketSocket:
    """One packet socket; open from construction to ``close``."""

    def __init__(self, interface: str) -> None:
        """Open the socket, receiving nothing yet.

        Raises:
            CaptureError: the permission is missing; says how to get it.

        """
        self._interface = interface
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError as error:
            raise CaptureError(_NO_PERMISSION) from error
        except OSError as error:
            raise CaptureError(f"cannot open a packet socket: {error.strerror}") from error
        #: Of the interface that is captured.
        self._number = 0
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._counts = SourceCounts()
        self._counts_lock = threading.Lock()

    def map_ring(self, blocks: int, block_bytes: int, timeout_ms: int) -> mmap.mmap:
        """Reserve the ring and return it; the kernel hands a part-filled block over after ``timeout_ms``.

        Raises:
            CaptureError: the kernel has not enough memory for it.

        """
        frames = blocks * block_bytes // _FRAME_BYTES
        request = _RING_REQUEST.pack(block_bytes, blocks, _FRAME_BYTES, frames, timeout_ms, 0, 0)
        try:
            self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
            self._socket.setsockopt(_SOL_PACKET, _RX_RING, request)
            return mmap.mmap(self._socket.fileno(), blocks * block_bytes, mmap.MAP_SHARED)
        except OSError as error:
            raise CaptureError(
                f"cannot map a packet ring of {blocks} blocks of {block_bytes} bytes: {error.strerror}; "
                "lower STREAMGAUGE_COLLECTOR_RING_BLOCKS"
            ) from error

    def attach(self, program: Program) -> None:
        """Run a filter program on every packet from now on.

        Raises:
            CaptureError: the kernel refuses it.

        """
        from services.collector.sources.bpf import packed

        instructions = ctypes.create_string_buffer(packed(program))
        # struct sock_fprog: the pointer is aligned, which "@" does.
        argument = struct.pack("@HP", len(program), ctypes.addressof(instructions))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)
        except OSError as error:
            raise CaptureError(
                f"the kernel refuses the capture filter ({len(program)} instructions): {error.strerror}; simplify it"
            ) from error

    def ignore_outgoing(self) -> None:
        """Leave out what this host sends.

        Raises:
            CaptureError: the kernel is older than 4.20.

        """
        self._option(_IGNORE_OUTGOING, 1, "leave out outgoing packets", "Linux 4.20")

    def hardware_time(self) -> None:
        """Take the time at which the network card saw a packet, where the card tells it; else the kernel's."""
        self._option(_TIMESTAMP, _RAW_HARDWARE, "take the card's timestamps", "Linux 2.6.36")

    def join(self, group: int | None) -> int:
        """Share the packets of the interface with the other sockets of a group, each flow to one; return the group.

        Call it after ``begin``; ``None`` makes a new group. The kernel puts IP fragments together before it chooses.

        Raises:
            CaptureError: the kernel refuses.

        """
        kind = (_FANOUT_HASH | _FANOUT_DEFRAGMENT) << 16
        value = kind | _FANOUT_NEW_GROUP << 16 if group is None else kind | group
        needs = "Linux 4.14, and before Linux 6.13 an interface that is up"
        self._option(_FANOUT, value, "share an interface between workers", needs)
        return self._socket.getsockopt(_SOL_PACKET, _FANOUT) & 0xFFFF

    def _option(self, option: int, value: int, purpose: str, since: str) -> None:
        try:
            # Beyond 2^31 only the bits count.
            self._socket.setsockopt(_SOL_PACKET, option, struct.pack("I", value))
        except OSError as error:
            raise CaptureError(f"cannot {purpose}: {error.strerror}; it needs {since}") from error

    def begin(self, *, promiscuous: bool) -> None:
        """Receive packets from now on.

        Raises:
            CaptureError: the interface has gone.

        """
        try:
            number = 0 if self._interface == ANY else socket.if_nametoindex(self._interface)
            if promiscuous:
                member = _MEMBERSHIP.pack(number, _MEMBER_PROMISCUOUS, 0, b"")
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
            self._bind(number)
            self._number = number
        except OSError as error:
            raise CaptureError(f"cannot capture on {self._interface}: {error.strerror or error}") from error

    def _bind(self, interface_number: int) -> None:
        # Python's own bind looks the interface up by name and has no name for "all of them".
        address = _ADDRESS.pack(socket.AF_PACKET, socket.htons(_ETH_P_ALL), interface_number, 0, 0, 0, b"")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.bind(self._socket.fileno(), address, len(address)):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def wait(self, seconds: float) -> bool:
        """Wait for a block; return False if none came in time.

        Raises:
            CaptureError: the interface has gone.

        """
        events = self._poll.poll(seconds * 1000)
        if events and events[0][1] & (select.POLLERR | select.POLLHUP):
            self._after_error()
        return bool(events)

    def counts(self) -> SourceCounts:
        """Return the packets received (drops included) and dropped so far; the kernel forgets its counts when read."""
        with self._counts_lock:
            raw = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, _COUNTS.size)
            received, dropped = _COUNTS.unpack(raw)
            self._counts = SourceCounts(self._counts.received + received, self._counts.dropped + dropped)
            return self._counts

    def fileno(self) -> int:
        """Return the number of the socket."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def take_error(self) -> int:
        """Take the pending error off, so that it ends no more waits; return it."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _after_error(self) -> None:
        """Go on if the interface is only down: it comes back by itself. One that is gone does not, nor by its name."""
        code = self.take_error()
        if self._interface == ANY:
            return
        with contextlib.suppress(OSError):
            if socket.if_nametoindex(self._interface) == self._number:
                return
        raise CaptureError(f"interface {self._interface} has gone ({errno.errorcode.get(code, code)})")
