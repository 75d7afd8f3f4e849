"""What the services write to standard error."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from streamgauge.logs import Sampled

_PROGRAM = """
from streamgauge import logs
from streamgauge.settings import LogSettings
logs.set_up(LogSettings.model_validate({settings}), service="backup", node="n")
log = logs.get("writer")
log.debug("fine")
log.info("stored", rows=3)
try:
    raise ValueError("broken")
except ValueError:
    log.exception("failed")
"""


def written(**settings: str) -> list[str]:
    """Return the lines a process writes to standard error; standard output stays empty."""
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(settings=settings)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_lines_are_json_where_there_is_no_terminal() -> None:
    """Each line is one object with the context of the process; an exception is data in it."""
    stored, failed = map(json.loads, written())

    assert (stored["event"], stored["rows"], stored["level"]) == ("stored", 3, "info")
    assert (stored["service"], stored["node"], stored["component"]) == ("backup", "n", "writer")
    assert stored["timestamp"].endswith("Z")
    assert failed["exception"][0]["exc_type"] == "ValueError"


def test_level_is_the_least_that_is_written() -> None:
    """Debug shows all, error only what is one."""
    assert [json.loads(line)["event"] for line in written(level="debug")] == ["fine", "stored", "failed"]
    assert [json.loads(line)["event"] for line in written(level="error")] == ["failed"]


def test_console_form_can_be_asked_for() -> None:
    """A person who reads a log file may want it."""
    lines = written(format="console")

    assert "stored" in lines[0]
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[0])


class _Recorder:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def warning(self, event: str, **values: object) -> None:
        self.lines.append((event, values))


def test_repeated_warning_is_written_once_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that is let through says how many were held back; other events are counted apart."""
    now = 1000.0
    monkeypatch.setattr("streamgauge.logs.time.monotonic", lambda: now)
    recorder = _Recorder()
    sampled = Sampled(recorder, interval=60)  # type: ignore[arg-type]
    for _ in range(3):
        sampled.warning("away", url="x")
    sampled.warning("full")
    now = 1060.0
    sampled.warning("away", url="y")

    assert recorder.lines == [
        ("away", {"held_back": 0, "url": "x"}),
        ("full", {"held_back": 0}),
        ("away", {"held_back": 2, "url": "y"}),
    ]
