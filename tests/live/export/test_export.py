"""`streamgauge export ipfix` as collectors of other makers see it: nfcapd and Wireshark, as they come from Debian."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from streamgauge.bus import Bus
from streamgauge.demo import packets
from streamgauge.embedded import free_ports
from streamgauge.testing import Publisher
from tests.support import require
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streamgauge.embedded import NatsServer
    from streamgauge.settings import NatsSettings

pytestmark = pytest.mark.live

START = 1_764_079_200_000_000_000
ROWS = 300


def row(number: int, node: int) -> dict[str, Any]:
    """Return a packet; 40 flows a node, TCP, UDP and ICMP, of both versions."""
    flow = number % 40
    six = flow % 4 == 3
    protocol = (6, 17, 1, 6)[flow % 4]
    return {
        "time": START + number * 10_000_000,
        "src_ip": f"2001:db8:{node}::{flow:x}" if six else f"10.{node}.0.{flow}",
        "dst_ip": "2001:db8:ffff::1" if six else "192.0.2.1",
        "ip_protocol": protocol,
        "eth_type": 0x86DD if six else 0x0800,
        "packets": 1 + number % 3,
        "bytes": (100 + number) * (1 + number % 3),
        "dscp": 0,
        **({"icmp_type": 8, "icmp_code": 0} if protocol == 1 else {"src_port": 1024 + flow, "dst_port": 443}),
        **({"tcp_flags": 0x12} if protocol == 6 else {}),
    }


def expected() -> Counter[str]:
    """Return packets and octets by source address."""
    totals: Counter[str] = Counter()
    for node in (1, 2):
        for number in range(ROWS):
            one = row(number, node)
            totals[f"{one['src_ip']} packets"] += one["packets"]
            totals[f"{one['src_ip']} octets"] += one["bytes"] - 14 * one["packets"]
    return totals


@pytest.fixture(name="bus")
async def _bus(nats_settings: NatsSettings) -> AsyncIterator[Bus]:
    """Return a connection to a stream that holds two nodes' batches, and one of ARP."""
    bus = Bus(nats_settings, "test")
    await bus.start()
    await bus.ensure_stream()
    for node in (1, 2):
        publisher = Publisher(bus.client, f"node-{node}")
        for first in range(0, ROWS, 50):
            await publisher.publish("tcp", [row(number, node) for number in range(first, first + 50)])
    await publisher.publish("arp", [{"time": START, "arp_opcode": 1, "bytes": 60}])
    yield bus
    await bus.stop()


async def export(server: NatsServer, port: int, *options: str) -> tuple[int, list[str]]:
    """Run the command to its end: status, lines of standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamgauge.cli.main", "export", "ipfix", "--nats", server.url),
        *("--to", f"udp://127.0.0.1:{port}", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)

    assert out == b""
    return process.returncode or 0, err.decode().splitlines()


async def test_nfcapd_counts_the_same(nats_server: NatsServer, bus: Bus, tmp_path: Path) -> None:
    """Totals of every source address, by a program that shares no line with ours."""
    (port,) = free_ports(1)
    folder = tmp_path / "flows"
    folder.mkdir()
    nfcapd = start_nfcapd(folder, port, tmp_path / "nfcapd.log")
    try:
        await eventually(lambda: b"Startup" in (tmp_path / "nfcapd.log").read_bytes() or listening(port))
        status, words = await export(nats_server, port, "--since", "all", "--once")
        nfcapd.terminate()
        nfcapd.wait(20)
    finally:
        nfcapd.kill()
        nfcapd.wait()
    totals = read_flows(folder)

    assert status == 0
    flows = 2 * 40
    total = sum(1 + number % 3 for number in range(ROWS)) * 2
    assert len(words) == 1
    assert words[0].startswith(f"streamgauge: {flows} flows of {total} packets in ")
    assert words[0].endswith("; 1 packets are not IP and in no flow")
    assert totals == expected()
    assert b"Sequence Errors: 0, Bad Packets: 0" in (tmp_path / "nfcapd.log").read_bytes()


def start_nfcapd(folder: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    command = [require.program("nfcapd"), "-w", str(folder), "-b", "127.0.0.1", "-p", str(port), "-t", "3600"]
    with log.open("wb") as handle:
        return subprocess.Popen(command, stdout=handle, stderr=handle, stdin=subprocess.DEVNULL)


def read_flows(folder: Path) -> Counter[str]:
    """Return packets and octets by source address, as nfdump prints them."""
    totals: Counter[str] = Counter()
    command = [require.program("nfdump"), "-q", "-R", str(folder), "-o", "fmt:%sa|%pkt|%byt", "-6", "-N"]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        source, count, octets = (field.strip() for field in line.split("|"))
        totals[f"{source} packets"] += int(count)
        totals[f"{source} octets"] += int(octets)
    return totals


def listening(port: int) -> bool:
    """Return whether a UDP port of loopback is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


async def test_wireshark_takes_every_message_apart(nats_server: NatsServer, bus: Bus, tmp_path: Path) -> None:
    """No field is malformed, no sequence number is off, and the sums are ours."""
    tshark = require.program("tshark")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.2)
        status, _ = await export(nats_server, receiver.getsockname()[1], "--since", "all", "--once")
        messages = []
        with contextlib.suppress(TimeoutError):
            while True:
                messages.append(receiver.recv(65535))
    ends = ("127.0.0.1", "127.0.0.2")
    frames = [packets.ethernet(packets.ipv4(packets.udp(one, 4739, 4739), *ends, packets.UDP)) for one in messages]
    path = tmp_path / "messages.pcap"
    path.write_bytes(packets.pcap((START + number, frame) for number, frame in enumerate(frames)))

    def fields(*names: str) -> list[list[str]]:
        chosen = [word for name in names for word in ("-e", name)]
        command = [tshark, "-r", str(path), "-d", "udp.port==4739,cflow", "-T", "fields", "-E", "separator=|", *chosen]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        return [line.split("|") for line in ran.stdout.splitlines()]

    counted = [
        [sum(map(int, value.split(","))) for value in line]
        for line in fields("cflow.packets", "cflow.octets")
        if line[0]
    ]
    assert status == 0
    assert sum(one for one, _ in counted) == sum(v for k, v in expected().items() if k.endswith("packets"))
    assert sum(one for _, one in counted) == sum(v for k, v in expected().items() if k.endswith("octets"))
    assert {line[0] for line in fields("cflow.version")} == {"10"}
    assert all(line == [""] for line in fields("_ws.malformed"))
    assert not any(line[0] for line in fields("cflow.unexpected_sequence_number"))
    assert len({line[0] for line in fields("cflow.od_id")}) == 2


async def test_live_until_ctrl_c(nats_server: NatsServer, bus: Bus) -> None:
    """Open flows are sent at the end; nobody listening is told and no reason to stop."""
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamgauge.cli.main", "export", "ipfix", "--nats", nats_server.url),
        *("--to", f"udp://127.0.0.1:{port}", "--durable", "exporter", "--since", "all"),
        stderr=asyncio.subprocess.PIPE,
    )
    try:

        async def read_all() -> bool:
            consumers = await bus.jetstream.consumers_info("TRAFFIC")
            return any(one.ack_floor and one.ack_floor.stream_seq >= 12 for one in consumers)

        await eventually(read_all, within=30)
        process.send_signal(2)
        _, err = await asyncio.wait_for(process.communicate(), 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    assert process.returncode == 130
    assert "80 flows of " in err.decode().splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("netflow9", "--to", "udp://127.0.0.1"), "format 'netflow9' is none of: ipfix"),
        (("ipfix", "--to", "tcp://127.0.0.1"), "--to 'tcp://127.0.0.1' is no udp://HOST[:PORT]"),
        (("ipfix", "--to", "udp://127.0.0.1:99999"), "is no udp://HOST[:PORT]"),
        (("ipfix", "--to", "udp://nowhere.invalid"), "the host nowhere.invalid is unknown"),
        (("ipfix", "--to", "udp://127.0.0.1", "--once"), "--once ends at the end of what the stream holds"),
        (("ipfix", "--to", "udp://127.0.0.1", "--since", "noon"), "--since 'noon' is no time"),
    ],
)
def test_bad_input_is_one_line(options: tuple[str, ...], words: str) -> None:
    """What is wrong, and how it is written."""
    from streamgauge.cli.main import main

    with contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(["export", *options])

    assert status == 2
    assert words in err.getvalue()
    assert err.getvalue().count("\n") == 1
