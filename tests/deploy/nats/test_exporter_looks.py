"""The exporter's looks at the stream and at the backup's consumers are allowed by the shipped permissions."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from services.backup.consumer import Consumer
from services.exporter.hops import Hops
from streamgauge import objects, subjects
from streamgauge.bus import Bus
from streamgauge.lifecycle import Failure
from streamgauge.settings import ExporterSettings
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.deploy.nats.conftest import Stand


async def test_the_exporter_sees_the_stream_and_what_the_backup_has_not_stored(stand: Stand) -> None:
    async with contextlib.AsyncExitStack() as stack:
        buses = {}
        for user in ("backup", "collector", "exporter"):
            buses[user] = Bus(stand.settings(user), user)
            await buses[user].start()
            stack.push_async_callback(buses[user].stop)
        info = await buses["backup"].ensure_stream()
        assert info.created is not None
        consumer = Consumer(
            buses["backup"],
            stream="TRAFFIC",
            incarnation=objects.incarnation(info.created),
            name="backup-ledger",
            subject=f"{subjects.LEDGER}.*",
            ack_wait=5.0,
            timeout=5.0,
        )
        await consumer.open(0)
        stack.push_async_callback(consumer.close)
        await buses["collector"].jetstream.publish("ledger.v1.node-1", b"{}")
        hops = Hops(buses["exporter"], ExporterSettings(), stand.settings("exporter"), Failure())
        await hops.start()
        stack.push_async_callback(hops.stop)
        seen = await asyncio.wait_for(eventually(lambda: hops.consumers), 30)

    assert hops.stream is not None
    assert [each.name for each in seen] == ["backup-ledger"]
    assert seen[0].pending + seen[0].unacknowledged > 0
    assert seen[0].oldest_age > 0
