"""The session of single sign-on is for oauth2-proxy alone; a stand-in takes its place here and lets everybody in."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.door import Door
from tests.support.recorder import Recorder, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="door_and_recorder", scope="module")
def _door_and_recorder(keys: Path) -> Iterator[tuple[Door, Recorder]]:
    recorder = Recorder()
    with Upstream("oauth2", recorder) as oauth2, Upstream("grafana", recorder) as grafana:
        upstreams = {"oauth2": f"http://{oauth2.address}", "grafana": f"http://{grafana.address}"}
        with Door(keys / "nginx", upstreams, login="oidc") as door:
            yield door, recorder


@pytest.mark.parametrize(
    ("preferred", "name"), [("anna", ["anna"]), ("", ["anna@example.org"]), (None, ["anna@example.org"])]
)
def test_who_has_no_name_is_known_by_the_address(keys: Path, preferred: str | None, name: list[str]) -> None:
    class Check(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(202)
            self.send_header("X-Auth-Request-Email", "anna@example.org")
            if preferred is not None:
                self.send_header("X-Auth-Request-Preferred-Username", preferred)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    recorder = Recorder()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Check) as check, Upstream("grafana", recorder) as grafana:
        threading.Thread(target=check.serve_forever, daemon=True).start()
        upstreams = {
            "oauth2": f"http://127.0.0.1:{check.server_address[1]}",
            "grafana": f"http://{grafana.address}",
        }
        with Door(keys / "nginx", upstreams, login="oidc") as door:
            assert door.get("/grafana/", headers={"X-Auth-Request-Email": "evil"}).status == 200
        check.shutdown()
    (request,) = recorder.take()

    assert request.header("X-WEBAUTH-USER") == name
    # The stand-in says that everybody is in every group, as a proxy does that does not look at groups.
    assert request.header("X-WEBAUTH-ROLE") == ["Viewer"]


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ("_oauth2_proxy=secret", []),
        ("_oauth2_proxy=secret; grafana_session=1", ["grafana_session=1"]),
        ("grafana_session=1; _oauth2_proxy=secret; theme=dark", ["grafana_session=1; theme=dark"]),
        (
            "grafana_session=1; _oauth2_proxy_0=half; _oauth2_proxy_1=secret",
            ["grafana_session=1; _oauth2_proxy_0=half;"],
        ),
        ("grafana_session=1; x_oauth2_proxy=1", ["grafana_session=1; x_oauth2_proxy=1"]),
    ],
)
def test_no_part_gets_the_session(door_and_recorder: tuple[Door, Recorder], sent: str, passed_on: list[str]) -> None:
    door, recorder = door_and_recorder
    recorder.take()

    assert door.get("/grafana/", headers={"Cookie": sent}).status == 200
    *checks, request = recorder.take()

    assert {(one.upstream, one.target.partition("?")[0]) for one in checks} == {("oauth2", "/oauth2/auth")}
    assert [one.header("Cookie") for one in checks] == [[sent]] * len(checks)
    assert (request.upstream, request.header("Cookie")) == ("grafana", passed_on)


def test_the_sign_on_does(door_and_recorder: tuple[Door, Recorder]) -> None:
    """It could not end a session that it is not shown."""
    door, recorder = door_and_recorder
    recorder.take()
    forged = {
        "X-Forwarded-For": "evil",
        "X-Forwarded-Host": "evil",
        "X-Auth-Request-Redirect": "evil",
        "Authorization": "evil",
    }

    assert door.get("/oauth2/sign_out", headers={"Cookie": "_oauth2_proxy=secret"} | forged).status == 200
    (request,) = recorder.take()

    assert request.header("Cookie") == ["_oauth2_proxy=secret"]
    assert not [pair for pair in request.headers if "evil" in pair[1]]
