"""The capture filter: what libpcap says is passed on, and the program does what the expression means."""

from __future__ import annotations

import struct

import pytest

from services.collector.sources import bpf
from streamgauge.errors import ConfigurationError
from tests.unit.collector.making import DNS, TCP, UDP

ETHER, LOOPBACK, NONE, INCOMING, OUTGOING = 1, 772, 0xFFFE, 0, 4


def run(program, frame, *, hardware_type=ETHER, packet_type=INCOMING):
    """Run a filter program as the kernel would: a slow, obvious interpreter; return the bytes to keep."""
    beside = {bpf._PACKET_TYPE: packet_type, bpf._HARDWARE_TYPE: hardware_type}
    accumulator = index = at = 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        where = value + (index if code in (0x40, 0x48, 0x50) else 0)
        if code == 0x20 and value in beside:
            accumulator = beside[value]
        elif code in (0x20, 0x28, 0x30, 0x40, 0x48, 0x50):
            width = {0x20: 4, 0x40: 4, 0x28: 2, 0x48: 2, 0x30: 1, 0x50: 1}[code]
            if where + width > len(frame):
                return 0
            accumulator = int.from_bytes(frame[where : where + width], "big")
        elif code == 0xB1:
            index = (frame[value] & 15) * 4
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            at += value
        elif code in (0x15, 0x25, 0x35, 0x45):
            holds = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
                0x45: accumulator & value != 0,
            }[code]
            at += if_true if holds else if_false
        elif code == 0x06:
            return value
        else:
            raise AssertionError(f"instruction {code:#x} is not known here")


@pytest.mark.parametrize("link", [1, None])
def test_the_expression_selects_packets(link):
    """A filter takes what it names and leaves the rest, on one interface and on all of them."""
    program = bpf.socket_program("udp port 53", 0, link)

    assert run(program, DNS) == bpf.WHOLE
    assert run(program, UDP) == 0
    assert run(program, TCP) == 0


def test_all_interfaces_are_filtered_by_their_own_link_type():
    """On interfaces without a link header the expression is compiled for raw IP."""
    program = bpf.socket_program("udp port 53", 128, None)

    assert run(program, DNS[14:], hardware_type=NONE) == 128
    assert run(program, DNS, hardware_type=ETHER) == 128
    assert run(program, DNS, hardware_type=LOOPBACK) == 128
    assert run(program, TCP[14:], hardware_type=NONE) == 0


def test_an_expression_about_ethernet_matches_nothing_without_it():
    """``ether`` cannot be compiled for raw IP; such interfaces then give nothing, the others what is asked for."""
    program = bpf.socket_program("ether broadcast", 0, None)

    assert run(program, b"\xff" * 6 + TCP[6:]) == bpf.WHOLE
    assert run(program, TCP[14:], hardware_type=NONE) == 0


@pytest.mark.parametrize("expression", ["", "udp"])
def test_loopback_is_counted_once(expression):
    """Of the two copies of a packet on the loopback interface the outgoing one is left out; elsewhere it is kept."""
    program = bpf.socket_program(expression, 0, None)

    assert run(program, UDP, hardware_type=LOOPBACK, packet_type=OUTGOING) == 0
    assert run(program, UDP, hardware_type=LOOPBACK, packet_type=INCOMING) == bpf.WHOLE
    assert run(program, UDP, hardware_type=ETHER, packet_type=OUTGOING) == bpf.WHOLE


def test_snaplen_is_what_the_program_returns():
    """The filter tells the kernel how much of a packet to keep."""
    assert run(bpf.socket_program("", 96, 1), TCP) == 96
    assert run(bpf.socket_program("tcp", 96, 1), TCP) == 96


@pytest.mark.parametrize("expression", ["prot udp", "port http and", "host nosuch.invalid."])
def test_what_libpcap_says_is_passed_on(expression):
    """A wrong expression is a fault of the configuration, with libpcap's own words and the setting's name."""
    with pytest.raises(ConfigurationError, match=r"STREAMGAUGE_COLLECTOR_FILTER=.*libpcap says: \S") as caught:
        bpf.socket_program(expression, 0, 1)
    assert "\n" not in str(caught.value)


def test_vlan_is_refused_with_the_reason():
    """``vlan`` would silently never match, because the kernel takes the tag off first."""
    with pytest.raises(ConfigurationError, match="takes the tag off"):
        bpf.socket_program("vlan 100 and udp", 0, 1)


def test_packed_is_an_array_of_sock_filter():
    """Eight bytes an instruction, in the byte order of the host."""
    assert bpf.packed([bpf.Instruction(6, 1, 2, 0x40000)]) == struct.pack("=HBBI", 6, 1, 2, 0x40000)
