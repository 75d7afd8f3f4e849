"""The program as a whole: list of commands, usage, errors, pipes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import streamgauge
from streamgauge.cli import main as program
from streamgauge.cli.main import COMMANDS, main
from streamgauge.errors import BusError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command: status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        written = capsys.readouterr()
        return status, written.out, written.err

    return run


def test_help_lists_every_command_with_its_summary(run: Run) -> None:
    """With no argument as well."""
    for arguments in (("--help",), ()):
        status, out, err = run(*arguments)

        assert (status, err) == (0, "")
        for command in COMMANDS:
            assert f"  {command.name} " in out
            assert command.summary in out


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_explains_itself_with_an_example(run: Run, command: str) -> None:
    """The lines of the example are not joined."""
    status, out, _ = run(command, "--help")

    assert status == 0
    examples = out.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples
    assert all(line.startswith("    ") for line in examples)
    assert any(f"streamgauge {command}" in line for line in examples)


def test_version(run: Run) -> None:
    """For bug reports."""
    assert run("--version") == (0, f"streamgauge {streamgauge.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nonsense",), "streamgauge: No such command 'nonsense'; see `streamgauge --help`\n"),
        (("--nonsense",), "streamgauge: No such option: --nonsense; see `streamgauge --help`\n"),
        (("decode", "--zzz", "x"), "streamgauge: No such option: --zzz; see `streamgauge decode --help`\n"),
        (("decode",), "streamgauge: Missing argument 'FILE...'; see `streamgauge decode --help`\n"),
        (
            ("decode", "--format", "xml", "x"),
            (
                "streamgauge: Invalid value for '--format' / '-f': "
                "'xml' is not one of 'table', 'ndjson', 'csv', 'parquet'; see `streamgauge decode --help`\n"
            ),
        ),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run: Run, arguments: tuple[str, ...], line: str) -> None:
    """It says where the help is."""
    assert run(*arguments) == (2, "", line)


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (BusError("cannot reach NATS"), 1, "streamgauge: cannot reach NATS\n"),
        (ConfigurationError("A is wrong\nB is wrong"), 2, "streamgauge: A is wrong\nstreamgauge: B is wrong\n"),
        (OSError(28, "No space left on device", "/out"), 1, "streamgauge: /out: No space left on device\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_lines_with_their_status(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, lines: str
) -> None:
    """One line a fault, never a traceback."""

    def broken() -> None:
        raise error

    monkeypatch.setattr("streamgauge.cli.config.config", broken)

    assert run("config") == (status, "", lines)


def test_internal_error_says_where(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours is one line as well; it can be reported as it stands."""

    def broken() -> None:
        _ = {}["key"]

    monkeypatch.setattr("streamgauge.cli.config.config", broken)
    status, _, err = run("config")

    assert status == 1
    assert err.startswith("streamgauge: internal error, please report it: ")
    assert "test_main:" in err
    assert err.endswith("KeyError('key')\n")


def test_help_imports_nothing_heavy() -> None:
    """The list of commands appears at once: neither Numba nor Arrow nor NATS is loaded for it."""
    heavy = ("numba", "numpy", "pyarrow", "nats", "pydantic", "structlog", "streamgauge.cli.decode")
    script = (
        "import sys; from streamgauge.cli.main import main; main(['--help']);"
        f"sys.exit(' '.join(name for name in {heavy!r} if name in sys.modules) or None)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_reader_that_has_seen_enough_is_no_error(tmp_path: object) -> None:
    """`streamgauge config --list | head -1` ends quietly."""
    script = f"{sys.executable} -m streamgauge.cli.main config --list | head -1; echo status ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)

    assert ran.stderr == ""
    assert ran.stdout == "STREAMGAUGE_LOG_LEVEL=info\nstatus 0\n"


def test_completion_knows_options_of_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the shell completes, all commands are loaded, since the words are not in the arguments."""
    monkeypatch.setenv("_STREAMGAUGE_COMPLETE", "complete_bash")
    loaded: list[str] = []
    monkeypatch.setattr(program.Command, "load", lambda self: loaded.append(self.name) or (lambda: None))
    program._application([])

    assert loaded == [command.name for command in COMMANDS]
