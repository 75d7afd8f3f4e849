"""Who takes part in the live benchmark: how each receiver is started, and what it says of packets and losses.

A receiver is a process that captures an interface. All are treated alike: started on one core, warmed up with a part of
the trace, then measured from outside. What they cannot tell is None.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RECEIVER_CORE = 1

RING = """
import json, signal, sys, threading
from services.collector.sources.ring import RingSource
from streamgauge.decode import Decoder, warm_up
from streamgauge.rows import Rows
from streamgauge.settings import CollectorSettings
interface, snaplen, decoding = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "decode"
warm_up()
source = RingSource(CollectorSettings(interface=interface, snaplen=snaplen))
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
source.open()
rows, decoder, packets = Rows(4096), Decoder(), 0
for block in source.blocks(stop):
    at = block.first
    while decoding and at < block.last:
        rows.clear()
        at += decoder.decode(block.data, block.packets, at, block.last, rows)
    packets += block.last
del block
print(json.dumps({"received": packets, "dropped": source.counts().dropped}))
source.close()
"""


def pause(seconds):
    threading.Event().wait(seconds)


def settled(probe, seconds=60):
    """Wait until a number no longer changes; return it."""
    last, deadline = -1, time.monotonic() + seconds
    while (now := probe()) != last and time.monotonic() < deadline:
        last = now
        pause(0.5)
    return last


def cpu_ns(process):
    """Return the CPU time of a running process, all threads, in ns."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def peak_mebibytes(process):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) // 1024


class Receiver:
    """One program on the receiver's core; a new object each round."""

    ready = "listening"
    stop_signal = signal.SIGINT
    #: Programs it needs.
    needs: tuple[str, ...] = ()

    def __init__(self, folder, interface, arguments):
        self.folder, self.interface, self.arguments = folder, interface, arguments
        self.log = folder / "log"

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {}

    @contextmanager
    def running(self):
        """Start the program, wait until it captures, yield its process; stop it at the end."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                ["taskset", "-c", str(RECEIVER_CORE), *self.command()],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(HERE.parent)} | self.environment(),
                cwd=HERE.parent,
            )
            try:
                self.wait_for(self.ready)
                yield process
            finally:
                process.send_signal(self.stop_signal)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:  # softflowd, now and then
                    process.kill()
                    process.wait()

    def wait_for(self, text, seconds=60):
        deadline = time.monotonic() + seconds
        while text not in self.log.read_text():
            if time.monotonic() > deadline:
                raise SystemExit(f"no {text!r} from {self.command()[0]}: {self.log.read_text()[-500:]}")
            pause(0.02)

    def finished(self):
        """Wait until what has arrived is worked off."""

    def details(self):
        """Return what is worth telling beside, while it still runs."""
        return {}

    def outcome(self):
        """Return how many packets it received and how many the kernel dropped, after its end."""
        return None, None


class Ring(Receiver):
    """Our ring reader with the decoder, nothing behind it."""

    ready, stop_signal, mode = "capturing", signal.SIGTERM, "decode"

    def command(self):
        return [sys.executable, "-c", RING, self.interface, str(self.arguments.snaplen), self.mode]

    def outcome(self):
        counts = json.loads(self.log.read_text().splitlines()[-1])
        return counts["received"], counts["dropped"]


class NullRing(Ring):
    """The same ring, its packets only counted: what no reader of it can be below."""

    mode = "null"


class Collector(Receiver):
    """The whole collector, up to the acknowledgement of a nats-server of its own."""

    ready, stop_signal = "stream found", signal.SIGTERM

    @contextmanager
    def running(self):
        from streamgauge.embedded import NatsServer

        with NatsServer(self.folder) as server:
            self.url = server.url
            with super().running() as process:
                self.wait_for("capturing")
                self.address = re.search(r"http://[0-9.:]+/metrics", self.log.read_text())[0]
                yield process
            self.latencies = asyncio.run(latencies(self.url))

    def command(self):
        return [sys.executable, "-m", "services.collector"]

    def environment(self):
        return {
            "STREAMGAUGE_NATS_URL": self.url,
            "STREAMGAUGE_COLLECTOR_INTERFACE": self.interface,
            "STREAMGAUGE_COLLECTOR_SNAPLEN": str(self.arguments.snaplen),
            "STREAMGAUGE_COLLECTOR_PORT": "0",
            "STREAMGAUGE_COLLECTOR_NODE": "bench",
            "STREAMGAUGE_NATS_MAX_BYTES": str(4 << 30),
            **dict(setting.split("=", 1) for setting in self.arguments.set),
        }

    def finished(self):
        settled(lambda: self.page()["published_packets_total"])

    def details(self):
        page = self.page()
        self.counts = int(page["published_packets_total"]), int(page["kernel_dropped"])
        return {
            "payload bytes/packet": page["published_payload_bytes_total"] / max(page["published_packets_total"], 1),
            "evicted": page["evicted"],
        }

    def outcome(self):
        return self.counts

    def page(self):
        page = {}
        with urllib.request.urlopen(self.address) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("streamgauge_"):
                    series, _, value = line.rpartition(" ")
                    name = series.partition("{")[0].removeprefix("streamgauge_")
                    if name == "lost_packets_total":
                        name = "kernel_dropped" if 'stage="kernel"' in series else "evicted"
                    page[name] = float(value)
        return page


async def latencies(url):
    """Return p50 and p99 of the time from a packet's capture to the moment the server stored it, in ms.

    The server stores a message, then acknowledges it; all clocks are one machine's.
    """
    import nats

    from streamgauge import codec

    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        consumer = await stream.pull_subscribe("traffic.v1.>", stream=(await stream.streams_info())[0].config.name)
        taken = []
        while True:
            try:
                messages = await consumer.fetch(64, timeout=2)
            except TimeoutError:
                break
            for message in messages:
                stored = int(message.metadata.timestamp.timestamp() * 1e9)
                times = codec.decode(message.data).column("time").to_numpy().view(np.int64)
                taken.append((stored - times) / 1e6)
                await message.ack()
        return [float(value) for value in np.percentile(np.concatenate(taken), (50, 99))]
    finally:
        await client.close()


class Tcpdump(Receiver):
    needs = ("tcpdump",)

    def command(self):
        snap = ["-s", str(self.arguments.snaplen)] if self.arguments.snaplen else []
        return ["tcpdump", "-i", self.interface, "-B", "65536", *snap, "-w", "/dev/null"]

    def outcome(self):
        told = {name: int(number) for number, name in re.findall(r"(\d+) packets (\w+)", self.log.read_text())}
        return told.get("captured"), told.get("dropped")


class Softflowd(Receiver):
    """It tells its counts on a control socket."""

    needs, ready = ("softflowd", "softflowctl"), "softflowd"

    def command(self):
        control = ["-c", str(self.folder / "control"), "-p", str(self.folder / "pid")]
        flows = ["-d", "-v9", "-6", "-m", "1000000", "-n", "127.0.0.1:9", "-B", "67108864"]
        return ["softflowd", "-i", self.interface, *control, *flows]

    def details(self):
        words = subprocess.run(
            ["softflowctl", "-c", str(self.folder / "control"), "statistics"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        processed = sum(
            int(re.search(rf"{name}: (\d+)", words)[1]) for name in ("Packets processed", "Ignored packets")
        )
        self.counts = processed, int(re.search(r"dropped by libpcap: (\d+)", words)[1])
        return {}

    def outcome(self):
        return self.counts


class Argus(Receiver):
    """It writes flow records; the packets it has seen are their sum."""

    needs, ready = ("argus", "racount"), ""

    def command(self):
        return ["argus", "-X", "-i", self.interface, "-w", str(self.folder / "records")]

    def wait_for(self, text, seconds=60):  # noqa: ARG002 it says nothing
        deadline = time.monotonic() + seconds
        while not (self.folder / "records").exists() and time.monotonic() < deadline:
            pause(0.05)
        pause(1)

    def outcome(self):
        words = subprocess.run(
            ["racount", "-r", str(self.folder / "records")], capture_output=True, text=True, check=True
        ).stdout
        return int(re.search(r"sum\s+\d+\s+(\d+)", words)[1]), None


RECEIVERS = {
    "null reader of the ring": NullRing,
    "ring and decode": Ring,
    "collector": Collector,
    "tcpdump -w /dev/null": Tcpdump,
    "softflowd": Softflowd,
    "argus": Argus,
}


def missing(receiver):
    """Return the programs of a receiver that are not installed."""
    return [program for program in receiver.needs if shutil.which(program) is None]
