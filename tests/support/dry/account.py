"""Runs in the drill's pod, with the operator's keys: what the ledgers say was published, and what is stored.

Prints one JSON object: ``ledger`` (sums over every node, interface and boot), ``boots``, ``stored``, ``nodes``.
"""

from __future__ import annotations

import asyncio
import json
import sys

from nats.js.errors import NotFoundError

from streamgauge import settings, subjects
from streamgauge.bus import Bus
from streamgauge.demo.audit import count_bucket
from streamgauge.ledger import LedgerRecord
from streamgauge.store import Store


async def main() -> None:
    """Read both and print them."""
    loaded = settings.load(("nats", "s3"))
    nats = loaded.section(settings.NatsSettings)
    bus, store = Bus(nats, "audit"), Store(loaded.section(settings.S3Settings))
    await bus.start()
    await store.start()
    try:
        records = await _records(bus, nats.stream)
        stored, objects = await count_bucket(store)
    finally:
        await store.stop()
        await bus.stop()
    names = ("kernel_received", "kernel_dropped", "filtered", "decoded", "published", "spooled", "evicted")
    last = list(records.values())
    report = {
        "ledger": {name: sum(getattr(record, name) for record in last) for name in names},
        "rows": sum(record.published_rows for record in last),
        "unbalanced": [record.node for record in last if record.unpublished or record.reason != "stop"],
        "boots": len({record.boot for record in last}),
        "nodes": sorted({record.node for record in last}),
        "stored": {"packets": stored.packets, "rows": stored.rows, "objects": objects},
    }
    sys.stdout.write(json.dumps(report) + "\n")


async def _records(bus: Bus, stream: str) -> dict[tuple[str, str, str], LedgerRecord]:
    """Return the last record of each node, boot and interface."""
    last: dict[tuple[str, str, str], LedgerRecord] = {}
    sequence = 1
    while True:
        try:
            message = await bus.jetstream.get_msg(stream, seq=sequence, subject=f"{subjects.LEDGER}.*", next=True)
        except NotFoundError:
            return last
        record = LedgerRecord.decode(message.data or b"")
        last[record.node, record.boot, record.interface] = record
        sequence = (message.seq or sequence) + 1


if __name__ == "__main__":
    asyncio.run(main())
