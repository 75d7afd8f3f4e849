"""Where a command writes: whole files, streams, and what is left when it breaks off."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from streamgauge.cli import output
from streamgauge.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, content: bytes, error: BaseException | None = None) -> None:
    with output.whole(path) as stream:
        stream.write(content)
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("damaged"), GeneratorExit()], ids=repr)
@pytest.mark.parametrize("before", [None, b"of yesterday"])
def test_what_breaks_off_leaves_nothing(tmp_path: Path, error: BaseException, before: bytes | None) -> None:
    """Neither under the name nor beside it; what was there before stays."""
    path = tmp_path / "rows.csv"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(type(error)):
        write(path, b"half of it", error)

    assert [one.read_bytes() for one in tmp_path.iterdir()] == ([before] if before else [])


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """Under its name there is the old content until the new one is written; mode and link stay."""
    target, link = tmp_path / "target.csv", tmp_path / "rows.csv"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with output.whole(link) as stream:
        stream.write(b"new")
        stream.flush()
        assert target.read_bytes() == b"old"

    assert (target.read_bytes(), target.stat().st_mode & 0o777, link.is_symlink()) == (b"new", 0o640, True)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_gets_it_as_it_comes(tmp_path: Path) -> None:
    """A pipe is not replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"rows")
    reader.join(10)

    assert found == [b"rows"]
    assert pipe.is_fifo()


def test_a_dash_is_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Not a file of that name."""
    monkeypatch.chdir(tmp_path)
    write(output.STANDARD, b"rows")
    output.flush()

    assert capfdbinary.readouterr().out == b"rows"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/rows.csv", "."])
def test_where_nothing_can_be_written(tmp_path: Path, name: str) -> None:
    """The line names the path that was asked for, not the one beside it."""
    with pytest.raises(ConfigurationError, match="cannot be written") as error:
        write(tmp_path / name, b"")

    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert ".part" not in str(error.value)


def test_a_file_that_somebody_else_put_beside_it_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder for all a link may lie in wait under any name; nothing is written through it, and it stays theirs."""
    monkeypatch.setattr(output.secrets, "token_hex", lambda _: "guessed")
    victim, trap = tmp_path / "victim", tmp_path / ".rows.csv.guessed.part"
    victim.write_bytes(b"precious")
    trap.symlink_to(victim)
    with pytest.raises(ConfigurationError, match="File exists"):
        write(tmp_path / "rows.csv", b"rows")

    assert victim.read_bytes() == b"precious"
    assert trap.is_symlink()


def test_a_link_to_itself_is_replaced(tmp_path: Path) -> None:
    """It leads nowhere, so the file takes its place."""
    path = tmp_path / "rows.csv"
    path.symlink_to(path)
    write(path, b"rows")

    assert path.read_bytes() == b"rows"
