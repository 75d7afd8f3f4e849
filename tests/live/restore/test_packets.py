"""A window goes back to packets: what Wireshark's own tools read in it is what they read in the capture."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.trace import write_trace
from streamgauge.cli.main import main
from tests.support import require
from tests.support.backup import Running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

PACKETS = 5000
START = 1_760_000_000  # seconds since 1970
FIELDS = ("frame.time_epoch", "frame.len", "frame.cap_len", "frame.protocols", "_ws.col.Info")


def with_own_times(source: Path, target: Path) -> None:
    """Copy a capture file in nanoseconds, each packet a microsecond after the one before: no two at the same time."""
    content = source.read_bytes()
    copy = bytearray(struct.pack("<I", 0xA1B23C4D) + content[4:24])
    at = 24
    for number in range(PACKETS):
        _, _, length, wire = struct.unpack_from("<IIII", content, at)
        copy += struct.pack("<IIII", START, number * 1000 + 7, length, wire) + content[at + 16 : at + 16 + length]
        at += 16 + length
    target.write_bytes(copy)


def collect(capture: Path, nats_url: str) -> None:
    """Run a collector that keeps whole frames."""
    settings = {
        "STREAMGAUGE_NATS_URL": nats_url,
        "STREAMGAUGE_NATS_MAX_BYTES": str(256 << 20),
        "STREAMGAUGE_COLLECTOR_NODE": "node-a",
        "STREAMGAUGE_COLLECTOR_PORT": "0",
        "STREAMGAUGE_COLLECTOR_SOURCE": "file",
        "STREAMGAUGE_COLLECTOR_FILE": str(capture),
        "STREAMGAUGE_COLLECTOR_FRAME_BYTES": "65535",
    }
    ran = subprocess.run(
        [sys.executable, "-m", "services.collector"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def editcap(*arguments: str | Path) -> None:
    subprocess.run([require.program("editcap"), "-F", "nsecpcap", *map(str, arguments)], check=True)


def tshark(capture: Path) -> list[str]:
    """Return what tshark says of each packet."""
    fields = [part for name in FIELDS for part in ("-e", name)]
    command = [require.program("tshark"), "-n", "-r", str(capture), "-T", "fields", *fields]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


async def test_a_window_equals_what_editcap_cuts_out(
    nats_settings, s3_settings, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through collector, NATS, Parquet and back: the same bytes at the same nanoseconds, in the same order."""
    generated, capture, cut, restored = (
        scratch / name for name in ("generated.pcap", "capture.pcap", "cut.pcap", "restored.pcap")
    )
    write_trace(generated, PACKETS, 3)
    with_own_times(generated, capture)
    running = await Running(nats_settings, s3_settings, rotate_rows=1500).start()
    collect(capture, nats_settings.url)
    await running.all_stored(PACKETS)
    await running.stop()
    environment = {
        "ENDPOINT": s3_settings.endpoint,
        "SECURE": "false",
        "ACCESS_KEY": s3_settings.access_key,
        "SECRET_KEY": s3_settings.secret_key.get_secret_value(),
        "BUCKET": s3_settings.bucket,
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"STREAMGAUGE_S3_{name}", value)
    day = "2025-10-09T08:53:20"
    window = ["--since", f"{day}.001", "--until", f"{day}.004"]

    # In a thread: the command has an event loop of its own.
    status = await asyncio.to_thread(main, ["restore", "--format", "pcap", *window, "-o", str(restored)])
    editcap("-A", f"{START}.001", "-B", f"{START}.004", capture, cut)
    again = scratch / "again.pcap"
    editcap(restored, again)

    assert status == 0
    assert again.read_bytes() == cut.read_bytes()
    assert restored.read_bytes()[24:] == cut.read_bytes()[24:]
    seen = tshark(restored)
    assert len(seen) == 3000
    assert seen == tshark(cut)
