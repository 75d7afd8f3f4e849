"""A server without TLS is told nothing where TLS was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlparse

import pytest
from nats.aio.client import Srv
from pydantic import SecretStr

import streamgauge
from streamgauge.bus import Bus
from streamgauge.errors import BusError
from streamgauge.nats_client import Client, NotEncryptedError
from streamgauge.secrets import authority
from streamgauge.settings import NatsSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GREETING = {"server_id": "x", "version": "2.15.1", "proto": 1, "max_payload": 1 << 20, "auth_required": True}


class Stripped:
    """Stands in the way and says that no TLS is needed; keeps what it is told."""

    def __init__(self, *, tls_available: bool) -> None:
        self._greeting = {**GREETING, "tls_available": tls_available}
        self.heard = bytearray()
        self.port = 0
        self.came = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        writer.write(b"INFO " + json.dumps(self._greeting).encode() + b"\r\n")
        while part := await reader.read(4096):
            self.heard.extend(part)
        writer.close()


@pytest.fixture(name="stripped", params=[True, False], ids=["available", "unknown"])
async def _stripped(request: pytest.FixtureRequest) -> AsyncIterator[Stripped]:
    stripped = Stripped(tls_available=request.param)
    server = await asyncio.start_server(stripped.serve, "127.0.0.1", 0)
    stripped.port = server.sockets[0].getsockname()[1]
    yield stripped
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_a_service_tells_its_password_to_nobody_without_tls(
    stripped: Stripped, tmp_path: Path, scheme: str
) -> None:
    """By the URL, or because it was given an authority."""
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.make_authority().certificate)
    settings = NatsSettings(
        url=f"{scheme}://127.0.0.1:{stripped.port}",
        user="collector",
        password=SecretStr("a-long-random-one"),
        tls_ca=ca if scheme == "nats" else None,
        connect_timeout=1.5,
    )
    with pytest.raises(BusError, match="offers no TLS") as caught:
        await Bus(settings, "test").start()

    assert stripped.came
    assert stripped.heard == b""
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_nor_does_a_program_of_one_s_own(stripped: Stripped, scheme: str) -> None:
    """``subscribe`` with ``tls://``, or with ``tls=``."""
    url = f"{scheme}://127.0.0.1:{stripped.port}"
    tls = ssl.create_default_context() if scheme == "nats" else None
    with pytest.raises(streamgauge.BusError, match="offers no TLS"):
        async with streamgauge.subscribe(url, user="reader", password="a-long-random-one", tls=tls, timeout=1.5):
            pass

    assert stripped.came
    assert stripped.heard == b""


@pytest.mark.parametrize(("scheme", "is_clear"), [("ws", True), ("wss", False)])
async def test_a_web_socket_in_the_clear_is_none_for_who_was_given_an_authority(scheme: str, is_clear: bool) -> None:
    """Whatever the server says: nats-py goes on as it began there."""
    client = Client()
    client.options = {"tls": ssl.create_default_context()}
    client._current_server = Srv(urlparse(f"{scheme}://host:443"))
    greetings = [{**GREETING, "tls_required": required} for required in (True, False)]
    with pytest.raises(NotEncryptedError) if is_clear else contextlib.nullcontext():
        for greeting in greetings:
            await client._process_info(greeting, initial_connection=True)
