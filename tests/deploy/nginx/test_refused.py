"""What even the right login does not get, and what is behind the door must never be handed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.deploy.nginx.conftest import House

INSIDE = (
    *("/metrics", "/livez", "/readyz", "/metrics/", "/%6detrics", "//metrics", "/x/../metrics"),
    *(
        "/prometheus/-/reload",
        "/prometheus/-/quit",
        "/prometheus/-/healthy",
        "/prometheus/%2d/quit",
        "/prometheus//-//quit",
    ),
    *("/prometheus/./-/quit", "/prometheus/x/../-/quit", "/prometheus/x%2f..%2f-%2fquit", "/prometheus/-/QUIT"),
    *(
        "/prometheus/api/v1/admin/tsdb/delete_series",
        "/prometheus/api/v1/ADMIN/tsdb/snapshot",
        "/prometheus/api/v1/write",
    ),
    *(
        "/prometheus/api/v1/read",
        "/prometheus/api/v1/otlp/v1/metrics",
        "/prometheus/debug/pprof/",
        "/prometheus/api/v2/admin/",
    ),
    *("/grafana/../prometheus/-/reload", "/grafana/%2e%2e/prometheus/-/reload", "/PROMETHEUS/../prometheus/-/quit"),
    *(
        "/alertmanager/-/reload",
        "/alertmanager/debug/pprof/heap",
        "/alertmanager/%2d/reload",
        "/alertmanager//-/reload",
    ),
)


@pytest.mark.parametrize("path", INSIDE)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_administration_is_refused(house: House, path: str, method: str) -> None:
    answer = house.door.get(path, login=house.login, method=method)

    assert answer.status in (403, 404)
    assert house.recorder.take() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/prometheus/api/v1/series"),
        ("PUT", "/prometheus/api/v1/query"),
        ("POST", "/alertmanager/api/v2/alerts"),
        ("TRACE", "/"),
        ("CONNECT", "/"),
    ],
)
def test_methods_that_no_page_needs_are_refused(house: House, method: str, path: str) -> None:
    assert house.door.get(path, login=house.login, method=method).status in (400, 403, 405)
    assert house.recorder.take() == []


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost", "https://localhost.evil.example"]
)
def test_another_site_changes_nothing_and_opens_no_websocket(house: House, origin: str) -> None:
    headers = {"Origin": origin, "Host": "localhost"}
    websocket = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "eA==",
        "Sec-WebSocket-Version": "13",
    }

    assert (
        house.door.get("/alertmanager/api/v2/silences", login=house.login, method="POST", headers=headers).status == 403
    )
    assert house.door.get("/dashboard/ws", login=house.login, headers=headers | websocket).status == 403
    assert house.recorder.take() == []


def test_our_own_pages_do(house: House) -> None:
    headers = {"Origin": "https://localhost:1234", "Host": "localhost:1234"}
    answer = house.door.get("/alertmanager/api/v2/silences", login=house.login, method="POST", headers=headers)

    assert answer.status == 200


_SECOND = "GET /prometheus/-/quit HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{second}",
        "Transfer-Encoding : chunked\r\nContent-Length: {length}\r\n\r\n{second}",
        "Transfer-Encoding: xchunked\r\nContent-Length: {length}\r\n\r\n{second}",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{second}",
        "Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{second}",
        "Transfer-Encoding:\tchunked\r\nContent-Length: {length}\r\n\r\n{second}",
        "X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{second}",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n{second}",
        "Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{second}",
        "Content-Length: +{length}\r\n\r\n{second}",
        "Content-Length: {length}, {length}\r\n\r\n{second}",
        "Content-Length: 0x10\r\n\r\n{second}",
        "Content-Length: -1\r\n\r\n{second}",
        "Content-Length: {length}\r\n\r\n{second}",
        "Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n{second}",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{second}",
    ],
)
@pytest.mark.parametrize("path", ["/", "/grafana/x", "/prometheus/api/v1/query"])
def test_no_request_hides_in_another(house: House, framing: str, path: str) -> None:
    """Each request a part sees is one the door has seen: no part reads a second one out of a body."""
    text = framing.format(length=len(_SECOND), second=_SECOND)
    start = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {house.login}\r\nConnection: close\r\n"
    house.door.send((start + text).encode(), timeout=1)

    for request in house.recorder.take():
        assert request.target == path
        assert request.method == "POST"
        assert len(request.header("Content-Length")) + len(request.header("Transfer-Encoding")) <= 1


def test_long_bodies_are_refused(house: House) -> None:
    answer = house.door.get("/", login=house.login, method="POST", headers={"Content-Length": str(2 << 20)})

    assert answer.status == 413
    assert house.recorder.take() == []
