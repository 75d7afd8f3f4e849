"""A browser behind the login: pages, events and websockets of every part, as a person's Chromium asks for them."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.support import require
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from tests.deploy.nginx.conftest import House
    from tests.support.recorder import Received

#: Loads a page of each part, an event and an echo, then reports what worked: by a request, which the stand-in records.
PAGE = """<!doctype html><title>all parts</title><script>
// Not relative: the address of this page holds the login, and fetch refuses addresses with one.
const at = (path) => location.origin + path;
const done = async (name, wanted) => {
  try { return (await wanted) ? name : "no-" + name; } catch { return "no-" + name; }
};
const page = (path, options) => fetch(at(path), options).then((answer) => answer.ok);
const events = (path) => new Promise((resolve) => {
  const source = new EventSource(at(path));
  source.onmessage = (event) => { if (event.data === "two") { source.close(); resolve(true); } };
  source.onerror = () => resolve(false);
});
const echo = (path) => new Promise((resolve) => {
  const socket = new WebSocket(`wss://${location.host}${path}`);
  socket.onopen = () => socket.send("ping");
  socket.onmessage = (event) => resolve(event.data === "ping");
  socket.onerror = () => resolve(false);
});
(async () => {
  const results = await Promise.all([
    done("live", page("/live")), done("grafana", page("/grafana/")), done("prometheus", page("/prometheus/graph")),
    done("alertmanager", page("/alertmanager/")), done("dashboard", page("/dashboard/")),
    done("minio", page("/minio/")),
    done("post", page("/alertmanager/api/v2/silences", {method: "POST", body: "{}"})),
    done("events", events("/events")), done("ws", echo("/ws")), done("grafana-ws", echo("/grafana/api/live/ws")),
    done("dashboard-ws", echo("/dashboard/wsMultiplexer")), done("minio-ws", echo("/minio/ws/objectManager")),
  ]);
  await page("/report?" + results.join(","));
})();
</script>"""


def test_every_part_works_in_chromium(house: House) -> None:
    program = require.program("chromium")
    exporter = house.upstreams["exporter"]
    exporter.pages["/start"] = PAGE
    exporter.next_event.set()
    user, _, password = base64.b64decode(house.login.partition(" ")[2]).decode().partition(":")
    url = f"https://{user}:{quote(password)}@localhost:{house.door.https}/start"
    profile = Path(tempfile.mkdtemp(prefix="sg-chromium-"))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--ignore-certificate-errors",
        f"--user-data-dir={profile}",
    ]
    browser = subprocess.Popen(
        [program, *options, "--remote-debugging-port=0", url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    seen: list[Received] = []

    def report() -> str | None:
        seen.extend(house.recorder.take())
        return next((one.target for one in seen if one.target.startswith("/report?")), None)

    try:
        reported = eventually_sync(report, within=60)
    finally:
        browser.terminate()
        browser.wait(20)
        shutil.rmtree(profile, ignore_errors=True)

    assert reported is not None
    assert [name for name in reported.partition("?")[2].split(",") if name.startswith("no-")] == []
    assert {one.upstream for one in seen} >= {"exporter", "grafana", "prometheus", "alertmanager", "dashboard", "minio"}
    assert {value for one in seen for value in one.header("X-WEBAUTH-USER")} == {"admin"}
