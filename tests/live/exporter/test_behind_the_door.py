"""The live page and Prometheus themselves, in a browser, behind nginx as shipped: stand-ins would forgive more."""

from __future__ import annotations

import base64
import subprocess
import time

import pytest

from streamgauge import ledger, subjects
from streamgauge.embedded import free_ports
from streamgauge.secrets.__main__ import main as make_secrets
from tests.live.exporter.test_exporter import small
from tests.support import require
from tests.support.browser import Page
from tests.support.door import Door
from tests.support.traffic import publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live

_ASK = "fetch('/prometheus/api/v1/query?query=1').then((answer) => answer.json()).then((found) => found.data.result[1])"
_STATUS = "fetch('{}', {{method: 'POST'}}).then((answer) => answer.status)"


@pytest.fixture(name="secrets")
def _secrets(tmp_path):
    folder = tmp_path / "secrets"
    assert make_secrets(["--folder", str(folder)]) == 0
    return folder


@pytest.fixture(name="prometheus")
def _prometheus(tmp_path):
    """Start Prometheus below the path that the door gives it; return its address."""
    (tmp_path / "prometheus.yml").write_text("global: {}\n")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    options = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    options += [f"--web.listen-address={address}", "--web.external-url=https://localhost/prometheus/"]
    options += ["--web.enable-lifecycle", "--web.enable-admin-api"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([require.program("prometheus"), *options], stdout=log, stderr=log)
    yield f"http://{address}", process
    process.terminate()
    process.wait(20)


async def test_a_browser_sees_the_live_page_and_its_events_behind_the_login(bus, run_exporter, secrets, prometheus):
    """Locked without the login; with it page, events and queries; and what stops Prometheus is refused all the same."""
    words = dict(line.split(": ") for line in (secrets / "login.txt").read_text().splitlines())
    login = base64.b64encode(f"{words['user']}:{words['password']}".encode()).decode()
    address, process = prometheus
    async with run_exporter() as running:
        with Door(secrets / "nginx", {"exporter": running.url, "prometheus": address}) as door:
            async with Page() as page:
                await page.call("Security.setIgnoreCertificateErrors", ignore=True)
                await page.call("Network.enable")
                with pytest.raises(AssertionError, match="ERR_INVALID_AUTH_CREDENTIALS"):
                    await page.open(f"{door.url}/")

                await page.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {login}"})
                page.complaints.clear()
                await page.open(f"{door.url}/")
                await eventually(lambda: running.exporter.tail._readers, within=20)
                record = ledger.LedgerRecord(
                    "node-a", "b", "eth0", time.time_ns(), "tick", kernel_received=12, decoded=12
                )
                await bus.jetstream.publish(subjects.ledger("node-a"), record.encode())
                await publish(bus.jetstream, *small())

                async def shown():
                    assert await page.value("document.querySelector('#connection').textContent") == "live"
                    assert "9999" in await page.value("document.querySelector('#tail-lines').textContent")
                    return "node-a" in await page.value("document.querySelector('#accounts').textContent")

                await eventually(shown, within=20)
                assert page.complaints == []

                async def asked():
                    return await page.value(_ASK) == "1"

                await eventually(asked, within=20)
                for path in ("/prometheus/-/quit", "/prometheus/-/reload", "/prometheus/api/v1/admin/tsdb/snapshot"):
                    assert await page.value(_STATUS.format(path)) == 403
        assert process.poll() is None
