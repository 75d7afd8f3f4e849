"""An exporter that is stopped for a while under load: it catches up, or skips and says how much; nobody else notices.

PAUSE_SECONDS=60 makes it a long pause.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.live.exporter.test_exporter import small
from tests.support import require
from tests.support.system import System
from tests.support.traffic import publish
from tests.support.waiting import eventually

PAUSE = float(os.environ.get("PAUSE_SECONDS", "2"))

pytestmark = [pytest.mark.live, pytest.mark.timeout(180 + 4 * PAUSE)]

#: Batches a second, and packets in each.
RATE, PACKETS = 50, 400


class Load:
    """Publishes batches at a steady rate, and remembers the longest wait for an acknowledgement."""

    def __init__(self, bus):
        self._bus = bus
        self._over = asyncio.Event()
        self.published = 0
        self.slowest = 0.0

    async def run(self):
        _, envelope, batch = small(PACKETS)
        traffic_class = small()[0]
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._over.is_set():
            self.published += 1
            now = time.time_ns()
            own = type(envelope)(
                **{**_fields(envelope), "sequence": self.published, "first_time": now, "last_time": now}
            )
            begin = loop.time()
            await publish(self._bus.jetstream, traffic_class, own, batch)
            self.slowest = max(self.slowest, loop.time() - begin)
            due = max(due + 1 / RATE, loop.time())
            await asyncio.sleep(due - loop.time())

    def end(self):
        self._over.set()


def _fields(envelope):
    return {name: getattr(envelope, name) for name in envelope.__dataclass_fields__}


@pytest.mark.parametrize("max_lag", [86_400, PAUSE / 2], ids=["catches up", "skips"])
async def test_a_pause_of_the_exporter_is_its_own_affair(nats_settings, s3_settings, scratch, max_lag, capsys):
    """While it is stopped, publishers and the backup go on; afterwards every packet is counted, once."""
    require.program("weed")
    system = System(nats_settings, s3_settings, scratch, EXPORTER_MAX_LAG=str(max_lag), EXPORTER_REPLAY="false")
    await system.start()
    load = Load(system.bus)
    running = asyncio.ensure_future(load.run())
    try:
        exporter = system.exporter

        async def total(name, service=exporter, **labels):
            return (await system.metrics(service)).total(name, **labels)

        async def counting():
            return await total("packets_total") > 0

        await eventually(counting, within=30)
        exporter.process.send_signal(signal.SIGSTOP)
        before = load.published
        await asyncio.sleep(PAUSE)
        backlog = load.published - before

        async def stored_meanwhile():
            return await total("stored_packets_total", system.backup) >= (before + backlog) * PACKETS

        await eventually(stored_meanwhile, within=30)
        exporter.process.send_signal(signal.SIGCONT)
        began = time.monotonic()

        async def caught_up():
            return await total("packets_total") >= (load.published - RATE) * PACKETS

        await eventually(caught_up, within=30 + PAUSE)
        took = time.monotonic() - began
        load.end()
        await running

        async def all_counted():
            return await total("packets_total") == load.published * PACKETS

        await eventually(all_counted, within=30)
        skipped = await total("exporter_skipped_packets_total")
        by_result = {name: await total("exporter_batches_total", result=name) for name in ("counted", "skipped")}
        assert by_result["counted"] + by_result["skipped"] == load.published
        assert skipped == by_result["skipped"] * PACKETS == await total("packets_total", protocol="__skipped__")
        assert (skipped > 0) == (max_lag < PAUSE)

        async def all_stored():
            return await total("stored_packets_total", system.backup) == load.published * PACKETS

        await eventually(all_stored, within=30)
    finally:
        exporter.process.send_signal(signal.SIGCONT)
        load.end()
        await system.stop()
    # Nobody waited for the exporter: at this rate an acknowledgement a second late would be a queue.
    assert backlog > 0.5 * RATE * PAUSE
    assert load.slowest < 1.0
    with capsys.disabled():
        if PAUSE >= 10:
            print(  # noqa: T201 a long pause is run to be looked at
                f"\npaused {PAUSE:.0f} s, {backlog} batches behind, {skipped:,} packets skipped, level again after "
                f"{took:.1f} s; slowest acknowledgement {1000 * load.slowest:.0f} ms"
            )
