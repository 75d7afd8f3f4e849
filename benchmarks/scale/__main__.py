"""Measure: python -m benchmarks.scale [--nodes 200] [--seconds 10] [--json FILE].

Servers, services and synthetic nodes share this machine's processors, so the figures are a floor. Each phase is bounded
in time. Printed: what was taken, at what cost in processor time and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scale.nodes import Node, messages
from streamgauge.bus import Bus
from streamgauge.demo.services import ServiceProcess
from streamgauge.embedded import NatsServer, S3Server, free_ports
from streamgauge.settings import NatsSettings

_TICK = os.sysconf("SC_CLK_TCK")
#: Seconds without news after which a service has caught up; longer than compiling its kernels takes the first time.
_QUIET = 40.0
#: Seconds a service may take at the most.
_LONGEST = 240.0


def usage(pid: int) -> tuple[float, float]:
    """Return a process's seconds of processor time and its largest memory in MiB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    return (int(fields[11]) + int(fields[12])) / _TICK, int(status["VmHWM"].split()[0]) / 1024


async def publish(
    nats: NatsServer, settings: NatsSettings, template: list[Any], options: Any, pause: float
) -> dict[str, float]:
    """Let all nodes publish for a while; return what NATS took."""
    nodes = [Node(f"node-{number:04}", settings, template) for number in range(options.nodes)]
    for node in nodes:
        await node.start()
    assert nats.process is not None
    before, _ = usage(nats.process.pid)
    begun = time.perf_counter()
    await asyncio.gather(*(node.send(begun + options.seconds, pause) for node in nodes))
    seconds = time.perf_counter() - begun
    after, memory = usage(nats.process.pid)
    for node in nodes:
        await node.stop()
    waits = sorted(wait for node in nodes for wait in node.waits)
    return {
        "messages_per_second": len(waits) / seconds,
        "mib_per_second": sum(node.bytes for node in nodes) / seconds / 2**20,
        "rows_per_second": sum(node.rows for node in nodes) / seconds,
        "rows": sum(node.rows for node in nodes),
        "wait_median_ms": waits[len(waits) // 2] * 1000,
        "wait_p99_ms": waits[int(len(waits) * 0.99)] * 1000,
        "nats_cores": (after - before) / seconds,
        "nats_mib": memory,
    }


async def consume(service: ServiceProcess, metric: str, expected: float) -> dict[str, float]:
    """Run a service until it has ``expected`` rows, or no more come; return what it took."""
    service.start()
    try:
        await service.ready()
        assert service.process is not None
        marks = [(time.perf_counter(), 0.0, usage(service.process.pid)[0])]
        deadline = time.perf_counter() + _LONGEST
        while time.perf_counter() < deadline:
            page = await service.page()
            taken = float(page.total(metric)) if page else 0.0
            if taken > marks[-1][1]:
                marks.append((time.perf_counter(), taken, usage(service.process.pid)[0]))
            if taken >= expected or time.perf_counter() - marks[-1][0] > _QUIET:
                break
            await asyncio.sleep(0.1)
        # From the first rows on, where there are more than one mark after them: what came before is the start.
        (first_time, first, first_cpu), (last_time, last, last_cpu) = marks[1 if len(marks) > 2 else 0], marks[-1]
        _, memory = usage(service.process.pid)
        seconds = max(last_time - first_time, 1e-9)
        return {
            "rows_per_second": (last - first) / seconds,
            "rows": last,
            "cpu_us_per_row": (last_cpu - first_cpu) / max(last - first, 1) * 1e6,
            "mib": memory,
        }
    finally:
        service.kill()


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run all phases."""
    folder = Path(options.folder or tempfile.mkdtemp(prefix="sg-scale-"))
    result: dict[str, Any] = {"nodes": options.nodes, "seconds": options.seconds, "processors": os.cpu_count()}
    small, large = messages(20_000, 250), messages(200_000, 65_536)
    result["small"] = {
        "rows": sum(one.envelope.rows for one in small) / len(small),
        "bytes": sum(len(one.payload) for one in small) / len(small),
    }
    result["large"] = {
        "rows": sum(one.envelope.rows for one in large) / len(large),
        "bytes": sum(len(one.payload) for one in large) / len(large),
    }
    with NatsServer(folder / "quiet") as nats:
        settings = await _stream(nats)
        result["nats_small"] = await publish(nats, settings, small, options, 0.0)
        result["nats_paced"] = await publish(nats, settings, small, options, 1.0)
    with NatsServer(folder / "busy") as nats, S3Server(folder) as s3:
        settings = await _stream(nats)
        result["nats_large"] = await publish(nats, settings, large, options, 0.0)
        common = {"STREAMGAUGE_NATS_URL": nats.url}
        (port,) = free_ports(1)
        exporter = ServiceProcess(
            "exporter",
            {**common, "STREAMGAUGE_EXPORTER_REPLAY": "true", "STREAMGAUGE_EXPORTER_MAX_LAG": "1e12"},
            port=port,
            folder=folder,
        )
        result["exporter"] = await consume(exporter, "packets_total", result["nats_large"]["rows"])
        (port,) = free_ports(1)
        storage = {
            "STREAMGAUGE_S3_ENDPOINT": s3.endpoint,
            "STREAMGAUGE_S3_SECURE": "false",
            "STREAMGAUGE_S3_ACCESS_KEY": s3.access_key,
            "STREAMGAUGE_S3_SECRET_KEY": s3.secret_key,
            "STREAMGAUGE_BACKUP_SHARDS": "0",
            "STREAMGAUGE_BACKUP_ROTATE_SECONDS": "5",
        }
        backup = ServiceProcess("backup", {**common, **storage}, port=port, folder=folder)
        result["backup_shard"] = await consume(backup, "stored_packets_total", float("inf"))
    return result


async def _stream(nats: NatsServer) -> NatsSettings:
    settings = NatsSettings(url=nats.url, max_bytes=8 << 30)
    bus = Bus(settings, "bootstrap")
    await bus.start()
    await bus.ensure_stream()
    await bus.stop()
    return settings


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--nodes", type=int, default=200, help="synthetic nodes (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each publishing phase (default: %(default)s)")
    parser.add_argument("--folder", help="where the servers keep their data (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="also write the figures to a file")
    options = parser.parse_args()
    result = asyncio.run(measure(options))
    text = json.dumps(result, indent=2)
    sys.stdout.write(f"{text}\n")
    if options.json:
        options.json.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
