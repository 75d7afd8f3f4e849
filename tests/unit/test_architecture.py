"""Rules of the house that a reader relies on, checked on the sources."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("streamgauge", "services") for path in (ROOT / folder).rglob("*.py"))
ALL = SOURCES + sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

#: The only program that imports scapy (GPL-2.0-only); it runs behind a pipe.
SCAPY = "services/collector/scapy_source"

#: Files that may be longer than 400 lines, each with its reason.
LONG_FILES: dict[str, str] = {}
LONGEST = 400  # lines


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """Return the modules a file imports anywhere, also inside of functions."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_there_is_something_to_check() -> None:
    """The rules below are not kept by finding no files."""
    assert len(SOURCES) > 60


@pytest.mark.parametrize("service", ["collector", "backup", "exporter"])
def test_services_never_import_each_other(service: str) -> None:
    """They meet on NATS and in the bucket, nowhere else."""
    others = [f"services.{other}" for other in ("collector", "backup", "exporter") if other != service]
    broken = [
        (name(path), module)
        for path in (ROOT / "services" / service).rglob("*.py")
        for module in imports(path)
        if any(within(module, other) for other in others)
    ]

    assert broken == []


def test_the_library_imports_no_service() -> None:
    """The wheel holds the library alone."""
    broken = [
        name(path) for path in (ROOT / "streamgauge").rglob("*.py") if any(within(m, "services") for m in imports(path))
    ]

    assert broken == []


def test_nothing_shipped_imports_tests() -> None:
    """Tests and benchmarks are not shipped."""
    assert [
        name(path) for path in SOURCES if any(within(m, "tests") or within(m, "benchmarks") for m in imports(path))
    ] == []


def test_scapy_runs_apart() -> None:
    """Only the program behind the pipe imports it, and nobody imports that program."""
    importing = {name(path) for path in SOURCES if any(within(module, "scapy") for module in imports(path))}
    program = SCAPY.replace("/", ".")
    using = {name(path) for path in ALL if any(within(module, program) for module in imports(path))}

    assert {path for path in importing if not path.startswith(SCAPY)} == set()
    assert {path for path in using if not path.startswith(SCAPY)} == set()


def test_no_file_outgrows_a_reader() -> None:
    """A longer file is split, or listed above with its reason; who became shorter leaves the list."""
    long = {name(path) for path in ALL if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST}

    assert long == set(LONG_FILES)


def test_every_module_says_what_it_is_for() -> None:
    """The first line of a module is a sentence for who opens it."""
    assert [name(path) for path in SOURCES if not ast.get_docstring(tree(path))] == []


def test_no_todo_is_left() -> None:
    """What is not done is an issue, not a comment."""
    words = ("TO" + "DO", "FIX" + "ME", "X" * 3 + ":")
    found = [name(path) for path in ALL if any(word in path.read_text(encoding="utf-8") for word in words)]

    assert found == []


def test_tests_do_not_sleep() -> None:
    """A test waits for something to happen (`tests.support.waiting`), never for a guessed time."""
    sleeping = []
    for path in ALL:
        if "tests" not in path.parts or path.name == "waiting.py":
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("asyncio.sleep", "time.sleep", "sleep"):
                # Zero gives way to other tasks; a moment drawn by chance is part of what is tested.
                guessed = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value != 0
                sleeping += [f"{name(path)}:{node.lineno}"] if guessed else []

    assert sleeping == []
