"""The programs in docs/22-subscribe.md, run as they stand there against a real server."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.consumer.conftest import ROW

if TYPE_CHECKING:
    from streamgauge.bus import Bus
    from streamgauge.embedded import NatsServer
    from streamgauge.testing import Publisher

pytestmark = pytest.mark.live

PAGE = (Path(__file__).parents[3] / "docs" / "22-subscribe.md").read_text(encoding="utf-8")
PROGRAMS = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "asyncio.run" in block]


def test_there_are_programs() -> None:
    """The tests below are not passed by finding none."""
    assert len(PROGRAMS) == 4


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "node-a 10.0.0.1 example.com None"), (1, "packets, 0 gaps"), (2, "1 node-a dns 1"), (3, "example.com")],
)
async def test_program(nats_server: NatsServer, bus: Bus, node: Publisher, number: int, words: str) -> None:
    """It says what the page says, and ends."""
    await node.publish("dns", [ROW])
    program = PROGRAMS[number].replace("nats://127.0.0.1:4222", nats_server.url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    reading = asyncio.ensure_future(process.communicate())
    async with asyncio.timeout(30):
        while not reading.done():
            await node.publish("dns", [ROW])
            await asyncio.wait([reading], timeout=0.1)
    out = reading.result()[0].decode()

    assert (process.returncode, words in out) == (0, True), out
