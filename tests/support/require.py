"""What a test needs beside Python: missing at a desk it skips the test, missing in CI it fails it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final, NoReturn

import pytest

#: Captures with tshark's verdict on each packet, kept beside the project.
CORPUS: Final = Path(__file__).parents[3] / "shared" / "corpus"


def missing(what: str) -> NoReturn:
    """Skip the running test, or fail it where ``CI=true`` promises that everything is there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must not skip")
    pytest.skip(f"{what} is missing")


def program(name: str) -> str:
    """Return the path of a program, beside this Python or on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or missing(f"the program {name}")


def root() -> None:
    """Require root (namespaces, packet sockets, other users)."""
    if os.geteuid() != 0:
        missing("root")
