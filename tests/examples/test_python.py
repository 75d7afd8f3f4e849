"""The Python example, as it stands in examples/, against a real server; the other languages: `make test-examples`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.examples.running import EXAMPLES, WANTED, publish_and_read

if TYPE_CHECKING:
    from streamgauge.embedded import NatsServer

pytestmark = pytest.mark.live


@pytest.mark.parametrize("encoding", ["arrow", "ndjson"])
async def test_python(nats_server: NatsServer, encoding: str) -> None:
    """It prints who asked for what, and tells of a batch that was lost."""
    command = [sys.executable, str(EXAMPLES / "python" / "dns.py"), nats_server.url]
    out, err = await publish_and_read(nats_server, command, encoding)

    assert out == WANTED
    assert "missed: worker-1: 1 batches of dns" in err
