"""Each named query over 50 million stored rows, beside tshark: python -m benchmarks.query [--folder F] [--s3]

The rows are a generated trace of an hour (benchmarks/trace.py: a million packets in each 72 s) with the incidents that
the queries look for (tests/support/incidents.py), decoded and written by the parts that do it in service. They are made
once and kept in the folder; 50 objects of a million rows take 850 MB. Who had which address is stored, too: 5,900 pods,
and some addresses change hands.

tshark answers from packets what the queries answer from rows. It reads a slice, a capture of its own made the same way
with 200,000 packets by default, and ours reads the objects of that slice, too. It prints the packets the question is
about; adding them up is left out, in its favour. All run in turn, in one go; both processes are new each time.

Printed: wall and processor seconds (of all threads), bytes read and objects opened of ours over all rows; then the
slice: ours, tshark, how many times longer tshark takes, and the same by packet if ours reads all rows: tshark's time is
taken to grow with the packets, which is kind to it (its memory grows with the streams).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import trace
from streamgauge.demo.packets import pcap
from streamgauge.embedded import S3Server
from streamgauge.identity.events import Binding, Event
from streamgauge.query import named
from streamgauge.settings import S3Settings
from streamgauge.store import Store
from tests.support import incidents
from tests.support.archive import Archive, messages

START = 1_795_600_800  # 2026-11-25T10:00:00Z
SPAN = 72  # seconds of one object
PACKETS = 1_000_000  # of one object
ROOT = Path(__file__).parents[2]

GIVEN = {"pod-activity": ["-p", "pod=clients/client-11"], "new-destinations": ["-p", "new_since=2026-11-25T10:00:30"]}

SYN = "tcp.flags.syn == 1 && tcp.flags.ack == 0"
FIELDS = ["-e", "frame.time_epoch", "-e", "ip.src", "-e", "ip.dst"]
TSHARK = {
    "top-talkers": ["-q", "-z", "conv,ip"],
    "new-destinations": ["-q", "-z", "conv,tcp", "-z", "conv,udp"],
    "dns-failures": ["-Y", "dns.flags.rcode > 0", "-T", "fields", *FIELDS, "-e", "dns.qry.name"],
    "slow-handshakes": ["-Y", "tcp.analysis.initial_rtt >= 0.1", "-T", "fields", *FIELDS, "-e", "tcp.stream"],
    "old-tls": ["-Y", "tls.handshake.type == 2 && tls.handshake.version < 0x0303", "-T", "fields", *FIELDS],
    "beacons": ["-Y", SYN, "-T", "fields", *FIELDS, "-e", "tcp.dstport"],
    "egress": ["-Y", "ip.src == 10.0.0.0/8 && !(ip.dst == 10.0.0.0/8)", "-T", "fields", *FIELDS, "-e", "frame.len"],
    "port-scans": ["-Y", SYN, "-T", "fields", *FIELDS, "-e", "tcp.dstport"],
    "retransmissions": ["-Y", "tcp.analysis.retransmission", "-T", "fields", *FIELDS],
    "pod-activity": ["-Y", "ip.addr == 10.0.0.11", "-T", "fields", *FIELDS, "-e", "frame.len", "-e", "dns.qry.name"],
}
#: Where the packets tshark prints can be counted in our answer: the column to add up.
COUNTED = {"dns-failures": "failures", "old-tls": "handshakes"}


def write_capture(path: Path, start: int, packets: int, seed: int) -> None:
    """Write a capture of ``SPAN`` seconds: the trace and the incidents."""
    trace.START, trace.MEAN_GAP = start, SPAN * 1_000_000_000 // packets
    trace.write_trace(path, packets, seed)
    # The trace has microseconds, what is added has nanoseconds: its times are whole microseconds.
    extra = bytearray(pcap(incidents.incidents(start * 10**9)))
    at = 24
    while at < len(extra):
        fraction = int.from_bytes(extra[at + 4 : at + 8], "little")
        extra[at + 4 : at + 8] = (fraction // 1000).to_bytes(4, "little")
        at += 16 + int.from_bytes(extra[at + 8 : at + 12], "little")
    with path.open("ab") as handle:
        handle.write(extra[24:])


def make(folder: Path, objects: int, slice_packets: int) -> None:
    """Write the objects and the slice, unless they are there."""
    noted = folder / "made.json"
    wanted = {"objects": objects, "slice": slice_packets}
    if noted.exists() and json.loads(noted.read_text()) == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive, capture = Archive(folder / "all"), folder / "part.pcap"
    for number in range(objects):
        write_capture(capture, START + SPAN * number, PACKETS, number + 1)
        archive.add(messages(capture, node=f"node-{number % 4}", boot=f"boot-{number}"), shard=number % 8)
        print(f"\rwritten: {archive.rows:,} rows", end="", file=sys.stderr)
    print(file=sys.stderr)
    capture.unlink()
    write_capture(folder / "slice.pcap", START, slice_packets, 1)
    part = Archive(folder / "slice")
    part.add(messages(folder / "slice.pcap", node="node-0"))
    for each in (archive, part):
        write_names(each)
    noted.write_text(json.dumps(wanted))


def write_names(archive: Archive) -> None:
    """Write a snapshot of who has addresses of the trace: all servers, some clients, a few one after another."""
    change = START + SPAN
    pods = [_pod(f"10.128.{number // 256}.{number % 256}", "servers", f"server-{number}") for number in range(900)]
    for number in range(5_000):
        ip, handed_over = f"10.0.{number // 256}.{number % 256}", number % 50 == 0
        pods.append(_pod(ip, "clients", f"client-{number}", end=change if handed_over else None))
        if handed_over:
            pods.append(_pod(ip, "clients", f"later-{number}", begin=change))
    time_ns = START * 10**9
    archive.add_records("identity", Event("bench", time_ns, tuple(pods), time_ns, len(pods)).rows(time_ns))


def _pod(ip: str, namespace: str, name: str, begin: int = START - 3600, end: int | None = None) -> Binding:
    """Return who had an address between two times (s); ten pods are a workload."""
    workload = name.rpartition("-")[0] + f"-{int(name.rpartition('-')[2]) // 10}"
    times = begin * 10**9, None if end is None else end * 10**9
    return Binding(ip, "pod", f"{name}-uid", namespace, name, workload, "Deployment", "node-0", False, *times)


def run(command: list[str], settings: dict[str, str] | None = None) -> tuple[float, float, str, str]:
    """Run a program; return wall and processor seconds, its output and its words."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, **(settings or {})}
    )
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used, done.stdout, done.stderr


def ours(name: str, where: list[str], settings: dict[str, str] | None = None) -> tuple[float, float, str, str]:
    """Ask a named query, as a person would."""
    program = [sys.executable, "-m", "streamgauge.cli.main", "query", name, "--stats", "--format", "ndjson"]
    return run([*program, *GIVEN.get(name, []), "--since", "2026-11-25T00:00", *where], settings)


@contextlib.contextmanager
def places(folder: Path, *, s3: bool):
    """Yield arguments and settings with which all rows are read: the folder, or an S3 server that has them."""
    if not s3:
        yield ["--path", str(folder / "all")], None
        return
    with tempfile.TemporaryDirectory() as scratch, S3Server(Path(scratch)) as server:
        settings = {
            "endpoint": server.endpoint,
            "secure": False,
            "access_key": server.access_key,
            "secret_key": server.secret_key,
        }
        objects = {path.relative_to(folder / "all").as_posix(): path for path in folder.glob("all/**/*.parquet")}
        asyncio.run(_upload(Store(S3Settings.model_validate(settings)), objects))
        yield (
            [],
            {
                f"STREAMGAUGE_S3_{name.upper()}": str(value).lower() if isinstance(value, bool) else value
                for name, value in settings.items()
            },
        )


async def _upload(store: Store, objects: dict[str, Path]) -> None:
    await store.start()
    for key, path in objects.items():
        await store.put(key, path.read_bytes())
    await store.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "streamgauge-bench-query")
    parser.add_argument("--objects", type=int, default=50, help="of a million packets each")
    parser.add_argument("--slice", type=int, default=200_000, help="packets of the slice that tshark reads, too")
    parser.add_argument("--s3", action="store_true", help="read all rows from an S3 server on this machine")
    parser.add_argument("--queries", nargs="*", default=list(named.all_named()))
    arguments = parser.parse_args()
    make(arguments.folder, arguments.objects, arguments.slice)
    rows = arguments.objects * PACKETS
    tshark = ["tshark", "-n", "-r", str(arguments.folder / "slice.pcap")]
    print(f"all: {rows / 1e6:.0f} M packets; slice: {arguments.slice:,} packets; seconds are wall / processor")
    print(f"{'query':18}{'all':>14}{'read':>11}{'':3}{'slice':>14}{'tshark':>16}{'times':>8}{'a packet':>10}")
    with places(arguments.folder, s3=arguments.s3) as (where, settings):
        for name in arguments.queries:
            wall, cpu, _, words = ours(name, where, settings)
            read = words.partition("objects, ")[2].partition(" read")[0]
            part, part_cpu, answer, _ = ours(name, ["--path", str(arguments.folder / "slice")])
            theirs, their_cpu, printed, _ = run([*tshark, *TSHARK[name]])
            packet = theirs / arguments.slice / (wall / rows)
            print(
                f"{name:18}{wall:7.1f} /{cpu:5.1f}{read:>11}{'':3}{part:7.1f} /{part_cpu:5.1f}"
                f"{theirs:9.1f} /{their_cpu:5.1f}{theirs / part:8.1f}{packet:10,.0f}{_same(name, answer, printed)}",
                flush=True,
            )


def _same(name: str, answer: str, printed: str) -> str:
    if name not in COUNTED:
        return ""
    counted = sum(json.loads(line)[COUNTED[name]] for line in answer.splitlines())
    return "  same count" if counted == len(printed.splitlines()) else f"  {counted} and {len(printed.splitlines())}"


if __name__ == "__main__":
    main()
