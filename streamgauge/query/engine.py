"""DuckDB with our views: each question lists and opens only the objects of the kinds and the window it needs."""

from __future__ import annotations

import asyncio
import itertools
import re
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

import duckdb

from streamgauge.errors import ConfigurationError
from streamgauge.inside import INSIDE
from streamgauge.query import addresses, catalogue, portable, problems, tables
from streamgauge.query.catalogue import LATEST, Window
from streamgauge.query.files import PROTOCOL, Counted, Files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from streamgauge.objects import ObjectKind
    from streamgauge.query.catalogue import Chosen
    from streamgauge.query.places import Place

#: How long before the window identity is read: a snapshot of all bindings is stored every hour.
_IDENTITY_BEFORE: Final = timedelta(days=1)
_MEMORY: Final = re.compile(r"\d+(\.\d+)? ?[KMGT]i?B", re.IGNORECASE)
#: Rows of a batch of an answer.
_BATCH_ROWS: Final = 65_536
#: All rows of the window, below ``summaries``, which may be narrowed.
_WHOLE: Final = "_summaries"
#: Seconds between two looks at how far DuckDB is.
_LOOK: Final = 0.2


@dataclass(slots=True)
class Statistics:
    """What a question took."""

    #: Objects read, and objects in the partitions that were listed.
    objects: int = 0
    listed: int = 0
    #: Rows in the objects read, before the window is applied.
    stored_rows: int = 0
    #: Bytes read from the place: footers and the columns that were needed.
    bytes: int = 0
    #: Rows of the answer.
    rows: int = 0
    seconds: float = 0.0


class Query:
    """A database over one window; a context manager."""

    def __init__(
        self,
        place: Place,
        window: Window | None = None,
        *,
        inside: str = INSIDE,
        memory: str | None = None,
        threads: int | None = None,
        looked: Callable[[int], None] = lambda _count: None,
        told: Callable[[float], None] | None = None,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            place: where the objects are.
            window: capture times the views show; all by default.
            inside: comma-separated networks that belong to the cluster.
            memory: most memory that DuckDB takes, such as ``4GB``; 80 % of the machine's by default.
            threads: of DuckDB; one a core by default, of which each reads one object at a time.
            looked: is told of objects looked at.
            told: is told how far a question is, 0 to 1, from another thread.

        Raises:
            ConfigurationError: ``inside`` holds no networks, or ``memory`` is no size.

        """
        if memory is not None and not _MEMORY.fullmatch(memory):
            raise ConfigurationError(f"--memory {memory!r} is no size such as 4GB or 500MiB")
        functions = portable.functions("duckdb", addresses.in_duckdb(inside))
        self._objects = Counted(place)
        self._window = window or Window()
        self._looked = looked
        self._told = told
        self._made: set[str] = set()
        self._begun = time.monotonic()
        self._scratch = tempfile.TemporaryDirectory(prefix="streamgauge-query-", ignore_cleanup_errors=True)
        self.statistics = Statistics()
        #: Sentences about what was read that whoever asks should know.
        self.warnings: list[str] = []
        settings: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": self._scratch.name,
            # What is not in the wheel is not fetched from the network behind the asker's back.
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # A misspelt table must not be a variable of this program.
            "python_enable_replacements": "false",
        }
        if threads is not None:
            settings["threads"] = threads
        if memory is not None:
            settings["memory_limit"] = memory
        with problems.told():
            self._database = duckdb.connect(config=settings)
            self._database.execute("SET TimeZone = 'UTC'")
            # Without this DuckDB does not work out how far it is; the bar itself is ours.
            self._database.execute("SET enable_progress_bar = true")
            self._database.execute("SET enable_progress_bar_print = false")
            self._database.register_filesystem(Files(self._objects))
            for function in functions:
                self._database.execute(function)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._database.close()
        self._scratch.cleanup()

    def run(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, rows: str | None = None
    ) -> pa.RecordBatchReader:
        """Answer a question; ``statistics`` is whole once the reader is at its end.

        Args:
            sql: one statement of DuckDB over the views.
            parameters: values of its ``$names``.
            rows: a condition on rows of ``summaries``, with the same parameters: what does not bear upon the answer
                is left out early. DuckDB cannot take a condition through the views by itself.

        Raises:
            ConfigurationError: the statement is wrong.
            StoreError: an object cannot be read.

        """
        self._begun = time.monotonic()
        values = dict(parameters or {})
        self.prepare(f"{sql} {rows or ''}")
        with problems.told(sql, self._objects, self._database):
            self._narrow(portable.filled(rows, values) if rows else None)
            answer = self._answer(sql, values)
            reader = answer.to_arrow_reader(_BATCH_ROWS)
            with _Watch(self._database, self._told):
                first = next(reader, None)
        return tables.reader(self._counted(first, reader, sql), reader.schema)

    def _answer(self, sql: str, values: dict[str, Any]) -> duckdb.DuckDBPyRelation:
        count = len(self._database.extract_statements(sql))
        if count != 1:
            # DuckDB would run all and show the last.
            raise ConfigurationError(f"{count} statements; ask one at a time")
        try:
            answer = self._database.sql(sql, params=values)
        except (duckdb.BinderException, duckdb.CatalogException):
            # The same once more, for the place in the statement: only this way DuckDB tells it.
            self._database.execute(sql, values)
            raise
        return self._database.sql("SELECT NULL AS nothing WHERE FALSE") if answer is None else answer

    def _counted(self, first: pa.RecordBatch | None, rest: pa.RecordBatchReader, sql: str) -> Iterator[pa.RecordBatch]:
        statistics = self.statistics
        statistics.rows = 0
        with problems.told(sql, self._objects, self._database):
            for batch in rest if first is None else itertools.chain((first,), rest):
                statistics.rows += len(batch)
                yield batch
        statistics.bytes = self._objects.bytes
        statistics.seconds = time.monotonic() - self._begun

    def prepare(self, sql: str) -> None:
        """Make the views that a statement names, and those they are made of.

        Raises:
            StoreError: the place cannot be read.

        """
        words = set(re.findall(r"[a-z_]+", sql.lower()))
        for name in portable.needed(words):
            if name in self._made:
                continue
            self._made.add(name)
            statement = self._base(portable.BASES[name]) if name in portable.BASES else portable.view(name)
            with problems.told(None, self._objects):
                self._database.execute(f"CREATE VIEW {_WHOLE if name == 'summaries' else name} AS {statement}")
            if name == "summaries":
                self._narrow(None)

    def _narrow(self, rows: str | None) -> None:
        if "summaries" in self._made:
            where = "" if rows is None else f" WHERE {rows}"
            self._database.execute(f"CREATE OR REPLACE VIEW summaries AS SELECT * FROM {_WHOLE}{where}")  # noqa: S608

    def _base(self, kind: ObjectKind) -> str:
        window = self._window
        if kind == "identity":
            before = int(_IDENTITY_BEFORE.total_seconds()) * 10**9
            window = Window(max(0, window.since - before), window.until)
        chosen = asyncio.run(catalogue.choose(self._objects, kind, window, self._looked))
        self.statistics.objects += len(chosen.parts)
        self.statistics.listed += chosen.listed
        self.statistics.stored_rows += chosen.rows
        self.warnings += chosen.warnings
        if not chosen.parts and kind == "summaries":
            self.warnings.append("nothing is stored of that time; `streamgauge audit` tells what is")
        return self._select(kind, chosen)

    def _select(self, kind: ObjectKind, chosen: Chosen) -> str:
        wanted = tables.schema_of(kind)
        if not chosen.parts:
            self._database.register(f"_no_{kind}", wanted.empty_table())
            return f"SELECT * FROM _no_{kind}"  # noqa: S608 a name of ours
        paths = ", ".join(f"'{PROTOCOL}://{part.stored.key}'" for part in chosen.parts)
        alike = len({part.columns for part in chosen.parts}) == 1
        there = set().union(*(part.columns for part in chosen.parts))
        # Objects of an older version lack columns.
        columns = [
            name if name in there else f"CAST(NULL AS {tables.sql_type(wanted, name)}) AS {name}"
            for name in wanted.names
        ]
        options = "hive_partitioning = false" + ("" if alike else ", union_by_name = true")
        return f"SELECT {', '.join(columns)} FROM read_parquet([{paths}], {options}){self._bounds(kind)}"  # noqa: S608

    def _bounds(self, kind: ObjectKind) -> str:
        if kind == "identity":
            return ""
        bounds = []
        if self._window.since > 0:
            bounds.append(f"time >= {_moment(self._window.since)}")
        if self._window.until < LATEST:
            bounds.append(f"time < {_moment(self._window.until)}")
        return f" WHERE {' AND '.join(bounds)}" if bounds else ""


def _moment(time_ns: int) -> str:
    whole = datetime.fromtimestamp(time_ns // 10**9, UTC)
    return f"TIMESTAMPTZ_NS '{whole:%Y-%m-%d %H:%M:%S}.{time_ns % 10**9:09}+00'"


@dataclass
class _Watch:
    """Tells how far DuckDB is, while a statement runs."""

    database: duckdb.DuckDBPyConnection
    told: Callable[[float], None] | None
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self.told is not None:
            self._thread = threading.Thread(target=self._look, name="query progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_LOOK):
            percent = self.database.query_progress()
            if self.told is not None and percent >= 0:
                self.told(percent / 100)
