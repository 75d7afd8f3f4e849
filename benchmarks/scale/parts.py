"""What each part of a running compose stack takes: python -m benchmarks.scale.parts [--seconds 60] [--datagrams 60000].

The stack runs already (`make up`). ``--datagrams`` sends so many a second over loopback meanwhile, which the collector
captures, so that all parts behind it have work. Printed: mean cores and the largest memory, as Docker counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from typing import Final

_UNITS: Final = {"B": 1, "kB": 1000, "KiB": 1 << 10, "MB": 10**6, "MiB": 1 << 20, "GB": 10**9, "GiB": 1 << 30}
#: Flows that the datagrams belong to, and their bytes.
_FLOWS: Final = 400
_BYTES: Final = 100


def send(rate: int, over: threading.Event) -> None:
    """Send datagrams on loopback until told to end; nobody reads them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        flows = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(_FLOWS)]
        for flow in flows:
            flow.connect(sink.getsockname())
        payload, sent, begun = os.urandom(_BYTES), 0, time.perf_counter()
        while not over.is_set():
            # A machine that is too slow for the rate must come to the end as well.
            while sent < (time.perf_counter() - begun) * rate and not over.is_set():
                for flow in flows:
                    flow.send(payload)
                sent += _FLOWS
            over.wait(0.002)
        for flow in flows:
            flow.close()


def sample() -> dict[str, tuple[float, float]]:
    """Return cores and bytes by container, of those that run now."""
    command = ["docker", "stats", "--no-stream", "--format", "{{json .}}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    return {
        row["Name"]: (float(row["CPUPerc"].rstrip("%")) / 100, _size(row["MemUsage"])) for row in map(json.loads, lines)
    }


def _size(text: str) -> float:
    number = text.partition(" / ")[0].strip()
    unit = number.lstrip("0123456789.")
    return float(number.removesuffix(unit)) * _UNITS[unit]


def main() -> int:
    """Measure for a while and print a line a container."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.parts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--datagrams", type=int, default=0, help="a second, over loopback")
    options = parser.parse_args()
    over = threading.Event()
    sender = threading.Thread(target=send, args=(options.datagrams, over))
    if options.datagrams:
        sender.start()
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    try:
        end = time.monotonic() + options.seconds
        while time.monotonic() < end:
            for name, values in sample().items():
                seen[name].append(values)
    finally:
        over.set()
    for name, samples in sorted(seen.items()):
        cores = sum(cores for cores, _ in samples) / len(samples)
        memory = max(size for _, size in samples) / (1 << 20)
        sys.stdout.write(f"{name:32} {cores:6.3f} cores {memory:8.1f} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
