"""Writes the ledger: one record at start, every few seconds, and at the end; and closes that of former boots."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from nats.errors import Error as NatsError

from streamgauge import subjects
from streamgauge.errors import BusError
from streamgauge.ledger import INTERVAL, LedgerRecord
from streamgauge.lifecycle import Failure, cancel, spawn
from streamgauge.logs import Sampled, get

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.collector.account import Account
    from services.collector.link import Link
    from services.collector.pending import Pending
    from services.collector.sources import Source
    from services.collector.spool import Spool
    from streamgauge.bus import Bus
    from streamgauge.ledger import Reason

_log = get("ledger")

#: Seconds the last record may take when the service stops.
_STOP_TIMEOUT: Final = 3.0
_RETRY_PAUSE: Final = 0.1


class LedgerWriter:
    """Publishes the account of this boot. Records are cumulative: the next one makes good for one that got lost."""

    def __init__(
        self,
        node: str,
        boot: str,
        *,
        bus: Bus,
        link: Link,
        account: Account,
        source: Source,
        pending: Pending,
        spool: Spool,
        sequence: Callable[[], int],
        level: Callable[[], int],
        failure: Failure,
    ) -> None:
        self._node = node
        self._boot = boot
        self._bus = bus
        self._link = link
        self._account = account
        self._source = source
        self._pending = pending
        self._spool = spool
        self._sequence = sequence
        self._level = level
        self._failure = failure
        self._task: asyncio.Task[None] | None = None
        self._sampled = Sampled(_log)

    async def start(self) -> None:
        """Begin to write."""
        self._task = spawn(self._run(), name="ledger", failure=self._failure)

    async def stop(self) -> None:
        """Write the last record, if the server is there."""
        await cancel(self._task)
        if self._link.trouble is not None:
            _log.warning("the last ledger record is not written", reason=self._link.trouble)
            return
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                while True:
                    await self._link.wait()
                    if await self._write(self.record("stop")):
                        break
                    await asyncio.sleep(_RETRY_PAUSE)
                await self._write_former()
        except TimeoutError:
            _log.error("the last ledger record could not be written")
            return
        if not self._account.totals().spooled:
            await self._spool.forget(self._boot)

    def record(self, reason: Reason) -> LedgerRecord:
        """Return the account as it stands. Decoded is read before received, so that it never exceeds it."""
        totals = self._account.totals()
        counts = self._source.counts()
        return LedgerRecord(
            node=self._node,
            boot=self._boot,
            interface=self._source.interface,
            time=time.time_ns(),
            reason=reason,
            kernel_received=counts.received,
            kernel_dropped=counts.dropped,
            decoded=totals.decoded,
            malformed=totals.malformed,
            coarsened=totals.coarsened,
            level=self._level(),
            published=totals.published,
            spooled=totals.spooled,
            evicted=totals.evicted,
            published_rows=totals.published_rows,
            published_bytes=totals.published_bytes,
            sequence=self._pending.settled(self._boot, self._sequence()),
        )

    async def _run(self) -> None:
        reason: Reason = "start"
        while True:
            await self._link.wait()
            if await self._write(self.record(reason)):
                reason = "tick"
            await self._write_former()
            await asyncio.sleep(INTERVAL)

    async def _write_former(self) -> None:
        """Go on with the accounts of former boots, and close those whose messages are all settled."""
        for boot, book in list(self._spool.books.items()):
            if book.leftover is None:
                continue
            totals = book.account.totals()
            settled = self._pending.settled(boot, book.leftover.sequence)
            if await self._write(book.leftover.record(totals, settled=settled)) and not totals.spooled:
                await self._spool.forget(boot)

    async def _write(self, record: LedgerRecord) -> bool:
        try:
            await self._bus.jetstream.publish(
                subjects.ledger(record.node),
                record.encode(),
                headers={"Nats-Msg-Id": f"ledger/{record.node}/{record.boot}/{record.time}"},
            )
        except (NatsError, BusError, TimeoutError, OSError) as error:
            self._sampled.warning("ledger record not written", error=str(error) or type(error).__name__)
            return False
        return True
