"""Named queries of streamgauge in Trino, on the same objects: no service of ours is needed.

    python examples/trino/named_queries.py http://trino.example:8080 define s3://streamgauge
    python examples/trino/named_queries.py http://trino.example:8080 top-talkers limit=5

A named query reads everything, or a window that was given a name before:

    python examples/trino/named_queries.py http://trino.example:8080/noon window \\
        "date = DATE '2026-11-25' AND hour = '12'"
    python examples/trino/named_queries.py http://trino.example:8080/noon top-talkers

Needs this library, the package ``trino`` and a catalog as in streamgauge.properties beside this file. ``define`` makes
what ``streamgauge query --define trino`` prints, and finds the partitions: again when hours were added.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trino

from streamgauge.cli import times
from streamgauge.query import dialects, named, portable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trino.dbapi import Connection

#: Where tables, functions and views are made; sql.path in config.properties names the same.
CATALOG, SCHEMA = "streamgauge", "default"


def connect(url: str, **options: Any) -> Connection:
    """Return a connection; the path names a window, options are those of ``trino.dbapi.connect``."""
    at = urlsplit(url)
    schema = at.path.strip("/") or SCHEMA
    return trino.dbapi.connect(
        host=at.hostname,
        port=at.port or (443 if at.scheme == "https" else 8080),
        http_scheme=at.scheme,
        **{"catalog": CATALOG, "schema": schema, "user": "streamgauge", **options},
    )


def rows(connection: Connection, sql: str) -> list[dict[str, Any]]:
    """Return what a statement gives."""
    cursor = connection.cursor()
    cursor.execute(sql)
    found = cursor.fetchall()
    return [dict(zip([column[0] for column in cursor.description or ()], row, strict=True)) for row in found]


def define(connection: Connection, location: str) -> None:
    """Make tables over the objects below ``location``, our functions and views, and find the partitions."""
    rows(connection, f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    for statement in dialects.statements("trino", location):
        rows(connection, statement)
    for table in portable.BASES:
        rows(connection, f"CALL system.sync_partition_metadata('{SCHEMA}', '{table}', 'FULL')")


def window(connection: Connection, condition: str) -> None:
    """Make the connection's schema: the same views, over the partitions that fulfil a condition."""
    rows(connection, f"CREATE SCHEMA IF NOT EXISTS {connection.schema}")
    for table in portable.BASES:
        where = f" WHERE {condition}" if table == "summaries" else ""
        rows(connection, f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM {CATALOG}.{SCHEMA}.{table}{where}")  # noqa: S608
    for statement in dialects.statements("trino", ""):
        if "CREATE OR REPLACE VIEW" in statement:
            rows(connection, statement)


def ask(connection: Connection, name: str, given: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the answer of a named query; parameters as on the command line."""
    question = named.all_named()[name]
    values = question.bind(given or {}, times.parse)
    sql = dialects.translate("trino", question.sql)
    # Trino's parameters have no names, so the values stand there themselves.
    return rows(connection, re.sub(r"\$(\w+)", lambda found: literal(values[found[1]]), sql))


def literal(value: float | str) -> str:
    """Return a value as it stands in a statement."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def main() -> None:
    """Make definitions or a window, or print an answer as NDJSON."""
    url, name, *rest = sys.argv[1:]
    connection = connect(url)
    if name in ("define", "window"):
        {"define": define, "window": window}[name](connection, *rest)
        return
    for row in ask(connection, name, named.parameters_of(rest)):
        print(json.dumps(row, default=lambda value: value.isoformat()))


if __name__ == "__main__":
    main()
