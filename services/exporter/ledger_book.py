"""The nodes' ledger records added up: totals per node and interface that only grow, over restarts of the collector."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    "published_bytes",
)

#: Seconds after which an interface that ended in order, and one that went silent, leaves the page.
_ENDED_AFTER: Final = 600.0
_SILENT_AFTER: Final = 3600.0


@dataclass(slots=True)
class Account:
    """One interface of one node."""

    latest: LedgerRecord
    #: Seconds of the wall clock when the latest record came in.
    heard: float
    #: Final counts of the boots before.
    before: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def total(self, name: str) -> int:
        """Return a count over all boots that were seen."""
        return self.before[name] + int(getattr(self.latest, name))

    @property
    def lost(self) -> int:
        """Packets lost for good, over all boots that were seen."""
        return self.total("kernel_dropped") + self.total("evicted")

    def take(self, record: LedgerRecord, now: float) -> None:
        """Replace the latest record, unless the new one is older."""
        if record.time < self.latest.time:
            return
        if record.boot != self.latest.boot:
            for name in COUNTS:
                self.before[name] += int(getattr(self.latest, name))
        self.latest = record
        self.heard = now


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
