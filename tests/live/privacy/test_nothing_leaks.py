"""The real system on a capture with unmistakable values: none of them is anywhere behind the collector's decoder.

Addresses, names and paths are looked for in every form they could have (text, packed, little-endian, hexadecimal,
decimal) in all bytes of the spool, of NATS (its files and its messages), of the bucket, of the metrics and of the logs.
The same search finds them all without privacy: it can fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest

from streamgauge import codec
from streamgauge.demo import packets
from streamgauge.demo.scrape import fetch
from streamgauge.lifecycle import cancel, spawn
from tests.live.collector.collecting import CollectorProcess
from tests.support.system import System, run
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamgauge.embedded import NatsServer
    from streamgauge.settings import NatsSettings, S3Settings

pytestmark = pytest.mark.live

START = 1_764_079_200_000_000_000
INSIDE, OUTSIDE, OUTER = "10.77.66.55", "203.0.113.77", "198.51.100.201"
SIX, SEVEN = "2001:db8:dead:beef::77", "2001:db8:feed:cafe::99"
WORDS = ("verysecret", "hidden-sni", "hidden-host", "hushhush", "55.66.77.10.in-addr")
COMMAND = [sys.executable, "-m", "streamgauge.cli.main"]
PRIVATE = {"addresses": "all", "names": "hash", "paths": "drop", "key": "c3" * 32}


def capture() -> bytes:
    """Return a capture of queries and answers, hellos, requests, a tunnel, ARP and an unanswered query."""
    ends, back = (INSIDE, OUTSIDE), (OUTSIDE, INSIDE)

    def udp(payload: bytes, pair: tuple[str, str], ports: tuple[int, int]) -> bytes:
        return packets.ipv4(packets.udp(payload, *ports), *pair, packets.UDP)

    def tcp(payload: bytes, port: int) -> bytes:
        return packets.ipv4(packets.tcp(payload, 40_000, port), *ends, packets.TCP)

    inner = packets.ethernet(udp(b"x", ends, (1000, 2000)))
    vxlan = b"\x08\0\0\0\0\0\x07\0" + inner
    frames = [
        packets.ethernet(udp(packets.dns_query(7, "a.verysecret.example"), ends, (5000, 53))),
        packets.ethernet(udp(packets.dns_response(7, "a.verysecret.example"), back, (53, 5000))),
        packets.ethernet(udp(packets.dns_query(8, "55.66.77.10.in-addr.arpa", 12), ends, (5000, 53))),
        packets.ethernet(tcp(packets.client_hello("hidden-sni.example"), 443)),
        packets.ethernet(tcp(b"GET /hushhush/1 HTTP/1.1\r\nHost: hidden-host.example\r\n\r\n", 80)),
        packets.ethernet(tcp(f"GET http://{OUTSIDE}/hushhush HTTP/1.1\r\nHost: {OUTSIDE}\r\n\r\n".encode(), 80)),
        packets.ethernet(packets.ipv4(packets.udp(vxlan, 5, 4789), INSIDE, OUTER, packets.UDP)),
        packets.ethernet(packets.ipv6(packets.udp(b"x", 1, 2), SIX, SEVEN, packets.UDP), 0x86DD),
        packets.ethernet(packets.arp(INSIDE, OUTSIDE), 0x0806),
    ]
    return packets.pcap((START + number * 1_000_000, frame) for number, frame in enumerate(frames * 20))


def forms() -> Iterator[tuple[str, bytes]]:
    """Yield every clear value in every form it could have."""
    for address in (INSIDE, OUTSIDE, OUTER, SIX, SEVEN):
        one = ipaddress.ip_address(address)
        yield f"{address} as text", address.encode()
        yield f"{address} packed", one.packed
        yield f"{address} little-endian", one.packed[::-1]
        yield f"{address} hexadecimal", one.packed.hex().encode()
        if one.version == 4:
            yield f"{address} decimal", str(int(one)).encode()
        else:
            yield f"{address} half", one.packed[:8]
            yield f"{address} half, little-endian", one.packed[:8][::-1]
            yield f"{address} exploded", one.exploded.encode()
    for word in WORDS:
        yield word, word.encode()
    mac = packets.ethernet(b"")[:6]
    yield "hardware address", mac
    yield "hardware address as text", mac.hex(":").encode()


def found(places: dict[str, bytes]) -> list[str]:
    return sorted(
        f"{name} in {place}" for place, content in places.items() for name, form in forms() if form in content
    )


def test_the_forms_are_those_of_the_capture() -> None:
    """Each value is in the packets, in the form the wire has."""
    told = " ".join(found({"capture": capture()}))

    assert all(f"{address} packed" in told for address in (INSIDE, OUTSIDE, OUTER, SIX, SEVEN))
    assert all(word in told for word in ("verysecret", "hidden-sni", "hidden-host", "hushhush", "hardware address"))


@pytest.fixture(name="private", params=[True, False], ids=["private", "clear"])
def _private(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(name="pcap")
def _pcap(scratch: Path) -> Path:
    path = scratch / "capture.pcap"
    path.write_bytes(capture())
    return path


def under(folder: Path, *, but: tuple[Path, ...] = ()) -> bytes:
    """Return all bytes of all files of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in but)
    return b"\0".join(path.read_bytes() for path in files)


async def test_nats_bucket_metrics_and_logs(
    nats_settings: NatsSettings,
    nats_server: NatsServer,
    s3_settings: S3Settings,
    tmp_path: Path,
    pcap: Path,
    private: bool,
) -> None:
    """Collector, NATS, backup, bucket, exporter: with privacy nothing clear, without it everything."""
    options = {f"PRIVACY_{name.upper()}": value for name, value in PRIVATE.items()} if private else {}
    # Families whose labels traffic chooses, too.
    options |= {"EXPORTER_TALKERS": "true", "EXPORTER_DOMAINS": "true", "LOG_LEVEL": "debug"}
    system = System(nats_settings, s3_settings, tmp_path, **options)
    await system.start()
    heard = bytearray()
    base = f"http://127.0.0.1:{system.exporter.port}"
    live = [spawn(listen(f"{base}/{name}", heard), name=name) for name in ("events", "tail")]
    try:
        # Compressed bytes hide what they hold from a search; tables and messages are read as rows, too.
        await system.collect(pcap, "arrow", compression="none", community_id="true", dns_timeout="0.001")
        await system.collect(pcap, "lines", encoding="ndjson", granularity="flow", community_id="true")
        last = await system.collect(pcap, "file", frame_bytes="0")
        rows = await system.stored("file", last.published_rows)
        rows += [*await system.rows("arrow"), *await system.rows("lines")]
        messages = await everything(system)
        pages = [await asyncio.to_thread(fetch, service.url) for service in (system.backup, system.exporter)]
        words, datagrams = await commands(system)
        places = {
            "nats": messages,
            "nats's files": under(nats_server.folder),
            "bucket": json.dumps(rows).encode(),
            "metrics": "\n".join(pages).encode(),
            "live page": bytes(heard),
            "doctor": words,
            "ipfix": datagrams,
            "logs": under(tmp_path, but=(pcap,)),
        }
    finally:
        for one in live:
            await cancel(one)
        await system.stop()
    told = found(places)

    assert len(rows) > 200
    assert all(places.values())
    if private:
        assert told == []
    else:
        assert {"10.77.66.55 as text in bucket", "10.77.66.55 packed in nats", "verysecret in nats's files"} <= set(
            told
        )
        assert {"10.77.66.55 as text in metrics", "verysecret in metrics", "10.77.66.55 as text in live page"} <= set(
            told
        )
        assert "203.0.113.77 packed in ipfix" in told


async def listen(url: str, heard: bytearray) -> None:
    """Keep what a page of the exporter sends of itself, until cancelled."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        async for part in answer.content.iter_any():
            heard.extend(part)


async def commands(system: System) -> tuple[bytes, bytes]:
    """Return the words of `streamgauge doctor`, and the datagrams of `streamgauge export ipfix`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.setblocking(False)
        address = f"udp://127.0.0.1:{sink.getsockname()[1]}"
        url = system.settings["STREAMGAUGE_NATS_URL"]
        flows = [*COMMAND, "export", "ipfix", "--nats", url, "--to", address, "--since", "all", "--once"]
        doctor, export = await asyncio.gather(
            asyncio.to_thread(run, [*COMMAND, "doctor"], system.settings), asyncio.to_thread(run, flows, {})
        )
        datagrams = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                datagrams += sink.recv(65_535)
    assert export[0] == 0, export
    return "\n".join([*doctor[1], *doctor[2], *export[1], *export[2]]).encode(), datagrams


async def everything(system: System) -> bytes:
    """Return all messages of the stream: their bytes, and their rows as text."""
    stream, content = system.bus.jetstream, b""
    info = await stream.stream_info("TRAFFIC")
    for sequence in range(info.state.first_seq, info.state.last_seq + 1):
        message = await stream.get_msg("TRAFFIC", sequence)
        content += str(message.headers).encode() + (message.data or b"")
        if message.subject is not None and message.subject.startswith("traffic."):
            batch = codec.decode(message.data or b"", (message.headers or {})["Content-Type"])
            content += codec.encode_ndjson(batch)
    return content


def test_spool_and_log_of_the_collector(
    nats_server: NatsServer, scratch: Path, pcap: Path, private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits on disk while NATS is away is hidden already; so are the collector's log and metrics."""
    for name, value in PRIVATE.items() if private else ():
        monkeypatch.setenv(f"STREAMGAUGE_PRIVACY_{name.upper()}", value)
    spool = scratch / "spool"
    collector = CollectorProcess(
        scratch,
        nats_url=nats_server.url,
        source="file",
        file=pcap,
        file_pace="recorded",
        file_loop=0,
        spool_dir=spool,
        compression="none",
        community_id=True,
    )
    with collector:
        eventually_sync(lambda: collector.metric("published_packets_total") > 100, within=60)
        nats_server.kill()
        eventually_sync(lambda: collector.metric("pending_packets") > 400, within=60)
        page = collector.get("/metrics")[1]
        collector.kill()
        places = {"spool": under(spool), "log": collector.log.read_bytes(), "metrics": page.encode()}
    told = found(places)

    assert os.path.getsize(next(spool.rglob("*.spool"))) > 1000  # noqa: PTH202
    if private:
        assert told == []
    else:
        assert {"10.77.66.55 packed in spool", "hushhush in spool"} <= set(told)


def test_frames_and_privacy_do_not_go_together(
    nats_server: NatsServer, scratch: Path, pcap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector does not start, and says why in one line; so does --check."""
    monkeypatch.setenv("STREAMGAUGE_PRIVACY_NAMES", "drop")
    for arguments in ((), ("--check",)):
        status, words = CollectorProcess(
            scratch, nats_url=nats_server.url, source="file", file=pcap, frame_bytes=96
        ).run(*arguments)

        assert status == 2
        assert len(words) == 1
        assert "STREAMGAUGE_COLLECTOR_FRAME_BYTES=96 keeps the packets themselves" in words[0]
