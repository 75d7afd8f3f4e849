"""The capture filter: an expression in libpcap's language, compiled by libpcap, wrapped for a packet socket.

A packet socket gives raw link-layer frames, of several link types when it captures on all interfaces. The program made
here therefore looks at the hardware type first and then runs the expression compiled for that link type. Before that it
leaves out one of the two copies that the loopback interface delivers of each packet: the outgoing one, as libpcap does
(``tcpdump -i lo`` shows a ping as one request and one reply). The copy is not even counted as received.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import struct
from typing import Final, NamedTuple

from services.collector.sources.ring_kernels import ARPHRD_ETHER, ARPHRD_LOOPBACK, EN10MB, RAW
from streamgauge.errors import ConfigurationError

SETTING: Final = "STREAMGAUGE_COLLECTOR_FILTER"

#: Returned by a program for "all of the packet", as libpcap does.
WHOLE: Final = 262_144

_LIBRARIES: Final = ("libpcap.so.1", "libpcap.so.0.8")
#: libpcap's own number where it differs from that of capture files (https://www.tcpdump.org/linktypes.html).
_DLT_OF_LINK: Final = {RAW: 12}
_NETMASK_UNKNOWN: Final = 0xFFFFFFFF

# linux/bpf_common.h, linux/filter.h
_LOAD_WORD, _JUMP, _JUMP_EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x06
_ANCILLARY: Final = 0xFFFFF000  # SKF_AD_OFF: what the kernel knows beside the bytes
_PACKET_TYPE, _HARDWARE_TYPE = _ANCILLARY + 4, _ANCILLARY + 28
_OUTGOING: Final = 4


class Instruction(NamedTuple):
    """One ``struct sock_filter``."""

    code: int
    if_true: int
    if_false: int
    value: int


Program = list[Instruction]


class _RawInstruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint32),
    )


class _RawProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_RawInstruction)))


def socket_program(expression: str, snaplen: int, link: int | None) -> Program:
    """Return the program for a packet socket: loopback counted once, then the expression for the frame's link type.

    Args:
        expression: In libpcap's language; empty takes every packet.
        snaplen: Bytes to keep of a packet; 0 keeps all.
        link: Link type of the interface, or None for all interfaces.

    Raises:
        ConfigurationError: libpcap refuses the expression (its words are passed on), or is not installed.

    """
    length = snaplen or WHOLE
    if not expression.strip():
        return [*_count_loopback_once(), Instruction(_RETURN, 0, 0, length)]
    if re.search(r"\bvlan\b", expression):
        raise ConfigurationError(
            f"{SETTING}={expression}: `vlan` cannot be tested here, because the kernel takes the tag off before the "
            "filter runs; leave it out (tagged packets match by addresses and ports) and select by the column vlan"
        )
    if link is not None:
        return [*_count_loopback_once(), *compile_expression(expression, link, length)]
    ethernet, raw = compile_expression(expression, EN10MB, length), _for_raw(expression, length)
    branch = [
        Instruction(_LOAD_WORD, 0, 0, _HARDWARE_TYPE),
        Instruction(_JUMP_EQUAL, 2, 0, ARPHRD_ETHER),
        Instruction(_JUMP_EQUAL, 1, 0, ARPHRD_LOOPBACK),
        # Conditional jumps reach 255 instructions, this one any number.
        Instruction(_JUMP, 0, 0, len(ethernet)),
    ]
    return [*_count_loopback_once(), *branch, *ethernet, *raw]


def compile_expression(expression: str, link: int, snaplen: int = WHOLE) -> Program:
    """Return libpcap's program for an expression on one link type.

    Raises:
        ConfigurationError: libpcap refuses the expression, or is not installed.

    """
    library = _library()
    handle = library.pcap_open_dead(_DLT_OF_LINK.get(link, link), snaplen)
    if not handle:
        raise ConfigurationError(f"{SETTING}: libpcap cannot compile for link type {link}")
    raw = _RawProgram()
    try:
        failed = library.pcap_compile(handle, ctypes.byref(raw), expression.encode(), 1, _NETMASK_UNKNOWN)
        if failed:
            words = library.pcap_geterr(handle).decode(errors="replace")
            raise ConfigurationError(f"{SETTING}={expression}: libpcap says: {words}")
        program = [
            Instruction(entry.code, entry.if_true, entry.if_false, entry.value)
            for entry in raw.instructions[: raw.length]
        ]
        library.pcap_freecode(ctypes.byref(raw))
    finally:
        library.pcap_close(handle)
    return program


def packed(program: Program) -> bytes:
    """Return the instructions as an array of ``struct sock_filter``."""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _count_loopback_once() -> Program:
    return [
        Instruction(_LOAD_WORD, 0, 0, _PACKET_TYPE),
        Instruction(_JUMP_EQUAL, 0, 3, _OUTGOING),
        Instruction(_LOAD_WORD, 0, 0, _HARDWARE_TYPE),
        Instruction(_JUMP_EQUAL, 0, 1, ARPHRD_LOOPBACK),
        Instruction(_RETURN, 0, 0, 0),
    ]


def _for_raw(expression: str, snaplen: int) -> Program:
    """Compile for interfaces without a link header; an expression about Ethernet matches nothing there."""
    try:
        return compile_expression(expression, RAW, snaplen)
    except ConfigurationError:
        return [Instruction(_RETURN, 0, 0, 0)]


def _library() -> ctypes.CDLL:
    found = ctypes.util.find_library("pcap")
    for name in (*_LIBRARIES, *([found] if found else [])):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.pcap_open_dead.restype = ctypes.c_void_p
        library.pcap_geterr.restype = ctypes.c_char_p
        library.pcap_geterr.argtypes = [ctypes.c_void_p]
        library.pcap_close.argtypes = [ctypes.c_void_p]
        library.pcap_compile.argtypes = [
            ctypes.c_void_p,
            ctypes.POINTER(_RawProgram),
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_uint32,
        ]
        return library
    raise ConfigurationError(
        f"{SETTING} needs libpcap, which is not installed: apt install libpcap0.8, apk add libpcap"
    )
