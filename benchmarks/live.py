"""Live capture beside other programs, on a wire between two namespaces: python -m benchmarks.live [--rounds N]

A sender on one core sends a generated trace as fast as it can (sendmmsg, past the queueing discipline); a receiver on
the other core captures it. Receivers take turns, N rounds; of CPU the medians and minima are printed, of losses the
worst. Each is warmed up first. The kernel's part of receiving runs on the sender's core, whoever receives. The packet
ring is there three times: its packets counted only, decoded, and with the whole collector behind (decode, health,
batch, encode, acknowledged publish into a real nats-server).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from benchmarks.receivers import HERE, RECEIVERS, cpu_ns, missing, peak_mebibytes, settled

HERE_END, THERE_END, NAMESPACE = "sgbench0", "sgbench1", "sgbench"
SENDER_CORE = 0
#: Packets sent before measuring: memory is touched, flows are known.
WARM_UP = 100_000

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


def measure(receiver, trace, packets):
    """Send the trace to a receiver; return what it took."""
    with receiver.running() as process:
        for count in (WARM_UP, packets):
            before = cpu_ns(process)
            rate = send(trace, count)
            settled(arrived)
            receiver.finished()
            cpu = cpu_ns(process) - before
        figures = {"rate": rate, "ns": cpu / packets, "peak MiB": peak_mebibytes(process), **receiver.details()}
    received, dropped = receiver.outcome()
    figures["lost"] = None if received is None else WARM_UP + packets - received
    figures["dropped"] = dropped
    if hasattr(receiver, "latencies"):
        figures["p50 ms"], figures["p99 ms"] = receiver.latencies
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--snaplen", type=int, default=0, help="bytes captured of each packet; 0: all")
    parser.add_argument("--only", nargs="*", help=f"of {', '.join(RECEIVERS)}; default: all")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the collector, NAME=VALUE")
    parser.add_argument("--json", type=Path, help="also write every figure here")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("needs root, for a network namespace and packet sockets")
    receivers = {name: kind for name, kind in RECEIVERS.items() if name in (arguments.only or RECEIVERS)}
    absent = {program for kind in receivers.values() for program in missing(kind)}
    if absent:
        raise SystemExit(
            f"not installed: {', '.join(sorted(absent))}; `make system` installs them, --only leaves them out"
        )
    figures = {name: [] for name in receivers}
    with tempfile.TemporaryDirectory() as scratch, wire():
        trace = str(Path(scratch, "trace.pcap"))
        subprocess.run([sys.executable, HERE / "trace.py", trace, "--packets", "200000"], check=True)
        for number in range(arguments.rounds):
            for name, kind in receivers.items():
                folder = Path(scratch, f"{kind.__name__}-{number}")
                folder.mkdir()
                figures[name].append(measure(kind(folder, HERE_END, arguments), trace, arguments.packets))
                shutil.rmtree(folder)
    report(figures, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def report(figures, arguments):
    """Print one line a receiver, and ours against the others."""
    print(f"{arguments.packets:,} packets a round, {arguments.rounds} rounds interleaved; CPU of the receiver alone")
    print(f"{'':24}{'sent k/s':>9}{'CPU ns/packet':>15}{'least':>7}{'lost':>8}{'dropped':>9}{'peak MiB':>10}")
    for name, rounds in figures.items():
        nanoseconds = [entry["ns"] for entry in rounds]
        lost, dropped = worst(rounds, "lost"), worst(rounds, "dropped")
        rate, memory = (statistics.median(entry[key] for entry in rounds) for key in ("rate", "peak MiB"))
        print(
            f"{name:24}{rate / 1000:9,.0f}{statistics.median(nanoseconds):15,.0f}{min(nanoseconds):7,.0f}"
            f"{lost:>8}{dropped:>9}{memory:10,.0f}"
        )
    for rounds in (figures.get("collector"),):
        if rounds:
            told = {
                key: statistics.median(entry[key] for entry in rounds) for key in rounds[0] if "ms" in key or "/" in key
            }
            print(
                "collector, from capture to the acknowledgement: " + ", ".join(f"{k} {v:,.0f}" for k, v in told.items())
            )
    for ours, theirs in (
        ("ring and decode", "tcpdump -w /dev/null"),
        ("collector", "softflowd"),
        ("collector", "argus"),
    ):
        if ours in figures and theirs in figures:
            pairs = list(zip(figures[ours], figures[theirs], strict=True))
            middle = statistics.median(a["ns"] / b["ns"] for a, b in pairs)
            least = min(a["ns"] for a, _ in pairs) / min(b["ns"] for _, b in pairs)
            print(f"{ours} : {theirs}  {middle:.2f} (median of rounds), {least:.2f} (least of each)")


def worst(rounds, key):
    values = [entry[key] for entry in rounds]
    return "not told" if None in values else f"{max(values):,}"


if __name__ == "__main__":
    main()
