"""The page every service has."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamgauge.errors import ConfigurationError
from streamgauge.http import HttpServer
from streamgauge.lifecycle import Failure
from streamgauge.metrics import Metrics
from streamgauge.settings import HttpSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Service:
    """A server on a free port, and what a scraper sees of it."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.metrics = Metrics()
        self.server = HttpServer(HttpSettings(), self.metrics, Failure(), ready=lambda: self.trouble)

    async def get(self, path: str, **options: object) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{self.server.port}{path}", **options)  # type: ignore[arg-type]


@pytest.fixture(name="service")
async def _service() -> AsyncIterator[Service]:
    service = Service()
    await service.server.start()
    yield service
    await service.server.stop()


async def test_metrics_are_in_the_text_format(service: Service) -> None:
    """Prometheus' own parser reads the page; the content type says the version."""
    service.metrics.counter("things_total", "Things.", "kind").add(3, "red")
    response = await service.get("/metrics")

    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    (family,) = text_string_to_metric_families(response.text)
    assert (family.name, family.samples[0].value) == ("streamgauge_things", 3.0)


async def test_large_page_is_compressed_for_who_takes_it(service: Service) -> None:
    """A page of thousands of series is sent small; without Accept-Encoding it is plain."""
    family = service.metrics.gauge("level", "Level.", "which")
    for number in range(500):
        family.set(number, f"series-{number}")
    packed = await service.get("/metrics", headers={"Accept-Encoding": "gzip"})
    plain = await service.get("/metrics", headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.text == plain.text


async def test_probes(service: Service) -> None:
    """Alive is not ready: a service that waits for NATS must not be restarted, only left out."""
    assert (await service.get("/livez")).status_code == 200
    assert (await service.get("/readyz")).text == "ok\n"

    service.trouble = "not connected to NATS"
    answer = await service.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "not connected to NATS\n")
    assert (await service.get("/livez")).status_code == 200


async def test_other_paths_are_not_found(service: Service) -> None:
    """There is nothing else."""
    assert (await service.get("/")).status_code == 404


async def test_slow_page_does_not_block_the_loop(service: Service) -> None:
    """Rendering runs in a thread; the event loop goes on meanwhile."""
    entered, leave = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow() -> None:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(leave.wait(), loop).result(5)

    service.metrics.before_scrape(slow)
    page = asyncio.ensure_future(service.get("/metrics"))
    await entered.wait()
    assert (await service.get("/livez")).status_code == 200
    leave.set()
    assert (await page).status_code == 200


async def test_port_in_use_says_so() -> None:
    """A fault of the configuration, with what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = HttpServer(HttpSettings(port=port), Metrics(), Failure(), ready=lambda: None)
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await server.start()


async def test_stop_before_start_is_no_error() -> None:
    """As every component, it is stopped also when it never started."""
    await HttpServer(HttpSettings(), Metrics(), Failure(), ready=lambda: None).stop()
