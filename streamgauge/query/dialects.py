"""The same views and questions for Spark and Trino: tables over the objects, four functions, and the views as they are.

Neither engine is needed to print them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from streamgauge.inside import INSIDE
from streamgauge.query import addresses, portable, tables
from streamgauge.query.portable import BASES, VIEWS

if TYPE_CHECKING:
    from streamgauge.objects import ObjectKind

ENGINES: Final = ("spark", "trino")
#: Where the objects are, in what is printed: to be replaced by one's own.
LOCATION: Final = {"spark": "s3a://streamgauge", "trino": "s3://streamgauge"}

#: Spark has no time of nanoseconds: with spark.sql.legacy.parquet.nanosAsLong it reads one as a number of them.
_SPARK_TYPES: Final = {
    pa.uint8(): "SMALLINT",
    pa.uint16(): "INT",
    pa.uint32(): "BIGINT",
    pa.int64(): "BIGINT",
    pa.bool_(): "BOOLEAN",
    pa.string(): "STRING",
    pa.binary(): "BINARY",
    pa.timestamp("ns", "UTC"): "BIGINT",
}
_TRINO_TYPES: Final = {
    pa.uint8(): "INTEGER",
    pa.uint16(): "INTEGER",
    pa.uint32(): "BIGINT",
    pa.int64(): "BIGINT",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.binary(): "VARBINARY",
    pa.timestamp("ns", "UTC"): "TIMESTAMP(9)",
}


def definitions(engine: str, location: str | None = None, inside: str = INSIDE) -> str:
    """Return the statements that define everything in an engine, each ended by a semicolon and an empty line."""
    return "\n\n".join(f"{statement};" for statement in statements(engine, location or LOCATION[engine], inside))


def statements(engine: str, location: str, inside: str = INSIDE) -> list[str]:
    """Return the statements that define tables over the objects below ``location``, functions and views, in order."""
    test = addresses.in_spark(inside) if engine == "spark" else addresses.in_trino(inside)
    made = [_table(engine, name, kind, location.rstrip("/")) for name, kind in BASES.items()]
    made += portable.functions(engine, test)
    return made + [_view(engine, name) for name in VIEWS]


def nothing(name: str) -> str:
    """Return Spark's statement for a base table of which nothing is stored: no folder, no ledger or identity."""
    columns = ", ".join(
        f"CAST(NULL AS {_SPARK_TYPES[each.type]}) AS {each.name}" for each in tables.schema_of(BASES[name])
    )
    return f"CREATE OR REPLACE TEMPORARY VIEW {name} AS SELECT {columns} WHERE FALSE"


def _view(engine: str, name: str) -> str:
    replace = "CREATE OR REPLACE TEMPORARY VIEW" if engine == "spark" else "CREATE OR REPLACE VIEW"
    return f"{replace} {name} AS\n{translate(engine, portable.view(name))}"


def translate(engine: str, sql: str) -> str:
    """Return one of our statements as the engine takes it.

    Parameters become ``:name`` for Spark. Trino has none with names: they stay ``$name``, to be replaced by values.
    """
    if engine == "spark":
        return re.sub(r"\$(\w+)", r":\1", sql)
    return sql.replace("bit_or(", "bitwise_or_agg(")


def _table(engine: str, name: str, kind: ObjectKind, location: str) -> str:
    types = _SPARK_TYPES if engine == "spark" else _TRINO_TYPES
    columns = [f"{each.name} {types[each.type]}" for each in tables.schema_of(kind)]
    partitions = ["date DATE", "hour INT", *(["shard INT"] if kind == "summaries" else [])]
    folder = f"{location}/{kind}/v1"
    if engine == "spark":
        # A view over the files: Spark finds the partitions itself, where a table would wait for MSCK REPAIR TABLE.
        listed = ",\n  ".join([*columns, *partitions])
        return f"CREATE OR REPLACE TEMPORARY VIEW {name} (\n  {listed}\n)\nUSING parquet\nOPTIONS (path '{folder}')"
    # Partition columns of the Hive connector stand last; hour=07 and shard=03 are texts.
    listed = ",\n  ".join([*columns, *(one.replace(" INT", " VARCHAR") for one in partitions)])
    names = ", ".join(f"'{one.split()[0]}'" for one in partitions)
    return (
        f"CREATE TABLE IF NOT EXISTS {name} (\n  {listed}\n)\nWITH (\n  external_location = '{folder}',\n"
        f"  format = 'PARQUET',\n  partitioned_by = ARRAY[{names}]\n)"
    )
