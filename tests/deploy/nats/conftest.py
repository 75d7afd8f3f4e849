"""The shipped NATS configuration on a real server, with keys made for it and the stream made by bootstrap."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from streamgauge.bus import Bus
from streamgauge.secrets.__main__ import main as make_secrets
from streamgauge.settings import NatsSettings
from tests.support import require
from tests.support.nats_stand import ShippedNats

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Stand:
    """A running server and its keys."""

    server: ShippedNats
    keys: Path

    def settings(self, user: str, *, create_stream: bool = False) -> NatsSettings:
        """Return a user's settings, as its service gets them."""
        password = (self.keys / user / "nats-password").read_text()
        return NatsSettings(
            url=self.server.url,
            user=user,
            password=SecretStr(password),
            tls_ca=self.keys / user / "ca.crt",
            create_stream=create_stream,
            max_bytes=64 << 20,
        )


@pytest.fixture(name="stand", scope="session")
def _stand() -> Iterator[Stand]:
    require.program("nats-server")
    folder = Path(tempfile.mkdtemp(prefix="sg-nats-"))
    keys = folder / "keys"
    try:
        assert make_secrets(["--folder", str(keys)]) == 0
        with ShippedNats(folder, keys) as server:
            stand = Stand(server, keys)
            asyncio.run(bootstrap(stand))
            yield stand
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def bootstrap(stand: Stand) -> None:
    """Make the stream."""
    bus = Bus(stand.settings("bootstrap", create_stream=True), "bootstrap")
    await bus.start()
    try:
        await bus.ensure_stream()
    finally:
        await bus.stop()
