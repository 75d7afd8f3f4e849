"""Without the right login nothing gets through: whatever the path, the method, the spelling or the headers."""

from __future__ import annotations

import base64
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.deploy.nginx.conftest import basic

if TYPE_CHECKING:
    from tests.deploy.nginx.conftest import House

#: What a request without the right login may be answered with.
REFUSALS = {400, 401, 403, 404, 405, 408, 411, 413, 414, 421, 429, 431, 494, 501, 505}

PATHS = (
    *(
        "/",
        "/index.html",
        "/events",
        "/live",
        "/metrics",
        "/livez",
        "/readyz",
        "/favicon.ico",
        "/robots.txt",
        "/_login",
    ),
    *(
        "/grafana",
        "/grafana/",
        "/grafana/login",
        "/grafana/api/health",
        "/grafana/public/build/app.js",
        "/grafana/api/live/ws",
    ),
    *("/prometheus", "/prometheus/", "/prometheus/graph", "/prometheus/api/v1/query?query=up", "/prometheus/metrics"),
    *("/prometheus/-/healthy", "/prometheus/-/reload", "/prometheus/-/quit", "/prometheus/api/v1/admin/tsdb/snapshot"),
    *("/alertmanager", "/alertmanager/", "/alertmanager/api/v2/alerts", "/alertmanager/-/reload"),
    *("/dashboard", "/dashboard/", "/dashboard/wsMultiplexer", "/dashboard/clusters/main/api/v1/secrets"),
    *("/minio", "/minio/", "/minio/api/v1/login", "/minio/ws/objectManager", "/oauth2/auth", "/oauth2/start"),
    *("/.well-known/acme-challenge/x", "/stub_status", "/healthz", "/nginx_status", "/server-status"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get", "X")

#: Other spellings of a path; {} is the path without its first slash.
SPELLINGS = (
    *("//{}", "///{}", "/./{}", "/x/../{}", "/x/%2e%2e/{}", "/%2e/{}", "/x/..%2f{}", "/%2f{}", "/;/{}", "/.;/{}"),
    *(
        "/{}%00",
        "/{}%20",
        "/{}%0d%0aX: y",
        "/{}?login=admin",
        "/{}#x",
        "/{}/..;/",
        "/%252e%252e/{}",
        "/..%5c{}",
        "\\{}",
    ),
    *("http://localhost/{}", "http://exporter:9103/{}", "https://user:pass@localhost/{}", "{}", "*", "/{}\t", "/%{}"),
)

#: Headers that would make somebody of nobody, or lead somewhere else, if any part believed them.
HEADERS = (
    {"X-WEBAUTH-USER": "admin"},
    {"X-Forwarded-User": "admin", "X-Forwarded-Groups": "streamgauge-admins"},
    {"X-Login-User": "admin", "X-Auth-Request-User": "admin", "Remote-User": "admin"},
    {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"},
    {"X-Original-URL": "/", "X-Rewrite-URL": "/", "X-Original-Method": "OPTIONS"},
    {"X-HTTP-Method-Override": "OPTIONS"},
    {"X-Accel-Redirect": "/"},
    {"Cookie": "grafana_session=1; _oauth2_proxy=1; login_user=admin"},
    {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "eA=="},
    {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__"},
    {"Connection": "close, Authorization"},
    {"Host": "exporter:9103"},
    {"Host": "127.0.0.1"},
    {"Host": "localhost, evil.example"},
    {"Host": "localhost@evil.example"},
    {"Host": "evil.example:99999"},
    {"Host": ""},
    {"Host": "-"},
    {"Host": "[::1]"},
    {"Range": "bytes=0-"},
    {"Expect": "100-continue"},
    {"Accept": "text/event-stream", "Last-Event-ID": "1"},
)

WRONG_LOGINS = (
    *(
        "",
        "Basic",
        "Basic ",
        "Basic Og==",
        "Basic YWRtaW4=",
        "Basic YWRtaW46",
        "Basic !!!",
        "Bearer x",
        "Digest username=admin",
    ),
    *(basic("admin", "admin"), basic("admin", "password"), basic("", ""), basic("root", "x"), basic("admin\0", "x")),
    *(basic("admin", "\0"), basic("admin:", ""), basic("ADMIN", "admin"), basic("*", "*"), basic("admin", "$2y$10$")),
    *(basic("a" * 3000, "b" * 3000), "Negotiate TlRMTVNTUAAB", "basic " + base64.b64encode(b"admin:admin").decode()),
)


def refused(house: House, request: bytes, source: str) -> None:
    """Send a request that must get nowhere."""
    connections = house.recorder.connections
    answer = house.door.send(request, source=source, timeout=3)
    status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0

    # HTTP/0.9 has no status line: what comes back is the body of a refusal.
    assert status in REFUSALS or (status == 0 and b"200" not in answer[:20]), (request, answer[:300])
    assert house.recorder.take() == [], request
    assert connections == house.recorder.connections, request


def head(method: str, target: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def sources() -> itertools.cycle[str]:
    """Return addresses to come from in turn, so that no limit answers in the place of the login."""
    return itertools.cycle(f"127.1.{number // 200}.{number % 200 + 1}" for number in range(4000))


def test_no_path_and_no_method_passes_without_a_login(house: House) -> None:
    source = sources()
    for method, path in itertools.product(METHODS, PATHS):
        refused(house, head(method, path, {"Host": "localhost", "Connection": "close"}), next(source))


@pytest.mark.parametrize("credentials", [None, basic("admin", "wrong")], ids=["none", "wrong"])
def test_no_spelling_of_a_path_passes(house: House, credentials: str | None) -> None:
    source = sources()
    paths = (
        "",
        "grafana/",
        "prometheus/-/quit",
        "prometheus/api/v1/query",
        "dashboard/",
        "minio/",
        "_login",
        "metrics",
    )
    extra = {"Authorization": credentials} if credentials else {}
    for spelling, path in itertools.product(SPELLINGS, paths):
        target = spelling.replace("{}", path)
        refused(house, head("GET", target, {"Host": "localhost", "Connection": "close"} | extra), next(source))


@pytest.mark.parametrize("path", ["/", "/grafana/", "/prometheus/api/v1/query", "/dashboard/", "/minio/"])
def test_no_header_makes_somebody_of_nobody(house: House, path: str) -> None:
    source = sources()
    for headers, method in itertools.product(HEADERS, ("GET", "POST")):
        refused(house, head(method, path, {"Host": "localhost", "Connection": "close"} | headers), next(source))


@pytest.mark.parametrize("path", ["/", "/grafana/", "/prometheus/", "/alertmanager/", "/dashboard/", "/minio/"])
def test_no_wrong_login_passes(house: House, path: str) -> None:
    source = sources()
    for login in WRONG_LOGINS:
        request = head("GET", path, {"Host": "localhost", "Connection": "close", "Authorization": login})
        refused(house, request, next(source))


def test_no_second_login_header_passes(house: House) -> None:
    """Which of two headers counts must not differ between the check and its memory."""
    assert house.door.get("/", login=house.login).status == 200
    house.recorder.take()
    start = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    wrong, right = basic("admin", "wrong").encode(), house.login.encode()

    refused(house, start + b"Authorization: " + wrong + b"\r\nAuthorization: " + right + b"\r\n\r\n", "127.2.0.1")
    refused(house, start + b"Authorization: " + wrong + b", " + right + b"\r\n\r\n", "127.2.0.2")
    refused(house, start + b"Authorization : " + right + b"\r\n\r\n", "127.2.0.3")
    refused(house, start + b"X: y\r\n Authorization: " + right + b"\r\n\r\n", "127.2.0.4")


def test_a_remembered_login_is_whole(house: House) -> None:
    """The memory of right logins answers for exactly that login."""
    assert house.door.get("/", login=house.login).status == 200
    house.recorder.take()
    value = house.login

    for other in (value[:-1], value + "x", value.lower(), value.replace("=", ""), value[:-2] + "A="):
        if other != value:
            refused(
                house,
                head("GET", "/", {"Host": "localhost", "Connection": "close", "Authorization": other}),
                "127.2.1.1",
            )


def test_old_and_broken_protocols_pass_nothing(house: House) -> None:
    requests = (
        b"GET /\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/3\r\nHost: localhost\r\n\r\n",
        b"GET  /  HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\nHost: localhost\n\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: exporter\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 64,
        b"\x16\x03\x01\x00\x05hello",
    )
    for request in requests:
        refused(house, request, "127.2.2.1")
