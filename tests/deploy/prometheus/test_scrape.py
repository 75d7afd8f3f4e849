"""A real Prometheus reads the running services, fed by a replayed capture: every rule and every panel has data."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from dataclasses import dataclass

import httpx
import pytest
import yaml

from grafana.generate import pages
from streamgauge.demo.services import ServiceProcess
from streamgauge.embedded import free_ports
from tests.support import packets as build
from tests.support import require
from tests.support.declared import PROMETHEUS, recorded
from tests.support.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

#: What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "10s", "$__range": "1m"} | dict.fromkeys(
    ("$cluster", "$interface", "$namespace", "$node", "$workload"), ".*"
)


def write_capture(path):
    """Write 300 packets, a millisecond apart: connections answered and not, DNS of all sorts, HTTP, a cut one."""
    name = b"\x03www\x07example\x03com\0"
    exchange = [build.ipv4(6, build.tcp(b"", flags=flags)) for flags in (0x02, 0x12, 0x10, 0x11, 0x14, 0x02)]
    exchange += [build.ipv4(17, build.udp(build.dns(name, flags=flags))) for flags in (0x0100, 0x8180, 0x8182, 0x8183)]
    request, response = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    exchange += [
        build.ipv4(6, build.tcp(request, target=80)),
        build.ipv4(6, build.tcp(response, source=80, target=40_000)),
    ]
    frames = [build.ethernet(0x0800, packet) for packet in exchange]
    frames.append(frames[0][:30])
    content = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for number in range(300):
        frame = frames[number % len(frames)]
        content += struct.pack("<IIII", 1_700_000_000, number * 1000, len(frame), len(frame)) + frame
    path.write_bytes(content)
    return path


@dataclass
class Prometheus:
    """A running Prometheus."""

    url: str

    async def get(self, path, **parameters):
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self.url}/api/v1/{path}", params=parameters)
        return answer.raise_for_status().json()["data"]

    async def query(self, expression):
        return (await self.get("query", query=expression))["result"]


@contextlib.asynccontextmanager
async def services(nats_server, s3_settings, scratch):
    """Run collector, backup and exporter; yield their ports by name."""
    environment = {
        "STREAMGAUGE_NATS_URL": nats_server.url,
        "STREAMGAUGE_NATS_MAX_BYTES": str(256 << 20),
        "STREAMGAUGE_NATS_SHARDS": "2",
    }
    own = {
        "exporter": {},
        "backup": {
            "STREAMGAUGE_S3_ENDPOINT": s3_settings.endpoint,
            "STREAMGAUGE_S3_SECURE": "false",
            "STREAMGAUGE_S3_ACCESS_KEY": s3_settings.access_key,
            "STREAMGAUGE_S3_SECRET_KEY": s3_settings.secret_key.get_secret_value(),
            "STREAMGAUGE_S3_BUCKET": s3_settings.bucket,
            "STREAMGAUGE_BACKUP_ROTATE_SECONDS": "2",
        },
        "collector": {
            "STREAMGAUGE_COLLECTOR_NODE": "node-a",
            "STREAMGAUGE_COLLECTOR_SOURCE": "file",
            "STREAMGAUGE_COLLECTOR_FILE": str(write_capture(scratch / "replayed.pcap")),
            "STREAMGAUGE_COLLECTOR_FILE_PACE": "recorded",
            "STREAMGAUGE_COLLECTOR_FILE_LOOP": "0",
            "STREAMGAUGE_COLLECTOR_SPOOL_DIR": str(scratch / "spool"),
        },
    }
    ports = dict(zip(own, free_ports(len(own)), strict=True))
    processes = [
        ServiceProcess(name, environment | settings, port=ports[name], folder=scratch) for name, settings in own.items()
    ]
    try:
        for process in processes:
            process.start()
            # A busy machine that compiles the kernels first takes longer than ``ready`` would wait.
            await eventually(process.page, within=150)
        yield ports
    finally:
        for process in reversed(processes):
            await process.stop()


@contextlib.asynccontextmanager
async def prometheus(ports, scratch):
    """Run Prometheus with the shipped configuration, aimed at these ports and fast."""
    program = require.program("prometheus")
    (port,) = free_ports(1)
    targets = {**ports, "prometheus": port}
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    del configuration["alerting"]
    configuration["global"].update(scrape_interval="1s", scrape_timeout="1s", evaluation_interval="1s")
    configuration["rule_files"] = [str(PROMETHEUS / name) for name in configuration["rule_files"]]
    for job in configuration["scrape_configs"]:
        if job["job_name"] in targets:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
    path = scratch / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    url = f"http://127.0.0.1:{port}/prometheus"
    with (scratch / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(
                *(program, f"--config.file={path}", f"--storage.tsdb.path={scratch / 'tsdb'}"),
                *(f"--web.listen-address=127.0.0.1:{port}", f"--web.external-url={url}/"),
            ),
            stdout=log,
            stderr=log,
        )
    try:
        server = Prometheus(url)

        async def ready():
            with contextlib.suppress(httpx.HTTPError):
                return await server.query("up")

        await eventually(ready, within=60)
        yield server
    finally:
        process.terminate()
        await process.wait()


def panel_queries():
    """Return every query of every panel, by where it stands, with variables put in."""
    found = {}
    for name, page in pages().items():
        for panel in json.loads(page)["panels"]:
            for target in panel.get("targets", ()):
                expression = target["expr"]
                for variable, value in VARIABLES.items():
                    expression = expression.replace(variable, value)
                assert "$" not in expression
                found[f"{name}: {panel['title']} {target['refId']}"] = expression
    return found


async def test_every_rule_and_panel_has_data(nats_server, s3_settings, scratch):
    """Prometheus reads each page and evaluates each rule; every recorded series and panel query returns something."""
    async with services(nats_server, s3_settings, scratch) as ports, prometheus(ports, scratch) as server:
        wanted = panel_queries() | {name: name for name in recorded()}

        async def empty():
            return [where for where, expression in wanted.items() if not await server.query(expression)]

        async def all_have_data():
            missing = await empty()
            assert missing == []
            return True

        await eventually(all_have_data, within=90)

        targets = (await server.get("targets"))["activeTargets"]
        faults = {target["labels"]["job"]: target["lastError"] for target in targets if target["health"] != "up"}
        assert set(faults) <= {"nginx"}
        groups = (await server.get("rules"))["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}

        # The recorded cluster rate is the rate of what the collector published.
        recorded_rate = float((await server.query("streamgauge:packets:rate5m"))[0]["value"][1])
        published_rate = float(
            (await server.query("sum(rate(streamgauge_published_packets_total[5m]))"))[0]["value"][1]
        )
        assert recorded_rate == pytest.approx(published_rate, rel=0.25)
