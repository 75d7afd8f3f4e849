"""How the flow table lies in memory: arrays and the names of their columns.

Two tables of the same kind: TCP connections, and DNS queries without an answer yet. An *index* finds an entry by its
key (open addressing, linear probing); entries lie one behind the other, so that memory is touched only as far as it is
used. A key is six words of 64 bits and the same for both directions; ``keys_kernels`` makes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamgauge.schema import SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_WORDS: Final = 6
#: Rows whose entries are fetched before the first is worked on: about 240 → 140 ns a row with 65,000 connections.
ROWS_AHEAD: Final = 32

# Columns of ``wide``, behind the key. Pairs are one a direction; all times are ns.
#: When the connection's first SYN was sent; once it is complete, how long the handshake took.
OPENED: Final = 6
#: When the timed segment was sent.
TIMED_AT: Final = 7
#: When a segment left a gap before it.
JUMPED_AT: Final = 9
WIDE_COLUMNS: Final = 11

# Columns of ``narrow``.
STATE: Final = 0
INITIAL: Final = 1
#: Behind the highest sequence number seen.
NEXT: Final = 3
#: Behind the segment that is timed: its acknowledgement is at least this.
TIMED_END: Final = 5
#: A stretch of sequence numbers that was skipped; empty if both are equal.
GAP_START: Final = 7
GAP_END: Final = 9
NARROW_COLUMNS: Final = 11

# Bits of STATE; ``KNOWN``, ``TIMED`` and ``BEGUN`` (its SYN was seen) are shifted by the direction.
REFERENCED: Final = 1
SYN_SEEN: Final = 2
SYN_SIDE: Final = 4
ANSWERED: Final = 8
COMPLETE: Final = 16
KNOWN: Final = 32
TIMED: Final = 128
BEGUN: Final = 512

# Elements of ``counts``.
USED: Final = 0
HAND: Final = 1
EVICTED: Final = 2
#: The latest packet time seen.
CLOCK: Final = 3
#: Queries are numbered; the entry is the number modulo their capacity. Up to QUERY_FIRST all are reported, up to
#: QUERY_DUE all are answered or given up, QUERY_LAST is the next number.
QUERY_FIRST: Final = 4
QUERY_DUE: Final = 5
QUERY_LAST: Final = 6
QUERIES_EVICTED: Final = 7
COUNTS: Final = 8

# Columns of ``query_wide`` behind the key, and states of a query.
QUERY_TIME: Final = 6
QUERY_PRESENT: Final = 7
QUERY_STATE: Final = 8
NAME_LENGTH: Final = 9
#: Copies of the columns of the query's row that its report repeats.
QUERY_COPIES: Final = 10
WAITING: Final = 0
SETTLED: Final = 1
UNANSWERED: Final = 2

#: Bytes kept of a query's name; longer ones (only escaped names are) are cut in the report.
NAME_BYTES: Final = 255


def _slots(names: Iterable[str], *, pairs: bool = False) -> npt.NDArray[np.int64]:
    return np.array([SLOTS[name] + second for name in names for second in range(1 + pairs)], np.int64)


#: Columns a report of an unanswered query repeats, by buffer.
COPIED_U8: Final = np.concatenate([_slots(("src_mac", "dst_mac")), _slots(("src_ip", "dst_ip"), pairs=True)])
COPIED_U4: Final = _slots(("tunnel_id",))
COPIED_U2: Final = _slots(("eth_type", "vlan", "src_port", "dst_port", "dns_id", "dns_type", "dns_answers"))
COPIED_U1: Final = _slots(("ip_version", "ip_protocol", "ttl", "dscp", "fragment", "tunnel", "app", "dns_response"))
COPIES: Final = len(COPIED_U8) + len(COPIED_U4) + len(COPIED_U2) + len(COPIED_U1)


#: Elements of the directory of a new table; it grows with the connections, so that few of them stay in the cache.
FIRST_DIRECTORY: Final = 1 << 14


class Table(NamedTuple):
    """What the kernels see. n = connections, q = queries, i = a power of two of at least twice as many."""

    #: u8[i]: 31 bits of hash, then the number of the entry plus one; 0 is free.
    directory: npt.NDArray[np.uint64]
    wide: npt.NDArray[np.uint64]
    narrow: npt.NDArray[np.uint32]
    query_index: npt.NDArray[np.uint64]
    query_wide: npt.NDArray[np.uint64]
    query_names: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.int64]
    #: The key of the DNS message at work.
    key: npt.NDArray[np.uint64]
    #: [1], what keys differ in that were made of one flow's packets at different interfaces.
    salt: npt.NDArray[np.uint64]
    #: Keys of the segments at work, and of each its hash and direction; -1 for a row that is none.
    keys: npt.NDArray[np.uint64]
    hashes: npt.NDArray[np.int64]
    #: The same memory as ``directory``, ``wide`` and ``narrow``, as bytes, to be fetched.
    directory_bytes: npt.NDArray[np.uint8]
    wide_bytes: npt.NDArray[np.uint8]
    narrow_bytes: npt.NDArray[np.uint8]


def new_table(connections: int, queries: int) -> Table:
    """Allocate a table; untouched memory is not taken from the system."""
    directory = np.zeros(min(_index_size(connections), FIRST_DIRECTORY), np.uint64)
    wide = np.zeros((connections, WIDE_COLUMNS), np.uint64)
    narrow = np.zeros((connections, NARROW_COLUMNS), np.uint32)
    return Table(
        directory=directory,
        wide=wide,
        narrow=narrow,
        query_index=np.zeros(_index_size(queries), np.uint64),
        query_wide=np.zeros((queries, QUERY_COPIES + COPIES), np.uint64),
        query_names=np.zeros((queries, NAME_BYTES), np.uint8),
        counts=np.zeros(COUNTS, np.int64),
        key=np.zeros(KEY_WORDS, np.uint64),
        salt=np.zeros(1, np.uint64),
        keys=np.zeros((ROWS_AHEAD, KEY_WORDS), np.uint64),
        hashes=np.zeros(ROWS_AHEAD, np.int64),
        directory_bytes=directory.view(np.uint8),
        wide_bytes=wide.reshape(-1).view(np.uint8),
        narrow_bytes=narrow.reshape(-1).view(np.uint8),
    )


def with_larger_directory(table: Table, rows: int) -> Table | None:
    """Return the table with an empty directory that has room for so many more connections; None if it has already."""
    entries = min(int(table.counts[USED]) + rows, len(table.narrow))
    if 2 * entries <= len(table.directory):
        return None
    directory = np.zeros(_index_size(entries), np.uint64)
    return table._replace(directory=directory, directory_bytes=directory.view(np.uint8))


def _index_size(entries: int) -> int:
    return 1 << (2 * entries - 1).bit_length()
