"""A transfer between two namespaces, as between two pods of a node: each byte counts once, wherever it is seen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections import Counter

import pytest

from tests.live.collector.collecting import CollectorProcess
from tests.support import require
from tests.support.dry import namespaces
from tests.support.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.netns]

SIZE = 40 << 20
LEFT, RIGHT = "10.99.0.1", "10.99.0.2"


@pytest.fixture(name="pods")
def _pods():
    """Two namespaces whose veth pairs end on a bridge of the host; gives their names and what to capture."""
    require.root()
    require.program("ip")
    require.program("tcpdump")
    tag = os.getpid() % 1_000_000
    bridge, spaces = f"sgbr{tag}", {f"sgl{tag}": LEFT, f"sgr{tag}": RIGHT}
    try:
        namespaces.run("ip", "link", "add", bridge, "type", "bridge")
        namespaces.run("ip", "link", "set", bridge, "up")
        for number, (space, address) in enumerate(spaces.items()):
            outer = f"veth{tag}x{number}"
            namespaces.run("ip", "netns", "add", space)
            namespaces.run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            namespaces.run("ip", "link", "set", outer, "master", bridge, "up")
            namespaces.inside(space, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            namespaces.inside(space, "ip", "link", "set", "eth0", "up")
        yield *spaces, f"veth{tag}x*,{bridge}"
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)


def transfer(left, right):
    """Send ``SIZE`` bytes from one namespace to the other; return when all have come."""
    with namespaces.socket_in(right, socket.SOCK_STREAM) as listening:
        listening.bind((RIGHT, 5201))
        listening.listen(1)

        def send():
            with namespaces.socket_in(left, socket.SOCK_STREAM) as sending:
                sending.connect((RIGHT, 5201))
                for _ in range(SIZE >> 20):
                    sending.sendall(bytes(1 << 20))

        sender = threading.Thread(target=send)
        sender.start()
        connection, _ = listening.accept()
        with connection:
            while connection.recv(1 << 20):
                pass
        sender.join()


def wire_bytes(path):
    """Return the bytes by sender that tcpdump saw on the wire: what it says of each packet's length."""
    shown = subprocess.run(["tcpdump", "-e", "-n", "-q", "-r", path], check=True, capture_output=True, text=True).stdout
    counted = Counter()
    for line in shown.splitlines():
        length, sender = re.search(r"length (\d+): (\d+\.\d+\.\d+\.\d+)\.", line).groups()
        counted[sender] += int(length)
    return counted


@contextlib.asynccontextmanager
async def seen_by_tcpdump(namespace, path):
    """Record what passes the interface of a namespace; on leaving, all of it is in the file."""
    arguments = ("-i", "eth0", "-s", "96", "-B", "65536", "--immediate-mode", "-U", "-w", str(path), "tcp")
    tcpdump = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", namespace, "tcpdump", *arguments), stderr=asyncio.subprocess.PIPE
    )
    try:
        assert b"listening" in await tcpdump.stderr.readline()
        yield
        # The last acknowledgements are on their way.
        await eventually(lambda: sum(wire_bytes(path).values()) > SIZE)
        tcpdump.send_signal(signal.SIGINT)
        _, words = await asyncio.wait_for(tcpdump.communicate(), 20)
        assert b"\n0 packets dropped by kernel" in words
    finally:
        if tcpdump.returncode is None:
            tcpdump.kill()
            await tcpdump.wait()


@pytest.mark.parametrize("capture", ["by name", "any"])
async def test_a_transfer_counts_once_and_to_the_byte(nats_server, scratch, pods, run_exporter, capture):
    """Both pods' interfaces are captured: bytes by workload are those that tcpdump saw at one of them.

    The bridge is captured, too, and shows nothing of what it forwards.
    """
    left, right, interfaces = pods
    settings = {"interface": interfaces} if capture == "by name" else {"interface": "any", "filter": "net 10.99.0.0/24"}
    labels = scratch / "labels.csv"
    labels.write_text(f"{LEFT},left,client\n{RIGHT},right,server\n")
    recording = scratch / "seen.pcap"
    async with run_exporter(labels=labels, identity="none") as running:
        with CollectorProcess(scratch, nats_url=nats_server.url, **settings) as collector:
            collector.await_event("capturing")
            async with seen_by_tcpdump(left, recording):
                await asyncio.to_thread(transfer, left, right)
            # Both interfaces have seen each packet; the last ones are on their way.
            await eventually(lambda: collector.metric("capture_bytes_total") > 1.99 * SIZE, within=60)
            assert collector.stop() == 0
        truth = wire_bytes(recording)
        assert truth[LEFT] > SIZE

        async def counted():
            there = await running.total("workload_bytes_total", source_namespace="left", protocol="tcp")
            back = await running.total("workload_bytes_total", source_namespace="right", protocol="tcp")
            assert (there, back) == pytest.approx((truth[LEFT], truth[RIGHT]), rel=1e-3)
            return True

        await eventually(counted, within=20)
        # By interface each place counts what passed it: that is twice as much.
        everywhere = await running.total("bytes_total", protocol="tcp")
        assert everywhere == pytest.approx(2 * sum(truth.values()), rel=0.02)
        # The second look at a segment is no second segment; a busy machine sends some again.
        assert await running.total("tcp_retransmits_total") < 0.02 * await running.total(
            "packets_total", protocol="tcp"
        )
        assert await running.total("ledger_lost_packets_total") == 0
