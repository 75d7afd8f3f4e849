"""Told to end while it compiles its kernels, as on the first start on a machine, a collector ends at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from pathlib import Path

    from streamgauge.embedded import NatsServer

pytestmark = pytest.mark.live


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once(nats_server: NatsServer, scratch: Path, tmp_path: Path, number: signal.Signals) -> None:
    """In order, with status 0, and long before the kernels would be compiled."""
    from streamgauge.demo import sample

    sample.write(tmp_path / "a.pcap", count=10)
    cache = scratch / "kernels"
    settings = {
        "NUMBA_CACHE_DIR": str(cache),
        "STREAMGAUGE_NATS_URL": nats_server.url,
        "STREAMGAUGE_NATS_MAX_BYTES": str(64 << 20),
        "STREAMGAUGE_COLLECTOR_SOURCE": "file",
        "STREAMGAUGE_COLLECTOR_FILE": str(tmp_path / "a.pcap"),
        "STREAMGAUGE_COLLECTOR_PORT": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.collector"],
        env={**os.environ, **settings},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        # The first kernel is on the disk: the others are being compiled.
        eventually_sync(lambda: any(cache.rglob("*.nbi")), within=100)
        process.send_signal(number)
        sent = time.monotonic()
        _, written = process.communicate(timeout=100)
    finally:
        process.kill()

    assert (process.returncode, "told to stop while starting" in written) == (0, True), written
    assert time.monotonic() - sent < 8
