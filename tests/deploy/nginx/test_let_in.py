"""With the login every documented path works, and what arrives behind the door is only what the door vouches for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.door import parse

if TYPE_CHECKING:
    from tests.deploy.nginx.conftest import House

#: A path as a client asks for it, the part that gets it, and how that part sees it.
WAYS = (
    ("/", "exporter", "/"),
    ("/live?since=1", "exporter", "/live?since=1"),
    ("/grafana/", "grafana", "/grafana/"),
    ("/grafana/d/abc/traffic?var-node=a%2Fb", "grafana", "/grafana/d/abc/traffic?var-node=a%2Fb"),
    ("/grafana/api/dashboards/uid/x", "grafana", "/grafana/api/dashboards/uid/x"),
    ("/prometheus/", "prometheus", "/prometheus/"),
    ("/prometheus/api/v1/query?query=up%7B%7D", "prometheus", "/prometheus/api/v1/query?query=up%7B%7D"),
    ("/prometheus/api/v1/label/__name__/values", "prometheus", "/prometheus/api/v1/label/__name__/values"),
    ("/alertmanager/", "alertmanager", "/alertmanager/"),
    ("/alertmanager/api/v2/alerts", "alertmanager", "/alertmanager/api/v2/alerts"),
    ("/dashboard/", "dashboard", "/dashboard/"),
    ("/dashboard/c/main/pods", "dashboard", "/dashboard/c/main/pods"),
    ("/minio/", "minio", "/"),
    ("/minio/api/v1/buckets?x=%2F", "minio", "/api/v1/buckets?x=%2F"),
)
#: Headers by which some program, somewhere, believes who a client is or where it comes from.
FORGED = (
    *(f"X-WEBAUTH-{name}" for name in ("USER", "ROLE", "NAME", "EMAIL", "GROUPS", "ORGS", "ANYTHING")),
    *(f"X-Forwarded-{name}" for name in ("For", "Proto", "Host", "Port", "User", "Groups", "Email", "Prefix")),
    *(f"X-Forwarded-{name}" for name in ("Id-Token", "Access-Token", "Preferred-Username", "Server", "Uri")),
    *(f"X-Auth-Request-{name}" for name in ("User", "Groups", "Email", "Access-Token")),
    *("Forwarded", "X-Real-IP", "Remote-User", "X-Remote-User", "Impersonate-User", "Impersonate-Group", "Via", "TE"),
    *("X-Original-URL", "X-Login-User", "X-Client-IP", "True-Client-IP", "X_WEBAUTH_USER", "X-Grafana-Id", "Proxy"),
    "Proxy-Authorization",
)
STREAMS = (
    *(("/ws", "exporter"), ("/grafana/api/live/ws", "grafana"), ("/dashboard/wsMultiplexer", "dashboard")),
    ("/minio/ws/objectManager", "minio"),
)
PARTS = ("/", "/grafana/", "/prometheus/", "/alertmanager/", "/dashboard/", "/minio/")


@pytest.mark.parametrize(("path", "part", "target"), WAYS)
def test_each_path_leads_to_its_part(house: House, path: str, part: str, target: str) -> None:
    answer = house.door.get(path, login=house.login)

    assert answer.status == 200
    assert [(part, target)] == [(one.upstream, one.target) for one in house.recorder.take()]


@pytest.mark.parametrize("name", ["grafana", "prometheus", "alertmanager", "dashboard", "minio"])
def test_a_missing_slash_is_added(house: House, name: str) -> None:
    answer = house.door.get(f"/{name}?x=1", login=house.login)

    assert answer.status == 308
    assert (answer.header("Location") or "").endswith(f"/{name}/?x=1")
    assert house.recorder.take() == []


@pytest.mark.parametrize(
    ("spelled", "target"),
    [
        ("/x/../grafana/./api", "/grafana/api"),
        ("/grafana/%2e%2e/prometheus/graph", "/prometheus/graph"),
        ("//prometheus//graph", "/prometheus/graph"),
        ("/grafana/a%2fb", "/grafana/a/b"),
        ("/grafana/a%3Fb%23c%25d%20e", "/grafana/a%3Fb%23c%25d%20e"),
        ("/grafana/a%0d%0aX-Evil:%20y", "/grafana/a%0D%0AX-Evil:%20y"),
        ("/minio/../minio/%0d%0aX", "/%0D%0AX"),
    ],
)
def test_a_part_sees_the_path_that_the_rules_saw(house: House, spelled: str, target: str) -> None:
    """A path that means one thing to the door and another thing behind it is how doors are walked around."""
    assert house.door.get(spelled, login=house.login).status == 200

    assert [target] == [one.target for one in house.recorder.take()]


@pytest.mark.parametrize("path", PARTS)
def test_nothing_the_client_says_of_itself_gets_through(house: House, path: str) -> None:
    forged = dict.fromkeys(FORGED, "evil")

    assert house.door.get(path, login=house.login, headers=forged).status == 200
    (request,) = house.recorder.take()

    assert not [pair for pair in request.headers if "evil" in pair[1]]
    assert request.header("Authorization") == []
    assert request.header("X-WEBAUTH-USER") == ["admin"]
    assert request.header("X-WEBAUTH-ROLE") == ["Admin"]
    assert request.header("X-Forwarded-For") == ["127.0.0.1"]
    assert request.header("X-Real-IP") == ["127.0.0.1"]
    assert request.header("X-Forwarded-Proto") == ["https"]
    assert request.header("X-Forwarded-Host") == request.header("Host") == [f"localhost:{house.door.https}"]
    assert {name.lower() for name, _ in request.headers if name.lower().startswith("x-webauth-")} == {
        "x-webauth-user",
        "x-webauth-role",
    }


def test_what_the_applications_need_gets_through(house: House) -> None:
    needed = {
        "Accept": "text/html",
        "Accept-Language": "de",
        "Cookie": "grafana_session=1",
        "If-None-Match": '"1"',
        "Range": "bytes=0-9",
        "User-Agent": "a browser",
        "X-Grafana-Org-Id": "1",
        "Content-Type": "application/json",
        "Referer": f"{house.door.url}/grafana/",
        "Origin": house.door.url,
    }
    body = b'{"a": 1}'

    assert house.door.get("/grafana/api/x", login=house.login, method="POST", headers=needed, body=body).status == 200
    (request,) = house.recorder.take()

    assert needed == {name: request.header(name)[0] for name in needed}
    assert body == request.body


@pytest.mark.parametrize(("path", "part"), STREAMS)
def test_websockets_work(house: House, path: str, part: str) -> None:
    request = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {house.login}\r\nOrigin: https://localhost\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    mask = os.urandom(4)
    frame = bytes([0x81, 0x84]) + mask + bytes(byte ^ mask[index] for index, byte in enumerate(b"ping"))
    with house.door.connect() as connection:
        connection.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
        connection.sendall(frame)
        echo = connection.recv(4096)

    assert parse(answer).status == 101
    assert parse(answer).header("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert echo.startswith(b"\x81\x04ping")
    assert [part] == [one.upstream for one in house.recorder.take()]


@pytest.mark.parametrize("protocol", ["h2c", "h2c, websocket", "TLS/1.0", "SPDY/3.1"])
def test_no_other_protocol_is_taken_up_behind_the_door(house: House, protocol: str) -> None:
    """A tunnel of another protocol would carry requests that the door never sees."""
    headers = {"Upgrade": protocol, "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    answer = house.door.get("/grafana/", login=house.login, headers=headers | {"Origin": house.door.url})
    (request,) = house.recorder.take()

    assert answer.status == 200
    assert request.header("Upgrade") == request.header("HTTP2-Settings") == []
    assert request.header("Connection") == ["close"]


@pytest.mark.parametrize(("path", "part"), [("/events", "exporter"), ("/dashboard/logs/events", "dashboard")])
def test_events_are_passed_on_as_they_come(house: House, path: str, part: str) -> None:
    upstream = house.upstreams[part]
    upstream.next_event.clear()
    with house.door.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {house.login}\r\n\r\n".encode())
        received = b""
        while b"data: one" not in received:
            received += connection.recv(4096)
        assert b"data: two" not in received
        upstream.next_event.set()
        while b"data: two" not in received:
            received += connection.recv(4096)

    assert b"text/event-stream" in received


def test_answers_carry_the_security_headers(house: House) -> None:
    for path, login in (("/grafana/", house.login), ("/grafana/", None), ("/metrics", house.login)):
        answer = house.door.get(path, login=login, headers={"Host": "monitor.example"})

        assert answer.header("Strict-Transport-Security") == "max-age=31536000"
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert answer.header("Content-Security-Policy") == "frame-ancestors 'self'"
        assert answer.header("Referrer-Policy") == "same-origin"
        assert answer.header("X-Powered-By") is None
        assert answer.header("Server") == "nginx"


def test_localhost_is_not_bound_to_https_for_other_programs(house: House) -> None:
    assert house.door.get("/", login=house.login).header("Strict-Transport-Security") is None
