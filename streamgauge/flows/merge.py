"""Granularity ``flow``: the packets of one direction of one flow in one window of time become one row.

Totals of packets and bytes stay exact; ``merge_rules.RULES`` says what becomes of every column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from streamgauge.rows import Rows


class Merger:
    """Merges rows into a target until the target is handed over; lives as long as its owner."""

    def __init__(self, window: float) -> None:
        """Set the window, in seconds; windows lie on whole multiples of it."""
        self._window = int(window * 1e9)
        self._index = np.zeros(0, np.int64)

    def merge(self, rows: Rows, first: int, target: Rows) -> int:
        """Take the rows from ``first`` on into ``target``, and return the first that found no room.

        Then, and at the end of a window: hand the target over, clear it, call ``restart``, and go on with that row. A
        cleared target always takes a row if its pool is no smaller than that of ``rows``.
        """
        from streamgauge.flows.merge_kernels import merge_rows

        size = 1 << (2 * target.capacity - 1).bit_length()
        if len(self._index) != size:
            self._index = np.zeros(size, np.int64)
        return int(merge_rows(rows.buffers, first, target.buffers, self._index, target.capacity, self._window))

    def restart(self) -> None:
        """Forget which rows the target held."""
        self._index[:] = 0
