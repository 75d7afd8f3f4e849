"""Row buffers."""

from __future__ import annotations

import numpy as np

from streamgauge import schema
from streamgauge.rows import POOL_BYTES_PER_ROW, Rows


def test_new_rows_are_empty_and_have_room() -> None:
    """Capacity is what was asked for; the pool grows with it and never falls below 128 KiB."""
    rows = Rows(10)

    assert len(rows) == 0
    assert rows.capacity == 10
    assert rows.buffers.pool.size == 1 << 17
    assert Rows(10_000).buffers.pool.size == 10_000 * POOL_BYTES_PER_ROW
    assert Rows(10, pool_bytes=99).buffers.pool.size == 99


def test_column_is_a_view_of_the_used_part() -> None:
    """Writing through the view changes the buffers; only used rows are seen."""
    rows = Rows(4)
    rows.buffers.state[0] = 2
    rows.column("src_port")[:] = (80, 443)

    line = rows.buffers.u2[schema.SLOTS["src_port"]]
    assert line[:3].tolist() == [80, 443, 0]
    assert len(rows.column("src_port")) == 2


def test_second_slot_is_the_line_behind() -> None:
    """An address has its low half in the next line."""
    rows = Rows(1)
    rows.buffers.state[0] = 1
    rows.buffers.u8[schema.SLOTS["src_ip"] + 1, 0] = 7

    assert rows.second("src_ip").tolist() == [7]


def test_clear_forgets_rows_and_text_and_keeps_the_memory() -> None:
    """The buffers are the same objects after clearing."""
    rows = Rows(4)
    before = rows.buffers
    rows.buffers.state[:] = (3, 40)
    assert rows.pool_used == 40
    rows.clear()

    assert (len(rows), rows.pool_used) == (0, 0)
    assert rows.buffers is before


def test_lines_do_not_share_a_cache_set() -> None:
    """A power of two as the stride would put one row of all columns on the same 4 KiB cache set."""
    stride = Rows(4096).buffers.u8.strides[0]

    assert stride % 4096 != 0
    assert Rows(4096).buffers.u8.dtype == np.uint64
