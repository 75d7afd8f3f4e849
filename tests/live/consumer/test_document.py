"""The programs in docs/22-subscribe.md, run as they stand there against a real server."""

from __future__ import annotations

import asyncio
import re
import subprocess
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


#: What a checker has to find of the types, besides that the programs are right.
TYPED = """
import streamgauge

subscription = streamgauge.subscribe("nats://127.0.0.1:4222")
reveal_type(subscription.missed)


async def read() -> None:
    async for batch in subscription:
        reveal_type(batch)
        reveal_type(batch.gaps[0].packets)
        batch.packets + "packets"
"""


def test_a_strict_checker_knows_the_types(tmp_path: Path) -> None:
    """The page's programs are right for mypy, from outside of this repository; a wrong one is not."""
    for number, program in enumerate(PROGRAMS):
        (tmp_path / f"program_{number}.py").write_text(program)
    (tmp_path / "typed.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--ignore-missing-imports", "."]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    lines = [line for line in run.stdout.splitlines() if "Revealed type" in line or "error:" in line]

    assert [re.sub(r"^\./|:\d+(:\d+)?: ", " ", line).split(" ", 1)[0] for line in lines] == ["typed.py"] * 4, run.stdout
    assert [part for line in lines for part in re.findall(r'type is "(.*)"', line)] == [
        "list[streamgauge.consumer.gaps.Gap]",
        "streamgauge.consumer.batch.Batch",
        "int | None",
    ]
    assert "Unsupported operand types" in lines[-1]
