"""Live capture beside other programs, on a wire between two namespaces: python benchmarks/live.py [--rounds N]

A sender on one core sends a generated trace as fast as it can (sendmmsg, past the queueing discipline); a receiver on
the other core captures it. Receivers take turns, N rounds, medians are printed: the packet ring with the decoder alone,
the whole collector (ring, decode, batch, encode, acknowledged publish into a real nats-server), tcpdump -w /dev/null,
and softflowd, where these are installed. The kernel's part of receiving runs on the sender's core, whoever receives.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

HERE_END, THERE_END, NAMESPACE = "sgbench0", "sgbench1", "sgbench"
SENDER_CORE, RECEIVER_CORE = 0, 1

SENDER = """
import ctypes, socket, sys, time
import numpy as np
from streamgauge.decode.capture_file import open_capture
path, interface, packets = sys.argv[1], sys.argv[2], int(sys.argv[3])
data = np.fromfile(path, np.uint8)
offsets, lengths, base = [], [], 24
with open_capture(path) as capture:
    for _, index, count in capture.blocks():
        lengths.append(index.captured[:count].astype(np.int64))
lengths = np.concatenate(lengths)
offsets = 24 + np.concatenate([[0], np.cumsum(lengths + 16)[:-1]]) + 16
vectors = np.empty((len(lengths), 2), np.uint64)
vectors[:, 0], vectors[:, 1] = data.ctypes.data + offsets, lengths
messages = np.zeros((len(lengths), 8), np.uint64)  # struct mmsghdr: 64 bytes; the vector, and how many
messages[:, 2] = vectors.ctypes.data + 16 * np.arange(len(lengths), dtype=np.uint64)
messages[:, 3] = 1
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
wire.setsockopt(263, 20, 1)  # PACKET_QDISC_BYPASS
wire.bind((interface, 0))
send = ctypes.CDLL(None, use_errno=True).sendmmsg
send.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
at = sent = refused = 0
start = time.perf_counter()
while sent < packets:
    burst = min(64, packets - sent, len(lengths) - at)
    done = send(wire.fileno(), messages.ctypes.data + 64 * at, burst, 0)
    if done < 0:
        refused += 1
        continue
    sent += done
    at = (at + done) % len(lengths)
print(sent, time.perf_counter() - start, refused)
"""

RING = """
import json, resource, signal, sys, threading, time
from services.collector.sources.ring import RingSource
from services.collector.sources.ring_kernels import index_block
from streamgauge.decode import Decoder, warm_up
from streamgauge.rows import Rows
from streamgauge.settings import CollectorSettings
import numpy as np
from streamgauge.decode import new_index
warm_up()
block = np.zeros(4096, np.uint8)
index_block(block.view(np.uint32), block.view(np.uint16), 0, new_index(8))
source = RingSource(CollectorSettings(interface=sys.argv[1], snaplen=int(sys.argv[2])))
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
source.open()
rows, decoder, packets = Rows(32768), Decoder(), 0
cpu = time.process_time()
for block in source.blocks(stop):
    at = block.first
    while at < block.last:
        if len(rows) == rows.capacity:
            rows.clear()
        at += decoder.decode(block.data, block.packets, at, block.last, rows)
    packets += block.last
del block
counts = source.counts()
print(json.dumps({"cpu": time.process_time() - cpu, "received": packets, "dropped": counts.dropped}))
source.close()
"""


@contextmanager
def wire():
    """Join this namespace with another by a pair of interfaces on which the kernel itself is silent."""

    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True)

    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", HERE_END, "type", "veth", "peer", "name", THERE_END, "netns", NAMESPACE)
        for where, name in (((), HERE_END), (("-n", NAMESPACE), THERE_END)):
            ip(*where, "link", "set", name, "addrgenmode", "none", "mtu", "9000", "up")
        yield
    finally:
        ip("netns", "del", NAMESPACE)


def arrived():
    return int(Path(f"/sys/class/net/{HERE_END}/statistics/rx_packets").read_text())


def send(trace, packets):
    """Send the trace; return packets/s."""
    command = ["ip", "netns", "exec", NAMESPACE, "taskset", "-c", str(SENDER_CORE), sys.executable, "-c", SENDER]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [*command, trace, THERE_END, str(packets)], capture_output=True, check=True, env=environment, timeout=300
    )
    sent, seconds, _ = done.stdout.split()
    return int(sent) / float(seconds)


def cpu_of(process):
    """Return the CPU seconds of a running process, all threads."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(command, log, **environment):
    return subprocess.Popen(
        ["taskset", "-c", str(RECEIVER_CORE), *command],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)} | environment,
        cwd=HERE.parent,
    )


def wait_for(log, text, seconds=60):
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while text not in Path(log.name).read_text():
        if time.monotonic() > deadline:
            raise SystemExit(f"no {text!r} from a receiver: {Path(log.name).read_text()[-500:]}")
        pause.wait(0.02)


def settled(probe, seconds=60):
    """Wait until a number no longer changes; return it."""
    pause, last, deadline = threading.Event(), -1, time.monotonic() + seconds
    while (now := probe()) != last and time.monotonic() < deadline:
        last = now
        pause.wait(0.5)
    return last


def ring(folder, trace, arguments):
    with (folder / "ring.log").open("w+b") as log:
        process = start([sys.executable, "-c", RING, HERE_END, str(arguments.snaplen)], log)
        wait_for(log, "capturing")
        rate = send(trace, arguments.packets)
        settled(arrived)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        outcome = json.loads(Path(log.name).read_text().splitlines()[-1])
    return {"rate": rate, **outcome}


def collector(folder, trace, arguments):
    from streamgauge.embedded import NatsServer

    with NatsServer(folder) as server:
        return run_collector(folder, trace, arguments, server.url)


def run_collector(folder, trace, arguments, url):
    settings = {
        "STREAMGAUGE_NATS_URL": url,
        "STREAMGAUGE_COLLECTOR_INTERFACE": HERE_END,
        "STREAMGAUGE_COLLECTOR_SNAPLEN": str(arguments.snaplen),
        "STREAMGAUGE_COLLECTOR_PORT": "0",
        "STREAMGAUGE_COLLECTOR_NODE": "bench",
        "STREAMGAUGE_NATS_MAX_BYTES": str(4 << 30),
        **dict(setting.split("=", 1) for setting in arguments.set),
    }
    with (folder / "collector.log").open("w+b") as log:
        process = start([sys.executable, "-m", "services.collector"], log, **settings)
        wait_for(log, "capturing")
        wait_for(log, "stream found")
        address = re.search(r"http://[0-9.:]+/metrics", Path(log.name).read_text())[0]
        before = cpu_of(process)
        began = time.monotonic()
        rate = send(trace, arguments.packets)
        settled(arrived)
        settled(lambda: metrics(address)["published_packets_total"])
        seconds = time.monotonic() - began
        page = metrics(address)
        cpu = cpu_of(process) - before
        memory = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())[1]) // 1024
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    return {
        "rate": rate,
        "cpu": cpu,
        "received": int(page["capture_packets_total"]),
        "dropped": int(page["kernel_dropped"]),
        "published": int(page["published_packets_total"]),
        "evicted": int(page["evicted"]),
        "messages": int(page["published_batches_total"]),
        "payload bytes/packet": page["published_payload_bytes_total"] / max(page["published_packets_total"], 1),
        "peak MiB": memory,
        "seconds": seconds,
    }


def metrics(address):
    page = {}
    with urllib.request.urlopen(address) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("streamgauge_"):
                series, _, value = line.rpartition(" ")
                name = series.partition("{")[0].removeprefix("streamgauge_")
                if name == "lost_packets_total":
                    name = "kernel_dropped" if 'stage="kernel"' in series else "evicted"
                page[name] = float(value)
    return page


def program(command, stop_signal=signal.SIGINT, ready="listening"):
    """Return a receiver that is a program of others."""

    def run(folder, trace, arguments):
        with (folder / "program.log").open("w+b") as log:
            process = start(command, log)
            wait_for(log, ready)
            rate = send(trace, arguments.packets)
            ours = resource.getrusage(resource.RUSAGE_CHILDREN)  # the sender's
            settled(arrived)
            process.send_signal(stop_signal)
            process.wait(60)
            words = Path(log.name).read_text()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        counts = {
            name: int(number) for number, name in re.findall(r"(\d+) packets (captured|dropped by kernel)", words)
        }
        return {
            "rate": rate,
            "cpu": after.ru_utime + after.ru_stime - ours.ru_utime - ours.ru_stime,
            "received": counts.get("captured", arguments.packets),
            "dropped": counts.get("dropped by kernel", -1),
        }

    return run


def contestants(arguments):
    snap = ["-s", str(arguments.snaplen)] if arguments.snaplen else []
    every = {
        "ring and decode": ring,
        "collector": collector,
        "tcpdump -w /dev/null": program(["tcpdump", "-i", HERE_END, "-B", "65536", *snap, "-w", "/dev/null"]),
        "softflowd": program(
            ["softflowd", "-i", HERE_END, "-d", "-v9", "-6", "-m", "1000000", "-n", "127.0.0.1:9", "-B", "67108864"],
            ready="softflowd",
        ),
    }
    ours = ("ring and decode", "collector")
    return {
        name: run
        for name, run in every.items()
        if name in (arguments.only or every) and (name in ours or shutil.which(name.split()[0]))
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--snaplen", type=int, default=0, help="bytes captured of each packet; 0: all")
    parser.add_argument("--only", nargs="*", help="names of receivers; default: all")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the collector, NAME=VALUE")
    parser.add_argument("--json", type=Path, help="also write every figure here")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("needs root, for a network namespace and packet sockets")
    receivers = contestants(arguments)
    figures = {name: [] for name in receivers}
    with tempfile.TemporaryDirectory() as scratch, wire():
        trace = str(Path(scratch, "trace.pcap"))
        subprocess.run([sys.executable, HERE / "trace.py", trace, "--packets", "200000"], check=True)
        for number in range(arguments.rounds):
            for name, run in receivers.items():
                folder = Path(scratch, f"{name.split()[0]}-{number}")
                folder.mkdir()
                outcome = run(folder, trace, arguments)
                outcome["ns"] = outcome["cpu"] * 1e9 / max(outcome["received"], 1)
                figures[name].append(outcome)
                shutil.rmtree(folder)
    report(figures, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def report(figures, arguments):
    """Print medians, and of losses the worst."""
    print(
        f"{arguments.packets:,} packets sent a round, {arguments.rounds} rounds interleaved, medians; losses: the worst"
    )
    for name, rounds in figures.items():
        middle = {key: statistics.median(entry[key] for entry in rounds) for key in rounds[0]}
        worst = max(entry["dropped"] for entry in rounds)
        print(
            f"{name:22} sent {middle['rate'] / 1000:6,.0f} k/s   received {middle['received']:>11,.0f}   "
            f"kernel drops {'not told' if worst < 0 else worst}   {middle['ns']:6,.0f} ns CPU a packet"
        )
        extra = {key: value for key, value in middle.items() if key not in ("rate", "cpu", "received", "dropped", "ns")}
        if extra:
            print(" " * 23 + ", ".join(f"{key} {value:,.0f}" for key, value in extra.items()))


if __name__ == "__main__":
    main()
