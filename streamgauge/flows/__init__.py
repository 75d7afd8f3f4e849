"""What only several packets together tell: round trips, retransmissions, answers that came late or never.

    table = FlowTable()
    first = len(rows)
    decoder.decode(data, index, 0, count, rows)
    table.fill(rows, first)

A pass over rows that were just decoded; both directions of a flow share an entry. Light to import: Numba and the
kernels load with the first table, or with ``warm_up``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamgauge.flows.layout import (
    EVICTED,
    QUERIES_EVICTED,
    QUERY_DUE,
    QUERY_FIRST,
    QUERY_LAST,
    USED,
    new_table,
    with_larger_directory,
)

if TYPE_CHECKING:
    from streamgauge.flows.community_id import CommunityIds
    from streamgauge.rows import Rows

__all__ = ["CONNECTIONS", "DNS_TIMEOUT", "FlowTable", "warm_up"]

#: Connections remembered at once; 128 bytes each, taken as they come.
CONNECTIONS: Final = 1 << 20
#: Queries remembered at once; 600 bytes each, taken as they come.
QUERIES: Final = 1 << 16
#: Spreads the number of an interface over 62 bits: fractional bits of the golden ratio.
_SPREAD, _MASK = 0x9E37_79B9_7F4A_7C15, (1 << 62) - 1
#: Seconds after which a query counts as unanswered: the resolver of glibc waits as long (resolv.conf, timeout).
DNS_TIMEOUT: Final = 5.0


class FlowTable:
    """The flows of one source, bounded; lives as long as the source. Used from one thread at a time.

    When all places are taken, a connection that was not used of late makes room (second chance), which is counted.
    """

    def __init__(
        self,
        connections: int = CONNECTIONS,
        *,
        queries: int = QUERIES,
        dns_timeout: float = DNS_TIMEOUT,
        health: bool = True,
        community_id: bool = False,
    ) -> None:
        """Set the bounds and what is filled: health columns, Community ID, or both.

        Args:
            connections: TCP connections remembered at once.
            queries: DNS queries remembered at once.
            dns_timeout: Seconds after which a query counts as unanswered.
            health: Fill the health columns and report unanswered queries.
            community_id: Fill the column ``community_id``, which takes about a microsecond a row.

        """
        from streamgauge.flows.health_kernels import fill_health, report_unanswered

        self._health = health
        self._fill_health, self._report_unanswered = fill_health, report_unanswered
        self._table = new_table(connections, queries)
        self._timeout = int(dns_timeout * 1e9)
        self._ids: CommunityIds | None = None
        if community_id:
            from streamgauge.flows.community_id import CommunityIds

            self._ids = CommunityIds()

    @property
    def connections(self) -> int:
        """Connections remembered."""
        return int(self._table.counts[USED])

    @property
    def evicted(self) -> int:
        """Connections that had to make room."""
        return int(self._table.counts[EVICTED])

    @property
    def queries_evicted(self) -> int:
        """Queries that had to make room before they were answered or reported."""
        return int(self._table.counts[QUERIES_EVICTED])

    @property
    def queries(self) -> int:
        """Numbers of queries between the oldest that waits for its response and the latest."""
        return int(self._table.counts[QUERY_LAST] - self._table.counts[QUERY_DUE])

    @property
    def unreported(self) -> bool:
        """Whether ``report`` has anything to look at."""
        return bool(self._table.counts[QUERY_FIRST] < self._table.counts[QUERY_DUE])

    def fill(self, rows: Rows, first: int, link: int = 0) -> None:
        """Fill the health columns of the rows from ``first`` on; call it once for each row, in capture order.

        Args:
            rows: Rows just decoded.
            first: The first of them.
            link: Number of the interface that saw them, 0 to 2^32 - 1, if the source has several: a packet that
                passes two of them is no retransmission.

        """
        if self._health:
            larger = with_larger_directory(self._table, len(rows) - first)
            if larger is not None:
                from streamgauge.flows.health_kernels import fill_directory

                fill_directory(larger)
                self._table = larger
            self._table.salt[0] = link * _SPREAD & _MASK
            self._fill_health(rows.buffers, first, self._table, self._timeout)
        if self._ids is not None:
            self._ids.fill(rows, first)

    def advance(self, now: int) -> None:
        """Let the clock, ns since 1970, go on without a packet: queries may become unanswered by it."""
        if self._health:
            from streamgauge.flows.health_kernels import advance_clock

            advance_clock(self._table, now, self._timeout)

    def report(self, rows: Rows) -> int:
        """Append a row for each query that became unanswered, as far as there is room; return how many.

        Such a row stands for no packet and no byte. Its time is when the query was given up.
        """
        if not self.unreported:
            return 0
        first = len(rows)
        appended = int(self._report_unanswered(rows.buffers, rows.capacity, self._table, self._timeout))
        if appended and self._ids is not None:
            self._ids.fill(rows, first)
        return appended


def warm_up() -> None:
    """Compile the kernels, or load them from the cache on disk; services do this before they report ready."""
    from streamgauge.flows.health_kernels import fill_directory, report_unanswered
    from streamgauge.flows.merge import Merger
    from streamgauge.rows import Rows

    table, rows = FlowTable(2, queries=2), Rows(1)
    fill_directory(new_table(2, 2))
    table.fill(rows, 0)
    table.advance(0)
    report_unanswered(rows.buffers, rows.capacity, table._table, 0)
    Merger(window=1.0).merge(rows, 0, Rows(1))
