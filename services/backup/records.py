"""Ledger records and identity events as Parquet objects: few and small, so plain code does."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from streamgauge import subjects
from streamgauge.errors import PayloadError
from streamgauge.identity import events
from streamgauge.ledger import LedgerRecord
from streamgauge.objects import ObjectKind, Share

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.backup.batch import Batch

_TIME: Final = pa.timestamp("ns", "UTC")
_WORDS: Final = pa.dictionary(pa.int32(), pa.string())
_LEDGER_TYPES: Final = {"time": _TIME, "node": _WORDS, "boot": _WORDS, "interface": _WORDS, "reason": _WORDS}

LEDGER_SCHEMA: Final = pa.schema(
    [pa.field(field.name, _LEDGER_TYPES.get(field.name, pa.int64()), nullable=False) for field in fields(LedgerRecord)]
)


def read(kind: ObjectKind, batches: Iterable[Batch]) -> tuple[list[dict[str, Any]], list[tuple[Batch, str]]]:
    """Return the records of messages as rows in order of time, and what could not be read, with the reason."""
    rows: list[dict[str, Any]] = []
    poison: list[tuple[Batch, str]] = []
    for batch in batches:
        try:
            rows += [_ledger_row(batch)] if kind == "ledger" else _identity_rows(batch)
        except PayloadError as error:
            poison.append((batch, str(error)))
    rows.sort(key=lambda row: row[time_column(kind)])
    return rows, poison


def time_column(kind: ObjectKind) -> str:
    """Return the column that orders the records and decides the partition."""
    return "time" if kind == "ledger" else "stored"


def table(kind: ObjectKind, rows: list[dict[str, Any]]) -> pa.Table:
    """Return records as a table."""
    return pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA if kind == "ledger" else events.STORED_SCHEMA)


def shares(kind: ObjectKind, rows: list[dict[str, Any]]) -> list[Share]:
    """Return how many records each node and boot (ledger) or cluster (identity) has."""
    found: dict[tuple[str, str], Share] = {}
    for row in rows:
        who = (row["node"], row["boot"]) if kind == "ledger" else (row["cluster"], "")
        share = found.setdefault(who, Share(*who))
        time = row[time_column(kind)]
        share.first_time = min(share.first_time or time, time)
        share.last_time = max(share.last_time, time)
        share.rows += 1
    return list(found.values())


def _ledger_row(batch: Batch) -> dict[str, Any]:
    record = LedgerRecord.decode(batch.delivery.data)
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _identity_rows(batch: Batch) -> list[dict[str, Any]]:
    event = events.Event.decode(batch.delivery.data)
    if subjects.identity(event.cluster) != batch.delivery.subject:
        raise PayloadError(f"the event is of cluster {event.cluster}, its subject {batch.delivery.subject}")
    return event.rows(batch.delivery.stored)
