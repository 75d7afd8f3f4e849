"""Start to first acknowledged batch, beside the bare imports: python -m benchmarks.start [--rounds N]

A collector reads a capture of 1,000 packets, publishes it into a real nats-server and ends; its kernels are compiled
and in the cache. CPU time is what the start costs; wall time depends on what else the machine does. Least of N.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from streamgauge.embedded import NatsServer

HERE = Path(__file__).parent
IMPORTS = "import numpy, pyarrow, numba, nats, structlog, uvicorn, starlette.applications, pydantic"


def run(command, **environment):
    """Return the CPU and the wall time of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=HERE.parent, env=os.environ | environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, NatsServer(Path(folder)) as server:
        trace = str(Path(folder, "trace.pcap"))
        subprocess.run([sys.executable, HERE / "trace.py", trace, "--packets", "1000"], check=True)
        settings = {
            "STREAMGAUGE_NATS_URL": server.url,
            "STREAMGAUGE_NATS_MAX_BYTES": str(64 << 20),
            "STREAMGAUGE_COLLECTOR_NODE": "bench",
            "STREAMGAUGE_COLLECTOR_PORT": "0",
            "STREAMGAUGE_COLLECTOR_SOURCE": "file",
            "STREAMGAUGE_COLLECTOR_FILE": trace,
        }
        for name, command, environment in (
            ("imports alone", [sys.executable, "-c", IMPORTS], {}),
            ("collector --help", [sys.executable, "-m", "services.collector", "--help"], {}),
            ("collector, start to end", [sys.executable, "-m", "services.collector"], settings),
        ):
            run(command, **environment)
            taken = [run(command, **environment) for _ in range(rounds)]
            cpu, wall = (min(part) for part in zip(*taken, strict=True))
            print(f"{name:26}{cpu:6.2f} s CPU{wall:8.2f} s wall")


if __name__ == "__main__":
    main()
