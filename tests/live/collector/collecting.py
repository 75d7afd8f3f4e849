"""Run a collector as a process of its own, and read back what it published."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import nats

from streamgauge import codec
from streamgauge.ledger import LedgerRecord
from streamgauge.subjects import Envelope
from tests.support import packets
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    import pyarrow as pa

ROOT = Path(__file__).parents[3]


def frame(number: int, *, tags=()) -> bytes:
    """Return a UDP packet that no other number has."""
    payload = struct.pack("!I", number) * 8
    return packets.ethernet(
        0x0800, packets.ipv4(17, packets.udp(payload, source=number % 60_000 + 1, target=4000)), tags=tags
    )


def write_pcap(path: Path, frames: list[bytes], *, gap_ns: int = 1000, cut: int = 0) -> Path:
    """Write a nanosecond capture file, its last ``cut`` bytes missing."""
    content = bytearray(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
    for position, packet in enumerate(frames):
        seconds, fraction = divmod(position * gap_ns, 10**9)
        content += struct.pack("<IIII", 1_700_000_000 + seconds, fraction, len(packet), len(packet)) + packet
    path.write_bytes(content[: len(content) - cut])
    return path


class CollectorProcess:
    """``python -m services.collector`` with settings by name (``source="file"``), its log in a file."""

    def __init__(self, folder: Path, *, nats_url: str, prefix: tuple[str, ...] = (), **settings: object) -> None:
        self.log = folder / f"collector-{len(list(folder.glob('collector-*')))}.log"
        self._prefix = prefix
        self._environment = {
            **os.environ,
            "STREAMGAUGE_NATS_URL": nats_url,
            "STREAMGAUGE_NATS_MAX_BYTES": str(256 << 20),
            "STREAMGAUGE_NATS_CONNECT_TIMEOUT": "2",
            "STREAMGAUGE_COLLECTOR_NODE": "node-a",
            "STREAMGAUGE_COLLECTOR_PORT": "0",
            **{f"STREAMGAUGE_COLLECTOR_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> CollectorProcess:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "services.collector", *arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait(self, within: float = 60.0) -> int:
        return self.process.wait(within)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def run(self, *arguments: str) -> tuple[int, list[str]]:
        """Run to the end; return the exit status and the lines that are no log lines."""
        self.start(*arguments)
        status = self.wait()
        return status, [line for line in self.log.read_text().splitlines() if not line.startswith("{")]

    def events(self, event: str) -> list[dict]:
        """Return the log lines with this event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def await_event(self, event: str, within: float = 60.0) -> dict:
        return eventually_sync(lambda: self.events(event), within=within)[0]

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page of the collector."""
        base = self.await_event("listening")["address"].removesuffix("/metrics")
        try:
            with urllib.request.urlopen(base + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of one series, 0 if there is none."""
        for line in self.get("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            if series.startswith(f"streamgauge_{name}{{") and all(f'{k}="{v}"' in series for k, v in labels.items()):
                return float(value)
        return 0.0


@dataclass
class Stored:
    """What the stream holds."""

    envelopes: list[Envelope] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    ledger: list[LedgerRecord] = field(default_factory=list)

    @property
    def packets(self) -> int:
        return sum(envelope.packets for envelope in self.envelopes)

    def column(self, name: str) -> list:
        return [value for batch in self.batches for value in batch.column(name).to_pylist()]

    def sequences(self, boot: str | None = None) -> list[int]:
        return [e.sequence for e in self.envelopes if boot in (None, e.boot)]

    def assert_exact(self, count: int) -> None:
        """Assert that the packets of ``frame(0)`` to ``frame(count - 1)`` are stored once each."""
        ids = [envelope.message_id for envelope in self.envelopes]

        assert len(set(ids)) == len(ids)
        assert self.packets == count
        assert sorted(self.column("src_port")) == sorted(number % 60_000 + 1 for number in range(count))


async def stored(url: str) -> Stored:
    """Read the whole stream."""
    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        info = await stream.stream_info("TRAFFIC")
        subscription = await stream.pull_subscribe("", stream="TRAFFIC", durable=f"reader-{os.urandom(4).hex()}")
        result, left = Stored(), info.state.messages
        while left:
            for message in await subscription.fetch(min(left, 64)):
                left -= 1
                await message.ack()
                if message.subject.startswith("ledger."):
                    result.ledger.append(LedgerRecord.decode(message.data))
                    continue
                envelope = Envelope.from_headers(message.headers)
                result.envelopes.append(envelope)
                result.batches.append(codec.decode(message.data, envelope.content_type))
        return result
    finally:
        await client.close()


def send_frames(interface: str, frames: list[bytes], *, namespace: str | None = None) -> None:
    """Send frames on an interface, in a namespace if one is given, by a process of its own."""
    code = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW)\n"
        "s.bind((sys.argv[1],0))\n"
        "[s.send(bytes.fromhex(line)) for line in sys.stdin]\n"
    )
    prefix = ["ip", "netns", "exec", namespace] if namespace else []
    subprocess.run(
        [*prefix, sys.executable, "-c", code, interface],
        input="\n".join(frame.hex() for frame in frames),
        text=True,
        check=True,
        timeout=60,
    )


def send_udp(port: int, count: int) -> None:
    """Send datagrams to a port of loopback."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s,
    ):
        sink.bind(("127.0.0.1", port))
        for number in range(count):
            s.sendto(number.to_bytes(4, "big"), ("127.0.0.1", port))


def send_until_evicted(collector: CollectorProcess, port: int) -> int:
    """Send datagrams, no faster than they are captured, until batches are evicted; return how many were sent."""
    sent = 0
    while not collector.metric("lost_packets_total", reason="evicted"):
        send_udp(port, 200)
        sent += 200
        eventually_sync(lambda: collector.metric("capture_packets_total") == sent, within=90)  # noqa: B023 waits here
    return sent
