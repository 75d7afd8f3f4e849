"""A real Prometheus reads the services of the demo: within a minute every rule and every panel has data."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from dataclasses import dataclass

import httpx
import pytest
import yaml

from grafana.generate import pages
from streamgauge.embedded import free_ports
from tests.support import require
from tests.support.declared import PROMETHEUS, recorded
from tests.support.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]

#: What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "10s", "$__range": "1m"} | dict.fromkeys(
    ("$cluster", "$interface", "$namespace", "$node", "$workload"), ".*"
)


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
async def demo(scratch):
    """Run the demo as a person would; yield the ports of its services by name."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamgauge.cli.main", "demo", "--no-open", "--rate", "300"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    try:
        ports = {}
        while len(ports) < 3:
            line = (await process.stdout.readline()).decode()
            assert line, "the demo ended"
            found = re.search(r"  (\w+): http://127.0.0.1:(\d+)/metrics$", line)
            if found:
                ports[found[1]] = int(found[2])
        yield ports
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
        assert "every packet accounted for" in out.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


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


def numbers(result):
    """Return the values that are numbers: a quantile of nothing is none."""
    return [sample["value"][1] for sample in result if sample["value"][1] != "NaN"]


async def test_every_rule_and_panel_has_data_within_a_minute_of_the_demo(scratch):
    """Prometheus reads each page and evaluates each rule; every recorded series and panel query returns something."""
    require.program("nats-server")
    require.program("weed")
    async with demo(scratch) as ports, prometheus(ports, scratch) as server:
        wanted = panel_queries() | {name: name for name in recorded()}

        async def empty():
            return [where for where, expression in wanted.items() if not numbers(await server.query(expression))]

        async def all_have_data():
            missing = await empty()
            assert missing == []
            return True

        await eventually(all_have_data, within=60)

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
