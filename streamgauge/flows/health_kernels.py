"""The pass over rows just decoded that fills the health columns."""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import entry, hot
from streamgauge.decode.load_kernels import prefetch, signed
from streamgauge.flows.key_kernels import entry_in, hash_of, list_entry, make_key, time_of
from streamgauge.flows.layout import (
    CLOCK,
    NAME_BYTES,
    NARROW_COLUMNS,
    QUERY_DUE,
    QUERY_FIRST,
    QUERY_STATE,
    ROWS_AHEAD,
    UNANSWERED,
    USED,
    WIDE_COLUMNS,
)
from streamgauge.flows.query_kernels import give_up, track_message, write_report
from streamgauge.flows.tcp_kernels import track_segment
from streamgauge.protocols import App
from streamgauge.schema import SLOTS, Present

CONNECTION, MESSAGE = int(Present.IP | Present.TCP), int(Present.IP | Present.DNS)
DNS = int(App.DNS)
WIDE_BYTES, NARROW_BYTES = 8 * WIDE_COLUMNS, 4 * NARROW_COLUMNS

PRESENT, APP, FRAGMENT = SLOTS["present"], SLOTS["app"], SLOTS["fragment"]


@hot
def fetch_connections(rows, first, last, table):
    """Make the keys of the rows that are segments, and fetch where their entries are, then the entries.

    A table of many connections is larger than any cache: one row after the other, each would wait for memory.
    """
    mask = len(table.directory) - 1
    for row in range(first, last):
        place = row - first
        table.hashes[place] = -1
        # Of a fragment the first part tells a length that is not the segment's.
        if signed(rows.u8[PRESENT, row]) & CONNECTION == CONNECTION and rows.u1[FRAGMENT, row] == 0:
            side = make_key(rows, row, 0, table.salt[0], table.keys[place])
            hashed = hash_of(table.keys[place])
            table.hashes[place] = (hashed << 1) | side
            prefetch(table.directory_bytes, (hashed & mask) << 3)
    for place in range(last - first):
        if table.hashes[place] >= 0:
            word = table.directory[(table.hashes[place] >> 1) & mask]
            if word != 0:
                prefetch(table.wide_bytes, entry_in(word) * WIDE_BYTES)
                prefetch(table.wide_bytes, entry_in(word) * WIDE_BYTES + WIDE_BYTES - 1)
                prefetch(table.narrow_bytes, entry_in(word) * NARROW_BYTES)


@entry
def fill_health(rows, first, table, timeout):
    """Fill the health columns of the rows from ``first`` on; ``rows`` is a ``RowBuffers``, the timeout is in ns."""
    for start in range(first, rows.state[0], ROWS_AHEAD):
        last = min(start + ROWS_AHEAD, rows.state[0])
        fetch_connections(rows, start, last, table)
        for row in range(start, last):
            now = max(time_of(rows, row), table.counts[CLOCK])
            if now != table.counts[CLOCK]:
                table.counts[CLOCK] = now
                give_up(table, now, timeout)
            present, found, hashed = signed(rows.u8[PRESENT, row]), 0, table.hashes[row - start]
            if hashed >= 0:
                found |= track_segment(rows, row, table, table.keys[row - start], hashed >> 1, hashed & 1)
            if present & MESSAGE == MESSAGE and rows.u1[APP, row] == DNS:
                found |= track_message(rows, row, table)
            if found:
                rows.u8[PRESENT, row] = present | found


@entry
def fill_directory(table):
    """Let an empty directory name all connections."""
    for connection in range(table.counts[USED]):
        list_entry(table.directory, hash_of(table.wide[connection]), connection)


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
