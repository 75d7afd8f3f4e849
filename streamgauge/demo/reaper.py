"""Ends the processes of a demo that was killed itself, so that none stays behind, and removes its folder.

A process of its own, started first. It reads lines ``start PID`` and ``stop PID`` from its standard input; when that
closes, the demo is gone: what is left is ended and the folder removed. After an orderly end nothing is left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE: Final = 3.0  # seconds between asking a process to end and ending it


class Reaper:
    """The demo's end of it; ``close`` is part of every orderly end."""

    def __init__(self, folder: Path | None) -> None:
        """Start the process; ``folder`` is removed if the demo dies, None: no folder."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(folder or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, process_id: int) -> None:
        """End this process should the demo die."""
        self._tell(f"start {process_id}\n")

    def forget(self, process_id: int) -> None:
        """Take it that this process has ended."""
        self._tell(f"stop {process_id}\n")

    def close(self) -> None:
        """Let it end; it ends what was not forgotten."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


def _end(process_ids: set[int], how: signal.Signals) -> None:
    for process_id in process_ids:
        with contextlib.suppress(OSError):
            os.kill(process_id, how)


def main() -> None:
    """Wait for the demo to close our standard input, then end what is left."""
    running: set[int] = set()
    for line in sys.stdin:
        word, _, process_id = line.strip().partition(" ")
        (running.add if word == "start" else running.discard)(int(process_id))
    if running:
        _end(running, signal.SIGTERM)
        threading.Event().wait(_PATIENCE)
        _end(running, signal.SIGKILL)
        if sys.argv[1]:
            shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
