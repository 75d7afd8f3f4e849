"""The pass over rows just decoded that fills the health columns."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import entry
from streamgauge.decode.load_kernels import signed
from streamgauge.flows.key_kernels import time_of
from streamgauge.flows.layout import CLOCK, NAME_BYTES, QUERY_DUE, QUERY_FIRST, QUERY_STATE, UNANSWERED
from streamgauge.flows.query_kernels import give_up, track_message, write_report
from streamgauge.flows.tcp_kernels import track_segment
from streamgauge.schema import SLOTS, App, Present

CONNECTION, MESSAGE = int(Present.IP | Present.TCP), int(Present.IP | Present.DNS)
DNS = int(App.DNS)

PRESENT, APP, FRAGMENT = SLOTS["present"], SLOTS["app"], SLOTS["fragment"]


@entry
def fill_health(rows, first, table, timeout):
    """Fill the health columns of the rows from ``first`` on; ``rows`` is a ``RowBuffers``, the timeout is in ns.

    Fragments are left out: what the first one says of the length is not the segment's.
    """
    for row in range(first, rows.state[0]):
        now = max(time_of(rows, row), table.counts[CLOCK])
        if now != table.counts[CLOCK]:
            table.counts[CLOCK] = now
            give_up(table, now, timeout)
        present = signed(rows.u8[PRESENT, row])
        found = 0
        if present & CONNECTION == CONNECTION and rows.u1[FRAGMENT, row] == 0:
            found |= track_segment(rows, row, table)
        if present & MESSAGE == MESSAGE and rows.u1[APP, row] == DNS:
            found |= track_message(rows, row, table)
        if found:
            rows.u8[PRESENT, row] = present | found


@entry
def advance_clock(table, now, timeout):
    """Let time go by without a packet."""
    if now > table.counts[CLOCK]:
        table.counts[CLOCK] = now
        give_up(table, now, timeout)


@entry
def report_unanswered(rows, capacity, table, timeout):
    """Append a row for each query that was given up, as far as there is room; return how many."""
    counts, appended = table.counts, 0
    while counts[QUERY_FIRST] < counts[QUERY_DUE]:
        query = counts[QUERY_FIRST] % len(table.query_wide)
        if table.query_wide[query, QUERY_STATE] == UNANSWERED:
            row = rows.state[0]
            if row >= capacity or rows.state[1] + NAME_BYTES > rows.pool.size:
                break
            write_report(rows, row, table, query, timeout)
            rows.state[0] = row + 1
            appended += 1
        counts[QUERY_FIRST] += 1
    return appended
