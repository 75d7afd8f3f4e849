"""What a batch is made of: which columns have a value in no row, in every row or in some, and where each is gathered.

A plan depends on the presence bits of the rows alone, so the batches of a class of traffic share a few of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from streamgauge import schema
from streamgauge.schema import Column, Kind

if TYPE_CHECKING:
    import numpy.typing as npt

#: Plans that are kept; a class of traffic needs a handful.
_PLANS: Final = 512

_NULLABLE: Final = int(np.bitwise_or.reduce([int(column.present or 0) for column in schema.COLUMNS]))

#: What is gathered other than as numbers of its width.
_SPECIAL: Final = {Kind.IP: "addresses", Kind.MAC: "macs", Kind.TEXT: "texts", Kind.BYTES: "texts"}


@dataclass(frozen=True, slots=True)
class Gathering:
    """Columns that one kernel gathers; a column's place among them is its line in the result."""

    columns: tuple[Column, ...]
    slots: npt.NDArray[np.int64]
    #: Presence bit of those that only some rows have, 0 for those that all have.
    bits: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to make one batch."""

    #: By buffer width (``u8`` …), ``addresses``, ``macs`` or ``texts``.
    gatherings: dict[str, Gathering]
    #: Presence bits that some rows have and others have not.
    partial: tuple[int, ...]
    #: The columns that no row has.
    empty: tuple[Column, ...]


def plan_of(some: int, every: int) -> Plan:
    """Return the plan for rows of which some, and all, have these presence bits."""
    return _plan(some & _NULLABLE, every & _NULLABLE)


@lru_cache(maxsize=_PLANS)
def _plan(some: int, every: int) -> Plan:
    chosen: dict[str, list[Column]] = {}
    empty = []
    for column in schema.COLUMNS:
        if column.present is not None and not some & int(column.present):
            empty.append(column)
            continue
        chosen.setdefault(_SPECIAL.get(column.kind) or schema.width(column.name), []).append(column)
    gatherings = {how: _gathering(columns, every) for how, columns in chosen.items()}
    bits = {int(bit) for gathering in gatherings.values() for bit in gathering.bits if bit}
    return Plan(gatherings, tuple(sorted(bits)), tuple(empty))


def _gathering(columns: list[Column], every: int) -> Gathering:
    bits = [0 if column.present is None or every & int(column.present) else int(column.present) for column in columns]
    slots = [schema.SLOTS[column.name] for column in columns]
    return Gathering(tuple(columns), np.array(slots, np.int64), np.array(bits, np.int64))
