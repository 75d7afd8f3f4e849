"""The servers themselves: TLS, plain HTTP, what is inside only, absent parts, the log, the form of the files."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.deploy.nginx.conftest import House, basic
from tests.support import require
from tests.support.door import SOURCE, Door, parse, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = sorted(SOURCE.rglob("*.conf"))


def plain(port: int, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request.encode())
        return read_all(connection)


def tls(house: House, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", house.door.https), 5)
    return context.wrap_socket(raw, server_hostname="localhost", session=session)


@pytest.fixture(name="lonely", scope="module")
def _lonely(keys: Path) -> Iterator[Door]:
    """A door with nothing behind it: names that nobody resolves, ports that nobody listens on."""
    with Door(keys / "nginx", {"grafana": "http://grafana:3000", "minio": "https://minio:9001"}) as door:
        yield door


def test_nginx_accepts_the_configuration_without_a_warning(house: House) -> None:
    run = subprocess.run(house.door.command("-t"), capture_output=True, text=True, timeout=20, check=False)

    assert run.returncode == 0, run.stderr
    assert "[warn]" not in run.stderr
    assert "[emerg]" not in run.stderr


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_from_1_2_on(house: House, version: ssl.TLSVersion) -> None:
    context = house.door.tls()
    context.minimum_version = context.maximum_version = version
    with tls(house, context) as connection:
        cipher = connection.cipher()

    assert cipher is not None
    assert re.search(r"GCM|CHACHA20", cipher[0])


@pytest.mark.parametrize(
    "option", ["-ssl3", "-tls1", "-tls1_1", "-tls1_2 -cipher AES128-SHA", "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA"]
)
def test_no_older_version_and_no_weak_cipher(house: House, option: str) -> None:
    command = [require.program("openssl"), "s_client", "-connect", f"127.0.0.1:{house.door.https}", *option.split()]
    # Level 0: this client would speak them if the door did.
    command += [] if "-cipher" in option else ["-cipher", "ALL:@SECLEVEL=0"]
    run = subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False)

    assert run.returncode != 0 or "Cipher is (NONE)" in run.stdout


def test_a_session_is_resumed_without_a_ticket(house: House) -> None:
    context = house.door.tls()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with tls(house, context) as first:
        session = first.session
    with tls(house, context, session=session) as second:
        assert second.session_reused

    assert session is not None
    assert not session.has_ticket


def test_http2_is_offered(house: House) -> None:
    context = house.door.tls()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with tls(house, context) as connection:
        assert connection.selected_alpn_protocol() == "h2"


def test_plain_http_is_sent_to_https(house: House) -> None:
    answer = parse(plain(house.door.http, "GET /grafana/?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))

    assert answer.status == 308
    assert answer.header("Location") == f"https://localhost:{house.door.https}/grafana/?a=b"


def test_plain_http_on_the_port_of_https_too(house: House) -> None:
    host = f"localhost:{house.door.https}"
    answer = parse(plain(house.door.https, f"GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))

    assert answer.status == 308
    assert answer.header("Location") == f"https://{host}/x"
    assert house.recorder.take() == []


def test_the_figures_are_inside_only(house: House) -> None:
    request = "GET {} HTTP/1.1\r\nHost: nginx\r\nConnection: close\r\n\r\n"

    assert parse(plain(house.door.inside, request.format("/healthz"))).status == 200
    assert b"Active connections" in plain(house.door.inside, request.format("/stub_status"))
    assert b'streamgauge_door_connections{state="active"} ' in plain(house.door.inside, request.format("/metrics"))
    assert parse(plain(house.door.inside, request.format("/grafana/"))).status == 404
    assert house.door.get("/stub_status").status == 401


@pytest.mark.parametrize("path", ["/", "/grafana/", "/prometheus/", "/dashboard/", "/minio/", "/alertmanager/"])
def test_an_absent_part_has_a_plain_page(lonely: Door, login: str, path: str) -> None:
    answer = lonely.get(path, login=login)

    assert answer.status == 503
    assert b"is not running" in answer.body


def test_an_absent_part_is_behind_the_login_too(lonely: Door) -> None:
    assert lonely.get("/grafana/").status == 401


def test_a_login_that_cannot_be_checked_lets_nobody_in(keys: Path, login: str) -> None:
    with Door(keys / "nginx", {}) as door:
        (door.folder / "keys" / "htpasswd").chmod(0o600)
        assert door.get("/", login=login).status == 503

        (door.folder / "keys" / "htpasswd").unlink()
        assert door.get("/", login=login).status == 403


def test_a_name_added_with_htpasswd_logs_in_as_a_viewer(keys: Path, house: House) -> None:
    """As docs/12-compose.md says: bcrypt by Apache's program, no restart."""
    path = house.door.folder / "keys" / "htpasswd"
    before = path.read_text()
    subprocess.run([require.program("htpasswd"), "-bB", str(path), "guest", "guest's own"], check=True, timeout=20)
    answer = house.door.get("/grafana/", login=basic("guest", "guest's own"))
    path.write_text(before)

    assert answer.status == 200
    assert house.recorder.take()[0].header("X-WEBAUTH-ROLE") == ["Viewer"]


def test_the_log_is_json_and_holds_no_secret(house: House) -> None:
    headers = {"Cookie": "session=cookie-secret", "Referer": "https://localhost/?token=referer-secret"}
    house.door.get('/grafana/"quoted"?token=query-secret', login=house.login, headers=headers)
    house.door.get("/", login=basic("admin", "tried-password"))
    lines = [json.loads(line) for line in house.door.log().splitlines() if line.startswith("{")]

    assert lines[-2]["path"] == '/grafana/"quoted"'
    assert lines[-2]["user"] == "admin"
    assert lines[-2]["status"] == 200
    assert lines[-1]["status"] in (401, 429)
    for secret in ("cookie-secret", "referer-secret", "query-secret", house.login.split()[1], "tried-password"):
        assert secret not in house.door.log()


def test_the_single_sign_on_configuration_is_accepted_and_closed(keys: Path, house: House) -> None:
    urls = {"oauth2": f"http://{house.upstreams['oauth2'].address}"}
    with Door(keys / "nginx", urls | {"grafana": "http://127.0.0.1:9"}, login="oidc") as door:
        run = subprocess.run(door.command("-t"), capture_output=True, text=True, timeout=20, check=False)
        # The stand-in answers every check with 200 and no name: that is nobody's session, and still only its own words.
        assert run.returncode == 0, run.stderr
        assert door.get("/oauth2/start").status == 200
        assert house.recorder.take()[0].target == "/oauth2/start"
    with Door(keys / "nginx", {}, login="oidc") as door:
        assert door.get("/grafana/").status == 503


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_are_short_and_say_what_they_do(path: Path) -> None:
    lines = path.read_text().splitlines()

    assert lines[0].startswith("# ")
    assert len(lines) <= 100
    assert not [line for line in lines if len(line) > 250]


def test_the_kustomization_names_every_file() -> None:
    text = (SOURCE / "kustomization.yaml").read_text()

    for path in FILES:
        if path.parent.name != "environment" or path.name == "kubernetes.conf":
            assert str(path.relative_to(SOURCE)) in text


def test_the_cluster_gets_the_same_bytes() -> None:
    yaml = pytest.importorskip("yaml")
    run = subprocess.run(
        [require.program("kubectl"), "kustomize", str(SOURCE)], capture_output=True, text=True, timeout=60, check=True
    )
    maps = {item["metadata"]["name"].rpartition("-")[0]: item["data"] for item in yaml.safe_load_all(run.stdout)}

    assert {path.name: path.read_text() for path in (SOURCE / "door").iterdir()} == maps["nginx-door"]
    assert maps["nginx-main"]["nginx.conf"] == (SOURCE / "nginx.conf").read_text()


def test_kubernetes_environment_is_accepted(keys: Path) -> None:
    """The name server's name cannot be looked up here, so an address stands in for it; the rest is as shipped."""
    door = Door(keys / "nginx", {})
    try:
        door.write()
        text = (SOURCE / "environment" / "kubernetes.conf").read_text()
        (door.folder / "environment.conf").write_text(
            text.replace("kube-dns.kube-system.svc.cluster.local", "127.0.0.1")
        )
        run = subprocess.run(door.command("-t"), capture_output=True, text=True, timeout=20, check=False)
        assert run.returncode == 0, run.stderr
        (door.folder / "environment.conf").write_text((SOURCE / "environment" / "compose.conf").read_text())
        run = subprocess.run(door.command("-t"), capture_output=True, text=True, timeout=20, check=False)
        assert run.returncode == 0, run.stderr
    finally:
        shutil.rmtree(door.folder)
