"""Synthetic nodes: one node's messages, made once by the collector's own batcher and sent under many names."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.trace import write_trace
from services.collector.batcher import Batcher, Message
from streamgauge import subjects
from streamgauge.bus import Bus
from streamgauge.decode import Decoder
from streamgauge.decode.capture_file import open_capture
from streamgauge.rows import Rows
from streamgauge.settings import CollectorSettings, NatsSettings

if TYPE_CHECKING:
    from collections.abc import Sequence


def messages(packets: int, window: int) -> list[Message]:
    """Return a trace of so many packets as one node publishes it, a batch for each class every ``window`` packets."""
    settings = CollectorSettings(node="template", batch_rows=min(window, 8192))
    batcher = Batcher(settings, "boot", interface="eth0", largest_payload=lambda: 8 << 20)
    rows, decoder, made = Rows(window), Decoder(), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.pcap"
        write_trace(path, packets, 1)
        with open_capture(path) as capture:
            for data, index, count in capture.blocks():
                at = 0
                while at < count:
                    at += decoder.decode(data, index, at, min(count, at + window), rows)
                    made += list(batcher.messages(rows))
                    rows.clear()
    return made


class Node:
    """One node: a connection and a sequence of its own."""

    def __init__(self, name: str, nats: NatsSettings, template: Sequence[Message]) -> None:
        self.name = name
        self._bus = Bus(nats, "collector")
        self._template = template
        self._boot = f"{time.time_ns():x}"
        self._sequence = 0
        self.rows = 0
        self.bytes = 0
        #: Seconds each acknowledgement took.
        self.waits: list[float] = []

    async def start(self) -> None:
        """Connect."""
        await self._bus.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._bus.stop()

    async def send(self, until: float, pause: float) -> None:
        """Publish one message after the other, each when the last is acknowledged and ``pause`` is over."""
        jetstream, token = self._bus.jetstream, subjects.node_token(self.name)
        while time.perf_counter() < until:
            message = self._template[self._sequence % len(self._template)]
            self._sequence += 1
            envelope = dataclasses.replace(message.envelope, node=self.name, boot=self._boot, sequence=self._sequence)
            subject = message.subject.replace(".template.", f".{token}.")
            begun = time.perf_counter()
            await jetstream.publish(subject, message.payload, timeout=30, headers=envelope.headers())
            self.waits.append(time.perf_counter() - begun)
            self.rows += envelope.rows
            self.bytes += len(message.payload)
            await asyncio.sleep(max(0.0, pause - self.waits[-1]))
