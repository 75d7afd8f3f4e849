"""The nodes' ledger records added up: totals per node and interface that only grow, over restarts of the collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.ledger import LedgerRecord

#: The counts that are added up; the others of a record are levels.
COUNTS: Final = (
    "kernel_received",
    "kernel_dropped",
    "filtered",
    "decoded",
    "malformed",
    "coarsened",
    "published",
    "evicted",
    "crashed",
    "published_bytes",
)

#: Seconds after which an interface that ended in order, and one that went silent, leaves the page.
_ENDED_AFTER: Final = 600.0
_SILENT_AFTER: Final = 3600.0
#: Boots of which the last record is kept: a collector goes on with the accounts of boots that were killed, all at once.
_BOOTS: Final = 256


class Account:
    """One interface of one node: the last record of each boot, which speak in turns while former boots are closed."""

    def __init__(self, record: LedgerRecord, heard: float) -> None:
        """``heard`` is when the record came in, in seconds of the wall clock."""
        self._boots = {record.boot: record}
        #: Final counts of the boots that are no longer kept apart.
        self._before = dict.fromkeys(COUNTS, 0)
        #: The last record of the boot that runs, or ran last.
        self.latest = record
        self.heard = heard

    def total(self, name: str) -> int:
        """Return a count over all boots that were seen."""
        return self._before[name] + sum(int(getattr(record, name)) for record in self._boots.values())

    @property
    def lost(self) -> int:
        """Packets lost for good, over all boots that were seen."""
        return self.total("kernel_dropped") + self.total("evicted") + self.total("crashed")

    @property
    def spooled(self) -> int:
        """Packets that wait: of the boot that runs, and what it found of former ones."""
        return sum(record.spooled for record in self._open())

    @property
    def imbalance(self) -> int:
        """Packets without a name, of the boot that runs and of former ones it goes on with."""
        return sum(abs(record.unpublished) for record in self._open())

    def take(self, record: LedgerRecord, now: float) -> None:
        """Replace the record of a boot, unless the new one is older: counts only grow, clocks may be stepped."""
        known = self._boots.get(record.boot)
        if known is not None and _is_older(record, known):
            return
        self._boots.pop(record.boot, None)
        self._boots[record.boot] = record
        if record.reason != "recovered" or record.boot == self.latest.boot or self.latest.reason == "recovered":
            self.latest = record
        self.heard = now
        while len(self._boots) > _BOOTS:
            oldest = self._boots.pop(next(iter(self._boots)))
            for name in COUNTS:
                self._before[name] += int(getattr(oldest, name))

    def _open(self) -> Iterator[LedgerRecord]:
        for record in self._boots.values():
            if record.reason == "recovered" or record.boot == self.latest.boot:
                yield record


def _is_older(record: LedgerRecord, known: LedgerRecord) -> bool:
    if record.reason == "recovered":
        # Has the last word, and is made from the spool's account, which may be a moment behind what was published.
        return known.reason == "recovered" and record.time == known.time
    return known.reason == "recovered" or record.time == known.time or record.kernel_received < known.kernel_received


class LedgerBook:
    """All accounts; lives as long as the service."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], Account] = {}

    def take(self, record: LedgerRecord, now: float) -> None:
        """Enter a record that came in at ``now`` (seconds of the wall clock)."""
        account = self._accounts.get((record.node, record.interface))
        if account is None:
            self._accounts[record.node, record.interface] = Account(record, now)
        else:
            account.take(record, now)

    def accounts(self, now: float) -> Iterator[tuple[tuple[str, str], Account]]:
        """Return the accounts by node and interface; those not heard of for long are closed first."""
        for name, account in list(self._accounts.items()):
            limit = _ENDED_AFTER if account.latest.reason == "stop" else _SILENT_AFTER
            if now - account.heard > limit:
                self._accounts.pop(name, None)
        return iter(list(self._accounts.items()))
