"""The fault proxy does what its modes say: a fault that does nothing would prove nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.chaos.proxy import Mode, Proxy
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PUT = b"PUT /chaos/a.parquet HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"


class Upstream:
    """A server that remembers what it heard and answers ``answer`` to each piece."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                self.heard += data
                writer.write(b"answer")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.ended.set()


@pytest.fixture(name="upstream")
async def _upstream() -> AsyncIterator[tuple[Upstream, Proxy]]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    yield upstream, proxy
    await proxy.stop()
    server.close()
    await server.wait_closed()


async def abandon(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def ask(proxy: Proxy, *pieces: bytes) -> bytes:
    """Send pieces over a new connection; return what comes back within half a second, or until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    answer = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            async with asyncio.timeout(0.5):
                answer += await reader.read(4096)
    except (TimeoutError, OSError):
        pass
    finally:
        await abandon(writer)
    return answer


async def test_passes(upstream: tuple[Upstream, Proxy]) -> None:
    """Without a fault both directions pass."""
    assert await ask(upstream[1], b"hello") == b"answer"
    assert upstream[0].heard == b"hello"


@pytest.mark.parametrize(("mode", "heard"), [(Mode.HANG, b""), (Mode.REFUSE, b""), (Mode.DEAF, b"hello")])
async def test_nothing_comes_back(upstream: tuple[Upstream, Proxy], mode: Mode, heard: bytes) -> None:
    """A way that is silent, closed or deaf gives no answer; only the deaf one lets the server hear."""
    upstream[1].set(mode)

    assert await ask(upstream[1], b"hello") == b""
    assert upstream[0].heard == heard


async def test_busy(upstream: tuple[Upstream, Proxy]) -> None:
    """A busy server answers 503 in S3's words and hears nothing."""
    upstream[1].set(Mode.BUSY)
    answer = await ask(upstream[1], PUT)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"<Code>SlowDown</Code>" in answer
    assert upstream[0].heard == b""


async def test_cut_upload(upstream: tuple[Upstream, Proxy]) -> None:
    """Of an upload half arrives; the connection then ends."""
    upstream[1].set(Mode.CUT_UPLOAD)
    await ask(upstream[1], PUT, bytes(1000))
    await eventually(upstream[0].ended.is_set)

    assert 0 < len(upstream[0].heard) - len(PUT) < 1000


async def test_lose_answer(upstream: tuple[Upstream, Proxy]) -> None:
    """An upload arrives whole, its answer does not."""
    upstream[1].set(Mode.LOSE_ANSWER)

    assert await ask(upstream[1], PUT) == b""
    assert upstream[0].heard == PUT


async def test_cut_and_half_close(upstream: tuple[Upstream, Proxy]) -> None:
    """A half closed connection ends for the server, a cut one for the client as well."""
    for fault in (upstream[1].half_close, upstream[1].cut):
        upstream[0].ended.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream[1].port)
        writer.write(b"hello")
        assert await reader.read(6) == b"answer"
        fault()
        await eventually(upstream[0].ended.is_set)
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        await abandon(writer)
