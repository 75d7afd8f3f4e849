"""Packets per second of the decoder beside other programs, interleaved: python benchmarks/decode.py [--rounds N]

Each contestant runs on one core, in turn, N rounds; medians are printed, with the ratio of our rate to theirs. Of
programs the whole process is measured, start-up included. Ours stands there three times: the decoder at work (file
read, indexed and decoded into row buffers; without interpreter start and loading of kernels, which come once in the
life of a service), the same with flow table and health columns, and the whole process. What each does is printed
beside it: tshark dissects every layer, softflowd keeps flows, no application fields, tcpdump -w copies packets unread,
dpkt and scapy read addresses, ports, names.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

GO_PATH = f"{os.environ.get('PATH', '')}:/usr/local/go/bin"

FIELDS = [
    "frame.time_epoch", "frame.len", "frame.cap_len", "eth.src", "eth.dst", "eth.type", "vlan.id", "ip.version",
    "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ip.proto", "ipv6.nxt", "ip.ttl", "ip.dsfield.dscp", "tcp.srcport",
    "tcp.dstport", "udp.srcport", "udp.dstport", "tcp.flags", "tcp.seq_raw", "tcp.ack_raw",
    "tcp.window_size_value", "dns.qry.name", "tls.handshake.extensions_server_name", "http.request.method",
    "http.host",
]  # fmt: skip

OURS = """
import json, sys, time
from streamgauge.decode import Decoder, warm_up
from streamgauge.decode.capture_file import open_capture
from streamgauge.rows import Rows
warm_up()
rows, decoder, packets = Rows(8192), Decoder(), 0
wall, cpu = time.perf_counter(), time.process_time()
with open_capture(sys.argv[1]) as capture:
    for data, index, count in capture.blocks():
        first = 0
        while first < count:
            rows.clear()
            first += decoder.decode(data, index, first, count, rows)
        packets += count
print(json.dumps([packets, time.perf_counter() - wall, time.process_time() - cpu]))
"""

HEALTH = """
import json, sys, time
from streamgauge import flows
from streamgauge.decode import Decoder, warm_up
from streamgauge.decode.capture_file import open_capture
from streamgauge.rows import Rows
warm_up()
flows.warm_up()
rows, decoder, table, packets = Rows(8192), Decoder(), flows.FlowTable(), 0
wall, cpu = time.perf_counter(), time.process_time()
with open_capture(sys.argv[1]) as capture:
    for data, index, count in capture.blocks():
        first = 0
        while first < count:
            rows.clear()
            reported = table.report(rows)
            first += decoder.decode(data, index, first, count, rows)
            table.fill(rows, reported)
        packets += count
print(json.dumps([packets, time.perf_counter() - wall, time.process_time() - cpu]))
"""

DPKT = """
import sys, dpkt
with open(sys.argv[1], 'rb') as file:
    for stamp, frame in dpkt.pcap.Reader(file):
        ethernet = dpkt.ethernet.Ethernet(frame)
        ip = ethernet.data
        if isinstance(ip, (dpkt.ip.IP, dpkt.ip6.IP6)) and isinstance(ip.data, (dpkt.tcp.TCP, dpkt.udp.UDP)):
            row = (stamp, ip.src, ip.dst, ip.data.sport, ip.data.dport)
            if ip.data.sport == 53 or ip.data.dport == 53:
                try:
                    name = dpkt.dns.DNS(ip.data.data).qd[0].name
                except (dpkt.UnpackError, IndexError):
                    pass
"""

SCAPY = """
import sys
from scapy.all import DNS, IP, TCP, UDP, PcapReader
for packet in PcapReader(sys.argv[1]):
    if IP in packet:
        row = (packet.time, packet[IP].src, packet[IP].dst)
        for layer in (TCP, UDP):
            if layer in packet:
                row += (packet[layer].sport, packet[layer].dport)
        if DNS in packet and packet[DNS].qd:
            name = packet[DNS].qd[0].qname
"""


def contestants(traces, go):
    """Return ``{name: (command, packets, what it does)}``; ``traces`` maps a packet count to a file."""
    full, middle, small = sorted(traces, reverse=True)
    fields = [part for field in FIELDS for part in ("-e", field)]
    return {
        "streamgauge": ([sys.executable, "-c", OURS, traces[full]], full, "all columns, without start-up"),
        "streamgauge with flows": (
            [sys.executable, "-c", HEALTH, traces[full]],
            full,
            "all columns, flow table and health, without start-up",
        ),
        "streamgauge, whole process": ([sys.executable, "-c", OURS, traces[full]], full, "the same, with start-up"),
        "tshark -T fields": (
            ["tshark", "-n", "-r", traces[middle], "-T", "fields", *fields],
            middle,
            f"{len(FIELDS)} fields, with start-up",
        ),
        "softflowd": (
            ["softflowd", "-r", traces[full], "-v9", "-6", "-m", "1000000", "-n", "127.0.0.1:9"],
            full,
            "flow table, no application",
        ),
        "gopacket": ([go or "gopacket", traces[full]], full, "DecodingLayerParser, columns not kept, with start-up"),
        "tcpdump -w": (["tcpdump", "-r", traces[full], "-w", "/dev/null"], full, "copies packets, reads no header"),
        "dpkt": ([sys.executable, "-c", DPKT, traces[middle]], middle, "addresses, ports, DNS names"),
        "scapy": ([sys.executable, "-c", SCAPY, traces[small]], small, "addresses, ports, DNS names"),
    }  # fmt: skip


def gopacket(folder):
    """Build the Go program beside this file; None where there is no Go."""
    if shutil.which("go", path=GO_PATH) is None:
        return None
    program = str(Path(folder, "gopacket"))
    command = ["go", "build", "-o", program, "."]
    built = subprocess.run(command, cwd=HERE / "gopacket", env=os.environ | {"PATH": GO_PATH}, check=False)
    return program if built.returncode == 0 else None


def loop(capture, path, packets, *, unique=False):
    """Repeat a classic pcap file until it holds so many packets; return how many it has.

    Unchanged, it is the same few flows again and again. ``unique`` gives each round addresses and times of its own, as
    tcpreplay's --unique-ip does, so that the flows grow as they do on a wire (IPv4 in untagged Ethernet).
    """
    content = np.fromfile(capture, np.uint8)
    little = bytes(content[:4]) in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1")
    kind = np.dtype("<u4" if little else ">u4")
    at, records = 24, []
    while at + 16 <= len(content):
        records.append(at)
        at += 16 + int(content[at + 8 : at + 12].view(kind)[0])
    records = np.array(records[: len(records) - (at > len(content))])
    content = content[: records[-1] + 16 + int(content[records[-1] + 8 :][:4].view(kind)[0])]
    seconds = records[:, None] + np.arange(4)
    times = content[seconds].view(kind)[:, 0]
    frames = records[records + 50 <= len(content)] + 16
    ipv4 = frames[(content[frames + 12] == 8) & (content[frames + 13] == 0)]
    rounds = -(-packets // len(records))
    with Path(path).open("wb") as file:
        file.write(content[:24].tobytes())
        for number in range(rounds):
            again = content.copy()
            if unique:
                for address in (26, 30):
                    again[ipv4 + address + 1] ^= number >> 8 & 0xFF
                    again[ipv4 + address + 2] ^= number & 0xFF
                later = times + number * (int(np.ptp(times)) + 1)
                again[seconds] = later.astype(kind).view(np.uint8).reshape(-1, 4)
            file.write(again[24:].tobytes())
    return len(records) * rounds


def run(name, command, packets, core):
    """Run one contestant on one core; return (packets/s by wall time, by CPU time)."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(["taskset", "-c", str(core), *command], capture_output=True, env=environment, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode:
        raise SystemExit(f"{name} failed: {done.stderr.decode(errors='replace')[-300:]}")
    if name in ("streamgauge", "streamgauge with flows"):
        packets, wall, cpu = json.loads(done.stdout)
    return packets / wall, packets / cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument(
        "--packets", type=int, nargs=3, default=(1_000_000, 100_000, 5_000), help="large, middle, small trace"
    )
    parser.add_argument("--only", nargs="*", help="names of contestants; default: all")
    parser.add_argument("--json", type=Path, help="also write the medians here")
    parser.add_argument("--capture", type=Path, help="loop this pcap file instead of making a trace")
    parser.add_argument("--unique", action="store_true", help="each round of the capture has flows of its own")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        traces = {}
        for count in arguments.packets:
            path = str(Path(folder, f"{count}.pcap"))
            if arguments.capture:
                traces[loop(arguments.capture, path, count, unique=arguments.unique)] = path
            else:
                subprocess.run([sys.executable, HERE / "trace.py", path, "--packets", str(count)], check=True)
                traces[count] = path
        go = gopacket(folder)
        chosen = {
            name: entry
            for name, entry in contestants(traces, go).items()
            if (not arguments.only or name in (*arguments.only, "streamgauge")) and (go or name != "gopacket")
        }
        rates = {name: [] for name in chosen}
        for number in range(-1, arguments.rounds):  # the first round warms caches and does not count
            for name, (command, packets, _) in chosen.items():
                if number >= 0 or name.startswith("streamgauge"):
                    rate = run(name, command, packets, arguments.core)
                    rates[name] += [rate] * (number >= 0)
    report(chosen, rates, arguments)


def ratios(rates, name, other):
    """Return how many times as fast one contestant is as another, by wall and by CPU time."""
    return [
        statistics.median(ours[part] / theirs[part] for ours, theirs in zip(rates[name], rates[other], strict=True))
        for part in (0, 1)
    ]


def report(chosen, rates, arguments):
    """Print the medians; the ratios are medians of each round's ratio."""
    medians = {name: [statistics.median(rate[part] for rate in rates[name]) for part in (0, 1)] for name in chosen}
    print(f"one core, {arguments.rounds} rounds interleaved, medians")
    print("thousand packets/s by wall and by CPU time; our rate : theirs, by both")
    for name, (_, packets, does) in chosen.items():
        ratio = ratios(rates, "streamgauge", name)
        wall, cpu = (f"{rate / 1000:10,.1f}" for rate in medians[name])
        print(f"{name:28}{wall}{cpu}  {ratio[0]:8,.1f} {ratio[1]:8,.1f}   {packets:,} packets; {does}")
    if {"streamgauge with flows", "softflowd"} <= chosen.keys():
        ratio = ratios(rates, "streamgauge with flows", "softflowd")
        print(f"flow table and health : softflowd, by wall and by CPU time {ratio[0]:.1f} {ratio[1]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(medians, indent=1))


if __name__ == "__main__":
    main()
