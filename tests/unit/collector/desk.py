"""A spool as a collector has it, and what a crash leaves of it."""

from __future__ import annotations

from services.collector.account import Account
from services.collector.pending import entry_of
from services.collector.spool import Spool
from streamgauge.ledger import LedgerRecord
from streamgauge.lifecycle import Failure
from streamgauge.settings import CollectorSettings
from tests.unit.collector.making import message


class Desk:
    """A spool and an account of one boot."""

    def __init__(self, folder, boot="boot-1", *, received=None):
        self.account, self.failure, self.boot = Account(), Failure(), boot
        settings = CollectorSettings(spool_dir=folder, spool_bytes=16 << 20)
        self.received = received
        self.spool = Spool(settings, boot, self.account, self.failure, record=self.record)

    def record(self):
        totals = self.account.totals()
        return LedgerRecord(
            node="node-a",
            boot=self.boot,
            interface="eth0",
            time=1,
            reason="tick",
            kernel_received=totals.decoded if self.received is None else self.received,
            decoded=totals.decoded,
            published=totals.published,
            spooled=totals.spooled,
            evicted=totals.evicted,
        )

    async def append(self, *sequences, payload=b"payload"):
        messages = [message(n, payload) for n in sequences]
        self.account.decoded(len(messages))
        locations = await self.spool.append(messages)
        self.account.accepted(messages)
        return [entry_of(*pair) for pair in zip(messages, locations, strict=True)]

    async def done(self, entries):
        for entry in entries:
            self.account.published(entry.envelope)
        await self.spool.done(entries)

    def files(self):
        return sorted(self.spool._folder.rglob("*.spool"))


async def crash(desk):
    """Leave a spool as a killed process would: nothing more is written, the lock goes."""
    desk.spool._task.cancel()
    for book in desk.spool.books.values():
        if book.log is not None and book.log._handle is not None:
            await book.log._handle.close()
    desk.spool._lock.close()


async def restarted(folder, boot="boot-2"):
    desk = Desk(folder, boot)
    await desk.spool.start()
    return desk
