"""What a crash took that was nowhere but in memory is counted to the packet, as far as something behind it is left."""

from __future__ import annotations

import errno

from services.collector import boot_log
from tests.unit.collector.desk import Desk, crash, restarted


async def refuse(*_arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_batches_that_were_in_memory_only_are_counted_by_those_behind_them(tmp_path, monkeypatch):
    """The disk was full for a while, NATS away, then the process was killed: the gap has its packets."""
    first = Desk(tmp_path)
    await first.spool.start()
    await first.append(1, 2)
    with monkeypatch.context() as full:
        full.setattr(boot_log.BootLog, "_write", refuse)
        await first.append(3, 4, 5)
    monkeypatch.setattr(first.spool, "_not_before", 0.0)
    await first.append(6, 7)
    await crash(first)
    second = await restarted(tmp_path)
    book = second.spool.books["boot-1"]
    record = book.leftover.record(book.account.totals(), settled=0)

    assert [entry.envelope.sequence for entry in second.spool.left] == [1, 2, 6, 7]
    assert (record.decoded, record.crashed, record.spooled, record.unpublished) == (7, 3, 4, 0)
    await second.spool.stop()
