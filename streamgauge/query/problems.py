"""What goes wrong in DuckDB, in one line: where in the statement, and what was probably meant."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import duckdb

from streamgauge.errors import ConfigurationError, StoreError, StreamgaugeError
from streamgauge.query import portable
from streamgauge.query.files import PROTOCOL
from streamgauge.spelling import closest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.query.files import Counted

_KIND: Final = re.compile(r"^(?:[A-Z]\w+ )+Error: ")
_LINE: Final = re.compile(r"^LINE (\d+): ", re.MULTILINE)
_COLUMN: Final = re.compile(r'(?:Referenced column|Table "?\w+"? does not have a column named|Column) "(\w+)"')
_TABLE: Final = re.compile(r"Table with name (\w+) does not exist")
#: An object of ours in what it says.
_OBJECT: Final = re.compile(rf'"{PROTOCOL}://([^"]+)"[:,]? ?')
#: Its errors that are no fault of the statement.
_OURS: Final = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InternalException)


@contextmanager
def told(
    sql: str | None = None, objects: Counted | None = None, database: duckdb.DuckDBPyConnection | None = None
) -> Iterator[None]:
    """Turn errors of DuckDB within into ours.

    Raises:
        ConfigurationError: the statement is wrong.
        StoreError: an object cannot be read.
        StreamgaugeError: it cannot be answered.
        KeyboardInterrupt: it was interrupted.

    """
    try:
        yield
    except (duckdb.InterruptException, RuntimeError) as error:
        # What DuckDB makes of Ctrl-C, in two ways.
        if "interrupt" in str(error).lower():
            raise KeyboardInterrupt from error
        raise
    except duckdb.Error as error:
        if objects is not None and isinstance(objects.error, StreamgaugeError):
            raise objects.error from error
        damaged = _OBJECT.search(str(error))
        if damaged is not None:
            words = " ".join(_KIND.sub("", str(error)[damaged.end() :]).split())
            raise StoreError(f"{damaged[1]} is damaged ({words}); `streamgauge audit` tells what it held") from error
        words = sentence(str(error), sql, _names(database))
        if type(error) is duckdb.Error:
            # Without a kind: from the reader of Parquet, which does not say in which object it was.
            words = f"what is stored cannot be read ({words.rstrip(': ')}); `streamgauge audit` tells what is damaged"
            raise StoreError(words) from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise StreamgaugeError(f"{words}; narrow the window (--since) or the columns") from error
        if isinstance(error, _OURS) and sql is None:
            raise StreamgaugeError(words) from error
        raise ConfigurationError(words) from error


def _names(database: duckdb.DuckDBPyConnection | None) -> list[str]:
    """Return the columns of our views that are there."""
    if database is None:
        return []
    try:
        found = database.execute("SELECT DISTINCT column_name FROM duckdb_columns() WHERE NOT internal").fetchall()
    except duckdb.Error:
        return []
    return [name for (name,) in found]


def sentence(message: str, sql: str | None, columns: list[str]) -> str:
    """Return DuckDB's message as one line."""
    where = _position(message, sql)
    text = _KIND.sub("", message)
    first = re.split(r"\n\s*\n|\nLINE \d+:", text)[0]
    column, table = _COLUMN.search(first), _TABLE.search(first)
    if column is not None:
        offered = re.findall(r'"([^"]+)"', first.partition("Candidate bindings:")[2])
        return f"{where}no column {column[1]}{_nearest(column[1], [*columns, *offered])}"
    if table is not None:
        views = list(portable.DESCRIPTIONS)
        close = closest(table[1].lower(), views)
        hint = f"did you mean {close}?" if close else f"there are {', '.join(views)}"
        return f"{where}no table {table[1]}; {hint}"
    return where + " ".join(first.split())


def _nearest(name: str, columns: list[str]) -> str:
    plain = [column.rpartition(".")[2] for column in columns]
    close = closest(name.lower(), plain)
    return f"; did you mean {close}?" if close else "; `streamgauge query 'DESCRIBE summaries'` lists the columns"


def _position(message: str, sql: str | None) -> str:
    """Return ``line 1, column 8: `` of the caret below the line that DuckDB shows, if it shows one."""
    line = _LINE.search(message)
    if line is None or sql is None:
        return ""
    shown, _, below = message[line.end() :].partition("\n")
    caret = below.find("^") - len(line[0])
    number = int(line[1])
    own = sql.splitlines()[number - 1] if number <= len(sql.splitlines()) else ""
    # A long line is cut on the left, where it then begins with dots.
    offset = own.find(shown.removeprefix("...").removesuffix("...")) - (3 if shown.startswith("...") else 0)
    if caret < 0 or not own or offset < -3:
        return f"line {number}: "
    return f"line {number}, column {caret + max(offset, -3) + 1}: "
