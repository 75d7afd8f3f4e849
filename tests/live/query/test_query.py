"""`streamgauge query` on a real bucket, as a key that may list and read and nothing else."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamgauge.cli.main import main
from streamgauge.store import Store
from tests.support.query import HOUR, START, ask_named, write_objects
from tests.support.servers import S3ServerWithReader

if TYPE_CHECKING:
    from pathlib import Path

    from streamgauge.settings import S3Settings
    from tests.support.minio_server import MinioServer

pytestmark = pytest.mark.live


@pytest.fixture(name="stored")
def _stored(
    tmp_path: Path,
    s3_settings: S3Settings,
    s3_server: S3ServerWithReader | MinioServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Put the objects into the bucket; return the folder they came from. The command reads with the reader's key."""
    folder = write_objects(tmp_path)

    async def put() -> None:
        store = Store(s3_settings)
        await store.start()
        for path in folder.rglob("*.parquet"):
            await store.put(path.relative_to(folder).as_posix(), path.read_bytes())
        await store.stop()

    asyncio.run(put())
    reads = isinstance(s3_server, S3ServerWithReader)
    settings = {
        "ENDPOINT": s3_settings.endpoint,
        "SECURE": "false",
        "BUCKET": s3_settings.bucket,
        "ACCESS_KEY": s3_server.reader_key if reads else s3_settings.access_key,
        "SECRET_KEY": s3_server.reader_secret if reads else s3_settings.secret_key.get_secret_value(),
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"STREAMGAUGE_S3_{name}", value)
    return folder


def test_the_bucket_answers_as_the_folder_does(stored: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Both through the same command; the bytes read are told."""
    window = ("--since", "2026-11-25T10:00", "--until", "2026-11-25T11:00")
    answers = []
    for where in ((), ("--path", str(stored))):
        assert main(("query", "top-talkers", *window, "--format", "ndjson", "--stats", *where)) == 0
        written = capfdbinary.readouterr()
        answers.append([orjson.loads(line) for line in written.out.splitlines()])
        assert b"3 of 5 objects" in written.err  # one of them tells identity

    assert answers[0] == answers[1]
    assert [row["bytes"] for row in answers[0]] == [
        row["bytes"] for row in ask_named(stored, "top-talkers", START, START + HOUR)
    ]


def test_formats(stored: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Parquet to a file, csv and a table to standard output."""
    sql = "SELECT time, src_ip, bytes FROM summaries WHERE src_ip = '10.0.0.66' ORDER BY time LIMIT 3"
    assert main(("query", sql, "--format", "parquet", "--output", str(tmp_path / "answer.parquet"))) == 0
    assert main(("query", sql, "--format", "csv")) == 0
    csv = capfdbinary.readouterr().out.decode().splitlines()
    assert main(("query", sql)) == 0
    table = capfdbinary.readouterr().out.decode().splitlines()
    answer = pq.read_table(tmp_path / "answer.parquet")

    assert answer.schema.field("time").type == pa.timestamp("ns", "UTC")
    assert answer["src_ip"].to_pylist() == ["10.0.0.66"] * 3
    assert csv[:2] == ['"time","src_ip","bytes"', '"2026-11-25T10:00:35Z","10.0.0.66",54']
    assert [line.split(" │ ") for line in table if "─" not in line][:2] == [
        ["time                    ", "src_ip   ", "bytes"],
        ["2026-11-25 10:00:35.000Z", "10.0.0.66", " 54 B"],
    ]


def test_nothing_of_that_time_is_told(stored: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An empty table could as well mean that nothing happened."""
    assert main(("query", "top-talkers", "--since", "2030-01-01")) == 0

    assert "nothing is stored of that time" in capfd.readouterr().err


def test_conn_log(stored: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """From the bucket, as a program that reads Zeek's logs would take it."""
    assert main(("query", "--zeek-conn", "--since", "2026-11-25T10:00")) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()

    assert lines[0] == "#separator \\x09"
    assert lines[-1].startswith("#close\t")
    assert sum(not line.startswith("#") for line in lines) > 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("SELEC 1",), 'line 1, column 1: syntax error at or near "SELEC"'),
        (("SELECT srcip\nFROM summaries",), "line 1, column 8: no column srcip; did you mean src_ip?"),
        (("SELECT 1,\n  nod FROM summaries",), "line 2, column 3: no column nod; did you mean node?"),
        (("SELECT * FROM conversation",), "no table conversation; did you mean conversations?"),
        (("top-talker",), "'top-talker' is neither SQL nor a named query; did you mean top-talkers?"),
        (("conversations",), "conversations is a view; ask SQL:"),
        (("mine.sql",), "'mine.sql' is a file? `streamgauge query - < mine.sql` reads it"),
        (("SELECT * FROM answer",), "no table answer; there are summaries, "),
        ((), "what is the question? SQL, or a name that `streamgauge query --list` shows"),
        (("top-talkers", "-p", "limit"), "--param 'limit' is not name=value"),
        (("top-talkers", "--format", "xml"), "--format 'xml' is none of table, csv, ndjson, parquet"),
        (("top-talkers", "--format", "tabel"), "; did you mean table?"),
        (("top-talkers", "--memory", "lots"), "--memory 'lots' is no size such as 4GB or 500MiB"),
        (("top-talkers", "-p", "limit=-1"), "--param limit=-1 is not between 0 and "),
        (("SELECT 1; SELECT 2",), "2 statements; ask one at a time"),
        (("top-talkers", "--inside", "10/8"), "'10/8' is no network such as 10.0.0.0/8"),
        (("top-talkers", "--path", "/gone"), "--path /gone: no such folder"),
    ],
)
def test_mistakes_are_told_in_one_line(
    stored: Path, arguments: tuple[str, ...], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What, where, and what was probably meant."""
    assert main(("query", *arguments)) == 2
    (line,) = capfd.readouterr().err.splitlines()

    assert words in line


def test_a_wrong_key_is_told(stored: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """In one line, naming the settings."""
    monkeypatch.setenv("STREAMGAUGE_S3_SECRET_KEY", "this-is-not-the-key")

    assert main(("query", "SELECT 1 FROM summaries")) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "STREAMGAUGE_S3_SECRET_KEY" in line


def test_lists_and_definitions_need_no_bucket(capfd: pytest.CaptureFixture[str]) -> None:
    """Nor settings."""
    assert main(("query", "--list")) == 0
    listed = capfd.readouterr().out
    assert main(("query", "--show", "top-talkers")) == 0
    shown = capfd.readouterr().out
    assert main(("query", "--define", "trino")) == 0
    defined = capfd.readouterr().out

    assert "conversations" in listed
    assert "-p pod=…: namespace/name, the name alone, or an address (must be given)" in listed
    assert shown.startswith("-- Who sends most to whom?")
    assert "external_location = 's3://streamgauge/summaries/v1'" in defined


def test_sql_from_standard_input(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """For statements that are too long for a shell."""
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT count(*) AS rows FROM ledger"))

    assert main(("query", "-")) == 0
    assert capfd.readouterr().out.split() == ["rows", "────", "1"]
