"""``streamgauge query``: SQL over what was stored, or one of the questions people ask."""

import os
import shutil
import sys
import textwrap
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamgauge.errors import ConfigurationError
from streamgauge.spelling import closest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.query import Place
    from streamgauge.query.engine import Statistics
    from streamgauge.query.named import Named

#: Threads of DuckDB when it reads from a bucket: it waits for the network more than for the processor.
_THREADS = max(8, os.cpu_count() or 1)


def query(
    question: Annotated[str | None, typer.Argument(help="SQL, the name of a query (--list), or - to read SQL.")] = None,
    since: Annotated[str | None, typer.Option(help="Begin of the window: 2h, 7d, or 2026-11-25T14:00.")] = None,
    until: Annotated[str | None, typer.Option(help="End of the window, likewise.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value of a named query.")] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv, ndjson or parquet.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File; standard output by default.")] = None,
    path: Annotated[
        Path | None, typer.Option(help="Read a local folder of objects (summaries/v1/…) instead of the bucket.")
    ] = None,
    inside: Annotated[str | None, typer.Option(help="Networks of the cluster, comma-separated.")] = None,
    memory: Annotated[str | None, typer.Option(help="Most memory to use, such as 4GB.")] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List views and named queries, with their parameters.")
    ] = False,
    show: Annotated[str | None, typer.Option(help="Print the SQL of a named query or view.")] = None,
    define: Annotated[str | None, typer.Option(help="Print the views for another engine: spark or trino.")] = None,
    zeek_conn: Annotated[bool, typer.Option("--zeek-conn", help="Write conversations as Zeek's conn.log.")] = False,
    community_id: Annotated[bool, typer.Option("--community-id", help="With --zeek-conn: Community ID.")] = False,
    stats: Annotated[
        bool | None, typer.Option("--stats/--no-stats", help="Say what was read; on a terminal by default.")
    ] = None,
) -> int:
    """Ask what was stored, with SQL of DuckDB; only the objects of the window are read.

    Views: summaries, flows, conversations, dns, tls, http, identity, names, ledger. Addresses are text; is_inside(ip)
    and in_network(ip, '10.0.0.0/8') test them. Reading needs no NATS, only the bucket or a copy of it.

    Examples:
      streamgauge query --list
      streamgauge query top-talkers --since 1h
      streamgauge query pod-activity -p pod=shop/web-0 --since 2026-11-25T14:00 --until 2026-11-25T14:10
      streamgauge query "SELECT dst_ip, sum(bytes) FROM summaries WHERE src_ip = '10.0.0.1' GROUP BY 1" --since 1d
      streamgauge query --zeek-conn --since 1h > conn.log
    """
    try:
        from streamgauge.query import named, results
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed; `pip install 'streamgauge[query]'` brings what queries need"
        ) from error

    if form not in results.FORMATS:
        close = closest(form, results.FORMATS)
        hint = f"; did you mean {close}?" if close else ""
        raise ConfigurationError(f"--format {form!r} is none of {', '.join(results.FORMATS)}{hint}")
    if listed:
        _list()
        return 0
    if show is not None or define is not None:
        _show(show, define)
        return 0
    chosen, sql = _statement(question, zeek_conn=zeek_conn)
    if community_id and not zeek_conn:
        raise ConfigurationError("--community-id goes with --zeek-conn; in SQL it is the column community_id")
    given = named.parameters_of(param or [])
    if given and chosen is None:
        raise ConfigurationError("--param goes with a named query; write values into SQL as they are")
    from streamgauge.cli import output as outputs
    from streamgauge.cli import times
    from streamgauge.cli.progress import Progress
    from streamgauge.inside import INSIDE
    from streamgauge.query import Query, zeek
    from streamgauge.query.catalogue import LATEST, Window

    values = chosen.bind(given, times.parse) if chosen else {}
    first, last = times.window(since or (chosen.window if chosen else None), until)
    window = Window(first, LATEST if last is None else last)
    with _place(path) as place, ExitStack() as stack:
        with Progress("objects looked at", alone=True) as progress:
            one = stack.enter_context(
                Query(
                    place,
                    window,
                    inside=inside or INSIDE,
                    memory=memory,
                    threads=_THREADS if path is None else None,
                    looked=progress.add,
                    told=progress.share,
                )
            )
            answer = one.run(sql, values, rows=chosen.rows if chosen else None)
        with outputs.binary(output) as stream:
            if zeek_conn:
                zeek.write(answer, stream, community_id=community_id)
            else:
                results.write(form, answer, stream, _width() if output is None else None)
            stream.flush()
    for warning in [*one.warnings, *(chosen.doubts(values, first) if chosen else ())]:
        print(f"streamgauge: {warning}", file=sys.stderr)
    if stats if stats is not None else sys.stderr.isatty():
        print(f"streamgauge: {_told(one.statistics)}", file=sys.stderr)
    return 0


def _statement(question: str | None, *, zeek_conn: bool) -> "tuple[Named | None, str]":
    from streamgauge.query import named, zeek

    if zeek_conn:
        if question is not None:
            raise ConfigurationError("--zeek-conn writes all conversations of the window and takes no SQL")
        return None, zeek.SQL
    question = (question or "").strip()
    if not question:
        raise ConfigurationError("what is the question? SQL, or a name that `streamgauge query --list` shows")
    if question == "-":
        return None, sys.stdin.read()
    chosen = named.get(question)
    if chosen is not None:
        return chosen, chosen.sql
    if len(question.split()) == 1:
        raise named.unknown(question)
    return None, question


@contextmanager
def _place(path: Path | None) -> "Iterator[Place]":
    """Yield the folder, or the bucket that the settings name."""
    from streamgauge.query import Bucket, Folder

    if path is not None:
        yield Folder(path)
        return
    import asyncio

    from streamgauge import logs
    from streamgauge.settings import LogSettings, S3Settings, load
    from streamgauge.store import Store

    store = Store(load(("s3",)).section(S3Settings), threads=16)
    logs.set_up(LogSettings.model_validate({"level": "error"}))
    try:
        asyncio.run(store.start(create=False))
        yield Bucket(store)
    finally:
        asyncio.run(store.stop())


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _list() -> None:
    from streamgauge.query import named, portable

    print("VIEWS")
    for name, meaning in portable.DESCRIPTIONS.items():
        _entry(name, meaning)
    print("\nQUERIES")
    for each in named.all_named().values():
        window = f" Looks back {each.window} by default." if each.window else ""
        _entry(each.name, each.question + window)
        for parameter in each.parameters:
            given = "…" if parameter.default is None else parameter.default
            must = " (must be given)" if parameter.default is None else ""
            _entry("", f"  -p {parameter.name}={given}: {parameter.meaning}{must}")
    print("\nstreamgauge query NAME -p limit=5 --since 1h   asks one; --show NAME prints its SQL")


def _entry(name: str, words: str) -> None:
    inner = " " * (len(words) - len(words.lstrip()))
    width = max(_width() or 120, 60)
    first, rest = f"  {name:18}{inner}", f"{'':20}{inner}"
    print(textwrap.fill(words.lstrip(), width, initial_indent=first, subsequent_indent=rest))


def _show(name: str | None, engine: str | None) -> None:
    from streamgauge.query import dialects, named, portable

    if engine is not None and engine not in dialects.ENGINES:
        raise ConfigurationError(f"--define {engine!r} is none of {', '.join(dialects.ENGINES)}")
    if name is None:
        assert engine is not None
        print(dialects.definitions(engine))
        return
    chosen = named.get(name)
    if chosen is None and name not in portable.VIEWS:
        raise named.unknown(name)
    sql = chosen.sql if chosen else portable.view(name)
    print((dialects.translate(engine, sql) if engine else sql).rstrip())


def _told(statistics: "Statistics") -> str:
    from streamgauge.query.terminal import size

    return (
        f"{statistics.objects:,} of {statistics.listed:,} objects, {size(statistics.bytes)} read, "
        f"{statistics.stored_rows:,} rows stored, {statistics.rows:,} rows answered, {statistics.seconds:.2f} s"
    )
