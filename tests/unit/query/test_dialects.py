"""What is printed for Spark and Trino, as far as it can be checked without them; Spark itself: examples/spark."""

from __future__ import annotations

import re

import pytest
import sqlglot
from sqlglot import exp

from streamgauge.query import dialects, named, portable


def statements(engine: str) -> list[str]:
    return [each for each in dialects.definitions(engine).split(";\n\n") if each.strip()]


def without_comments(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))


@pytest.mark.parametrize("engine", dialects.ENGINES)
def test_definitions_parse(engine: str) -> None:
    """Tables and views by a parser of the engine's language; functions it knows in part only."""
    parsed = [
        sqlglot.parse_one(without_comments(sql).rstrip(";\n"), read=engine)
        for sql in statements(engine)
        if "FUNCTION" not in sql
    ]
    names = {one.find(exp.Table).name for one in parsed if isinstance(one, exp.Create)}

    assert names == {*portable.BASES, *portable.VIEWS}
    assert all(isinstance(one, exp.Create) for one in parsed)


@pytest.mark.parametrize("engine", dialects.ENGINES)
@pytest.mark.parametrize("name", list(named.all_named()))
def test_questions_parse(engine: str, name: str) -> None:
    """Each named query is one SELECT in the language of the engine, over our views alone."""
    sql = dialects.translate(engine, named.all_named()[name].sql)
    sql = re.sub(r"\$\w+", "1", sql) if engine == "trino" else sql
    parsed = sqlglot.parse_one(sql, read=engine)
    common = {table.alias for table in parsed.find_all(exp.CTE)}
    read = {table.name for table in parsed.find_all(exp.Table)} - common

    assert isinstance(parsed, exp.Select)
    assert read <= {*portable.BASES, *portable.VIEWS}


#: Functions of the named queries and views: in DuckDB, Spark and Trino of the same name and meaning, or ours.
PORTABLE = {
    "NS", "MOMENT", "BITS", "IS_INSIDE", "BIT_OR", "SUM", "MIN", "MAX", "COUNT", "AVG", "STDDEV_POP", "COALESCE",
    "ROUND", "LEAST", "GREATEST", "LAG", "LEAD", "ROW_NUMBER", "DENSE_RANK", "CAST", "VARCHAR",
}  # fmt: skip


@pytest.mark.parametrize("sql", [*(one.sql for one in named.all_named().values()), *map(portable.view, portable.VIEWS)])
def test_only_functions_that_all_engines_have(sql: str) -> None:
    """A function that one engine lacks would be found in that engine only."""
    called = set(re.findall(r"\b([a-zA-Z_]+)\(", without_comments(sql)))
    called = {name.upper() for name in called}

    assert called <= PORTABLE


def test_nothing_stored_has_the_same_columns() -> None:
    """A bucket without identity answers all the same in Spark."""
    parsed = sqlglot.parse_one(dialects.nothing("identity_events"), read="spark")
    table = next(sql for sql in statements("spark") if "VIEW identity_events (" in sql)

    for projection in parsed.expression.expressions:
        assert f"  {projection.alias} " in table
