"""Interfaces that come and go under a running source, and flows that stay with a worker: rings of real interfaces."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import threading
import time
from collections import Counter

import pytest
import structlog
from structlog.testing import capture_logs

from services.collector.sources import ring
from services.collector.sources.packet_socket import PacketSocket
from services.collector.sources.ring import RingSource
from services.collector.sources.ring_kernels import UNKNOWN_LINK
from services.collector.sources.rings import RingsSource
from streamgauge.decode import Decoder
from streamgauge.errors import CaptureError
from streamgauge.rows import Rows
from streamgauge.settings import CollectorSettings
from tests.live.collector.collecting import frame, send_frames
from tests.support import packets
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.live, pytest.mark.netns]

#: Seconds in which an interface that comes or goes is noticed.
NOTICED = 2.0


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def shown(name):
    return subprocess.run(["ip", "link", "show", name], check=True, capture_output=True, text=True).stdout


def ip_batch(lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True)


def add(wire, name):
    """Join the namespaces by one more silent pair: ``name`` here, ``name`` with a p there."""
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p", "netns", wire.namespace)
    for where, end in (((), name), (("-n", wire.namespace), f"{name}p")):
        ip(*where, "link", "set", end, "addrgenmode", "none")
        ip(*where, "link", "set", end, "up")


def packets_of(worker_blocks, seen, worker):
    """Count a worker's packets by interface and flow, the flow without its direction."""
    decoder, rows = Decoder(), Rows(4096)
    for block in worker_blocks:
        at = block.first
        while at < block.last:
            rows.clear()
            at += decoder.decode(block.data, block.packets, at, block.last, rows)
            for ports in zip(rows.column("src_port").tolist(), rows.column("dst_port").tolist(), strict=True):
                seen[worker, block.interface, frozenset(ports)] += 1


@contextlib.contextmanager
def captured(settings):
    """Run a source with its workers; yield it and what it saw so far."""
    source, stop, seen = RingsSource(settings), threading.Event(), Counter()
    source.open()
    threads = [
        threading.Thread(target=packets_of, args=(source.blocks(stop, worker), seen, worker))
        for worker in range(source.workers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield source, seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        source.close()
    counts = source.counts()
    assert sum(seen.values()) == counts.received - counts.dropped


def seconds_until(source, appeared, disappeared):
    """Return how long it takes until so many interfaces have come and gone."""
    begin = time.monotonic()
    wanted = (appeared, disappeared)
    eventually_sync(lambda: (source.changes().appeared, source.changes().disappeared) == wanted, within=30)
    return time.monotonic() - begin


def test_what_comes_and_goes_is_noticed_within_two_seconds(wire):
    """New, deleted, deleted and made anew at once, into another namespace and back, another name: each is counted."""
    name = f"{wire.here}x"
    took = {}
    with captured(CollectorSettings(interface=f"{wire.here}*")) as (source, seen):
        add(wire, name)
        took["new"] = seconds_until(source, 1, 0)
        ip("link", "del", name)
        took["deleted"] = seconds_until(source, 1, 1)
        add(wire, name)
        seconds_until(source, 2, 1)
        ip("link", "del", name)
        add(wire, name)
        took["made anew"] = seconds_until(source, 3, 2)
        ip("link", "set", name, "netns", wire.namespace)
        took["moved away"] = seconds_until(source, 3, 3)
        ip("link", "add", f"{name}y", "type", "veth", "peer", "name", f"{name}q", "netns", wire.namespace)
        took["new and down"] = seconds_until(source, 4, 3)
        ip("link", "set", f"{name}y", "addrgenmode", "none")
        ip("link", "set", f"{name}y", "name", f"{name}z")
        took["another name"] = seconds_until(source, 5, 4)
        for where, end in (((), f"{name}z"), (("-n", wire.namespace), f"{name}q")):
            ip(*where, "link", "set", end, "addrgenmode", "none")
            ip(*where, "link", "set", end, "up")
        send_frames(f"{name}q", [frame(number) for number in range(20)], namespace=wire.namespace)
        eventually_sync(lambda: sum(seen.values()) == 20, within=30)

    assert {interface for _, interface, _ in seen} == {f"{name}z"}
    assert {what: seconds for what, seconds in took.items() if seconds >= NOTICED} == {}


def test_many_at_once_are_captured_and_let_go(wire):
    """Thirty containers that start together and end together cost none of them a packet once they are captured."""
    names = [f"{wire.here}{number}" for number in range(30)]
    ends = [(name, f"{wire.there}{name[len(wire.here) :]}") for name in names]
    with captured(CollectorSettings(interface=f"{wire.here}*")) as (source, seen):
        ip_batch(
            line
            for here, there in ends
            for line in (
                f"link add {here} type veth peer name {there}",
                *(f"link set {end} {what}" for end in (here, there) for what in ("addrgenmode none", "up")),
            )
        )
        seconds_until(source, 30, 0)
        for _, there in ends[::6]:
            send_frames(there, [frame(number) for number in range(10)])
        eventually_sync(lambda: sum(seen.values()) == 50, within=30)
        ip_batch(f"link del {name}" for name in names)
        seconds_until(source, 30, 30)
        send_frames(wire.there, [frame(1)], namespace=wire.namespace)
        eventually_sync(lambda: sum(seen.values()) == 51, within=30)


def test_down_and_up_again_is_the_same_interface(wire):
    """A link that goes down is not gone; what comes after is captured."""
    with captured(CollectorSettings(interface=f"{wire.here}*", workers=2)) as (source, seen):
        ip("link", "set", wire.here, "down")
        eventually_sync(lambda: "state DOWN" in shown(wire.here))
        ip("link", "set", wire.here, "up")
        send_frames(wire.there, [frame(number) for number in range(20)], namespace=wire.namespace)
        eventually_sync(lambda: sum(seen.values()) == 20, within=30)

        assert (source.changes().appeared, source.changes().disappeared) == (0, 0)


def test_a_try_that_changes_the_interface_is_not_repeated_at_once(wire, monkeypatch):
    """To be promiscuous is a change, which the kernel tells of: it must not bring on the next try at once."""
    tries = []

    def refuse(*_):  # as a kernel before 6.13 does while the interface is down
        tries.append(time.monotonic())
        raise CaptureError("down")

    monkeypatch.setattr(PacketSocket, "join", refuse)
    with captured(CollectorSettings(interface=f"{wire.here}*", workers=2, promiscuous=True)):
        threading.Event().wait(2.5)

    assert 2 <= len(tries) <= 6


@pytest.fixture(name="lines")
def _lines():
    """Return what is logged from now on, also where a test before let through nothing but errors."""
    before = structlog.get_config()
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines
    structlog.configure(**before)


def test_an_interface_that_cannot_be_captured_harms_no_other(wire, lines, monkeypatch):
    """The filter does not fit what came: that is said once, and the others go on."""
    name, real = f"{wire.here}x", ring.interface_link
    monkeypatch.setattr(ring, "interface_link", lambda which: UNKNOWN_LINK if which == name else real(which))
    settings = CollectorSettings(interface=f"{wire.here}*", filter="udp and not ether host 02:00:00:00:00:01")
    with captured(settings) as (source, seen):
        add(wire, name)
        # Long enough for two more looks: a second each.
        threading.Event().wait(2.5)
        send_frames(wire.there, [frame(number) for number in range(20)], namespace=wire.namespace)
        eventually_sync(lambda: sum(seen.values()) == 20, within=30)

        assert source.changes().appeared == 0
    (told,) = [line for line in lines if line["event"] == "interface cannot be captured"]
    assert told["interface"] == name
    assert f"DLT {UNKNOWN_LINK} link-layer type filtering not implemented" in told["error"]


def test_a_single_interface_made_anew_under_its_name_is_gone(wire):
    """The ring belongs to the one that was deleted, so the source ends with a line instead of waiting for ever."""
    name = f"{wire.here}x"
    add(wire, name)
    source = RingSource(CollectorSettings(interface=name))
    source.open()
    try:
        blocks = source.blocks(threading.Event())
        next(blocks)
        ip("link", "del", name)
        add(wire, name)
        with pytest.raises(CaptureError, match=f"interface {name} has gone"):
            list(itertools.islice(blocks, 100))
    finally:
        source.close()


def answer(packet):
    """Return a TCP packet with addresses and ports the other way round."""
    at, size, ports = (26, 4, 34) if packet[12:14] == b"\x08\0" else (22, 16, 54)
    ends = packet[at + size : at + 2 * size] + packet[at : at + size]
    turned = packet[:at] + ends + packet[at + 2 * size :]
    return turned[:ports] + turned[ports + 2 : ports + 4] + turned[ports : ports + 2] + turned[ports + 4 :]


def test_both_directions_of_a_flow_are_with_one_worker(wire):
    """Each of three workers has whole flows, of IPv4 and of IPv6; together they have every packet."""
    networks = ((0x0800, packets.ipv4), (0x86DD, packets.ipv6))
    there = [
        packets.ethernet(kind, network(6, packets.tcp(b"x", source=port, target=80)))
        for port in range(1000, 1100)
        for kind, network in networks
    ]
    back = [answer(frame) for frame in there]
    with captured(CollectorSettings(interface=wire.here, workers=3)) as (_source, seen):
        send_frames(wire.there, there + back, namespace=wire.namespace)
        eventually_sync(lambda: sum(seen.values()) == 400, within=30)
    by_worker = [{flow for worker, _, flow in seen if worker == number} for number in range(3)]

    assert all(by_worker)
    # Ports name a flow, but for the IP version: a pair of ports is with one worker or two.
    assert all(seen[key] % 2 == 0 for key in seen)
