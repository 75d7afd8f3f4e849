"""The live page: what it is sent, that it is self-contained and strict, and that a real browser shows the traffic."""

from __future__ import annotations

import asyncio
import itertools
import re
import time

import httpx
import orjson
import pytest
from starlette.routing import Mount

from services.exporter.live import load_document
from streamgauge import ledger, subjects
from streamgauge.cli.decode import Options, batches
from streamgauge.demo import sample
from streamgauge.http import HttpServer
from streamgauge.lifecycle import Failure
from streamgauge.metrics import Metrics
from streamgauge.settings import HttpSettings
from tests.live.exporter.test_exporter import small
from tests.support import packets as build
from tests.support.browser import Page
from tests.support.traffic import batch_of, envelope_of, publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.live


async def read_events(url, until, **query):
    """Return the events of a stream as [(name, data)] up to the first for which ``until`` is true."""
    found = []
    async with (
        httpx.AsyncClient(timeout=15) as client,
        client.stream("GET", url, params=query) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: "):
                found.append((name, orjson.loads(line.removeprefix("data: "))))
                if until(*found[-1]):
                    return found
    return found


def question(name):
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b".")) + b"\0"
    return build.ethernet(0x0800, build.ipv4(17, build.udp(build.dns(labels))))


async def publish_frames(bus, frames, **how):
    batch = batch_of(frames)
    envelope = envelope_of(batch, **how)
    await publish(bus.jetstream, small()[0], envelope, batch)


def test_the_page_is_one_self_contained_document():
    """No address of another host, no absolute path, no inline handler or style that the policy would refuse."""
    document, policy = load_document()
    text = document.decode()
    assert set(re.findall(r"https?://[^\s'\"]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"""(?:src|href|action)=["'](?!data:|#)""", text)
    assert not re.findall(r"\sstyle=|\son[a-z]+=", text)
    assert "/* style */" not in text
    assert "/* script */" not in text
    assert "innerHTML" not in text
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


async def test_the_page_comes_with_a_strict_policy(run_exporter):
    """The document's headers allow its own script and style and nothing else."""
    async with run_exporter() as running, httpx.AsyncClient() as client:
        answer = await client.get(running.url)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


async def test_events_carry_history_then_points_and_snapshots(bus, run_exporter):
    """A page that opens gets the past at once, then each second what is new; sums are those published."""
    async with run_exporter() as running:
        await publish(bus.jetstream, *small(sequence=1))
        record = ledger.LedgerRecord(
            "node-a", "b", "eth0", time.time_ns(), "tick", kernel_received=12, kernel_dropped=2
        )
        await bus.jetstream.publish(subjects.ledger("node-a"), record.encode())
        await eventually(lambda: running.exporter.consumer.progress.counted)
        await publish(bus.jetstream, *small(5, sequence=2))

        def arrived(name, data):
            return name == "snapshot" and data["windows"]["1"]["packets"] == 15 and data["ledger"]["received"]

        events = await read_events(f"{running.url}/events", arrived)
    points = [point for name, data in events if name in ("history", "points") for point in data]
    snapshot = events[-1][1]
    assert events[0][0] == "history"
    assert [after[0] - before[0] for before, after in itertools.pairwise(points)] == [1] * (len(points) - 1)
    assert snapshot["windows"]["15"]["pairs"][0]["source"] == "10.0.0.1"
    assert snapshot["windows"]["15"]["ports"] == [{"name": "9999/udp", "packets": 15, "bytes": 15 * 43}]
    assert snapshot["ledger"]["lost"] == 2
    assert [hop["name"] for hop in snapshot["hops"]] == ["capture", "NATS", "backup", "exporter", "Prometheus"]


async def test_the_tail_shows_what_matches_and_counts_the_rest(bus, run_exporter):
    """Lines match the filter, at most so many a second; what does not fit is counted."""
    async with run_exporter() as running:
        url = f"{running.url}/tail"
        reading = asyncio.ensure_future(read_events(url, lambda _, data: data["matched"] >= 90, filter="dns"))
        await eventually(lambda: running.exporter.tail._readers)
        await publish_frames(bus, [question(b"www.example.com")] * 90 + [build.ethernet(0x0806, bytes(28))] * 9)
        events = await reading
        await eventually(lambda: not running.exporter.tail._readers)
    lines = [line for _, data in events for line in data["lines"]]
    assert 40 <= len(lines) < 90
    assert all(node == "node-a" and "www.example.com" in text for node, text in lines)


async def test_a_filter_that_is_none_is_refused_with_the_reason(run_exporter):
    """The reader is told what is wrong, and no reader stays open."""
    async with run_exporter() as running:
        events = await read_events(f"{running.url}/tail", lambda *_: True, filter="port")
        assert running.exporter.tail._readers == ()
    assert events[0][0] == "refused"
    assert "port" in events[0][1]


async def test_the_exporter_stops_at_once_with_open_pages(run_exporter):
    """Open streams do not hold up the end of the service."""
    async with run_exporter() as running:
        reading = [
            asyncio.ensure_future(read_events(f"{running.url}/{path}", lambda *_: False)) for path in ("events", "tail")
        ]
        await eventually(lambda: running.exporter.tail._readers and running.exporter.page._pages)
        start = time.monotonic()
    assert time.monotonic() - start < 3
    await asyncio.gather(*reading)


async def test_every_part_of_the_page_has_data_on_the_traffic_of_the_demo(bus, run_exporter, tmp_path):
    """Each table has rows, each figure a value, each hop its words and, unless it is well, what mends it."""
    path = tmp_path / "sample.pcap"
    sample.write(path, count=12_000)
    async with run_exporter() as running:
        record = ledger.LedgerRecord("node-a", "b", "eth0", time.time_ns(), "tick", kernel_received=12, decoded=12)
        await bus.jetstream.publish(subjects.ledger("node-a"), record.encode())
        rows = [batch for batch in batches(str(path), Options(unanswered=True)) if len(batch)]
        for sequence, batch in enumerate(rows, 1):
            await publish(bus.jetstream, small()[0], envelope_of(batch, sequence=sequence), batch)
        async with Page() as page:
            await page.open(running.url)

            async def filled():
                assert await page.value("document.querySelectorAll('.empty').length") == 0
                assert await page.value("document.querySelectorAll('article table').length") == 9
                tables = await page.value("[...document.querySelectorAll('td')].map((cell) => cell.textContent)")
                assert {"Without an answer", "Sent again", "query without an answer", "DNS answer"} <= set(tables)
                hops = await page.value("[...document.querySelectorAll('#hops li')].map((hop) => hop.innerText)")
                assert hops[0].startswith("capture")
                assert "docker compose ps" in hops[2]
                assert await page.value("document.querySelectorAll('#hops code').length") > 0
                return "NaN" not in await page.value("document.body.innerText")

            await eventually(filled, within=20)
            assert await page.value("document.querySelectorAll('.tiles .figure').length") == 4
            assert page.complaints == []


async def test_a_browser_shows_the_traffic_also_under_a_sub_path(bus, run_exporter):
    """Chromium, behind a path prefix, fills figures, charts, tables and tail without a complaint of its console."""
    async with run_exporter() as running:
        routes = [Mount("/some/path", routes=running.exporter.page.routes)]
        front = HttpServer(HttpSettings(port=0), Metrics(), Failure(), ready=lambda: None, routes=routes)
        await front.start()
        record = ledger.LedgerRecord("node-a", "b", "eth0", time.time_ns(), "tick", kernel_received=12, decoded=12)
        await bus.jetstream.publish(subjects.ledger("node-a"), record.encode())
        async with Page(width=390, height=800, dark=True) as page:
            await page.open(f"http://127.0.0.1:{front.port}/some/path/")
            await eventually(lambda: running.exporter.tail._readers)
            # A name that would be markup, were it ever parsed as HTML.
            await publish_frames(bus, [question(b"<img src=x onerror=alert(1)>.evil")] * 3)

            async def shown():
                assert await page.value("document.querySelector('#connection').textContent") == "live"
                assert "evil" in await page.value("document.querySelector('#domains').textContent")
                assert "evil" in await page.value("document.querySelector('#tail-lines').textContent")
                assert "node-a" in await page.value("document.querySelector('#accounts').textContent")
                return await page.value("document.querySelectorAll('.curve').length") == 2

            await eventually(shown, within=20)
            assert await page.value("document.querySelectorAll('img').length") == 0
            assert await page.value("document.documentElement.scrollWidth") == 390
            assert await page.value("document.documentElement.dataset.theme") == "dark"
            await page.press("t")
            assert await page.value("document.documentElement.dataset.theme") == "light"
            await page.press("/")
            assert await page.value("document.activeElement.id") == "tail-filter"
            assert page.complaints == []
        await front.stop()
