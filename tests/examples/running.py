"""Run an example while batches are published, and say what it should print."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats

from streamgauge import codec, subjects
from streamgauge.schema import TrafficClass
from streamgauge.subjects import ARROW, NDJSON
from streamgauge.testing import Publisher, batch_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamgauge.embedded import NatsServer

EXAMPLES = Path(__file__).parents[2] / "examples"

ROWS: list[dict[str, Any]] = [
    {"src_ip": "10.0.0.1", "dns_name": "example.com", "dns_response": False},
    {"src_ip": "10.0.0.53", "dns_name": "gone.example", "dns_response": True, "dns_rcode": 3},
    {"src_ip": "2001:db8::1", "dns_name": "six.example", "dns_response": False},
]
DNS = subjects.traffic("worker-1", TrafficClass.DNS)
#: The name in the last batch.
LAST = "last.example"
#: What every example prints for them: two in one batch, one in a later one.
WANTED = [
    "worker-1 10.0.0.1 example.com",
    "worker-1 2001:db8::1 six.example",
    "worker-1 10.0.0.53 gone.example rcode 3",
]


async def publish_and_read(
    server: NatsServer, command: Sequence[str], encoding: str, *, environment: Mapping[str, str] | None = None
) -> tuple[list[str], str]:
    """Run a program that reads DNS while batches are published; return its distinct lines and what it said.

    The first batch comes again and again until the program reads; then one is lost, one comes twice, and others follow.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    connection = await nats.connect(server.url)
    node = Publisher(connection, "worker-1", content_type=NDJSON if encoding == "ndjson" else ARROW)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            lines = [await _first_line(process.stdout, node)]
            await node.publish("dns", ROWS[:1], stored=False, lose=True)
            sent = await node.publish("dns", ROWS[1:2], stored=False)
            await node.publish("dns", ROWS[1:2], stored=False)
            # A collector that got no answer sends a batch again; that is no gap.
            again = codec.encode(batch_of(ROWS[1:2], node="worker-1"), sent.content_type)
            await connection.publish(DNS, again, headers=sent.headers())
            # A gap is certain once a node has gone on far enough.
            for _ in range(8):
                await node.publish("tcp", [{"src_ip": "10.9.9.9"}], stored=False)
            await node.publish("dns", [{"src_ip": "10.0.0.9", "dns_name": LAST}], stored=False)
            while LAST not in lines[-1]:
                lines.append(await _line(process.stdout))
            # The whole group: a shell has children.
            os.killpg(process.pid, signal.SIGTERM)
            error = (await process.stderr.read()).decode()
            await process.wait()
        return list(dict.fromkeys(lines[:-1])), error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await connection.close()


async def _first_line(out: asyncio.StreamReader, node: Publisher) -> str:
    reading = asyncio.ensure_future(_line(out))
    while not reading.done():
        await node.publish("tcp", [{"src_ip": "10.9.9.9"}], stored=False)
        await node.publish("dns", [ROWS[0], ROWS[2]], stored=False)
        await asyncio.wait([reading], timeout=0.5)
    return reading.result()


async def _line(out: asyncio.StreamReader) -> str:
    return (await out.readline()).decode().rstrip("\n")
