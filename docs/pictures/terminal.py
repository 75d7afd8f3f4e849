"""Take the pictures of a running demo that the README shows.

Usage: ``python docs/pictures/terminal.py docs/pictures/demo.svg``

Runs ``streamgauge demo`` in a tmux terminal of its own, waits until the numbers move, and writes what stands on the
screen as an SVG; the closing table goes into a second file, ``…-end.svg``.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

_SESSION = "streamgauge-picture"
_COLUMNS, _LINES = 112, 30
_SECONDS = 40
_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def tmux(*arguments: str) -> str:
    """Run one tmux command on a server of our own."""
    return subprocess.run(["tmux", "-L", _SESSION, *arguments], check=True, capture_output=True, text=True).stdout


def write(screen: str, path: Path) -> None:
    """Write a screen, with its colours, as an SVG."""
    lines = screen.rstrip().splitlines()
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(lines)))
    picture = console.export_svg(title="streamgauge demo")
    # rich names a font on another host; a picture in a README fetches nothing, the reader's own font does.
    path.write_text(_FONT.sub("", picture), encoding="utf-8")


def screen_when(word: str, seconds: float) -> str:
    """Return the screen once ``word`` stands on it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        screen = tmux("capture-pane", "-e", "-p", "-t", _SESSION)
        if word in screen:
            return screen
        threading.Event().wait(0.2)
    raise SystemExit(f"{word!r} did not appear within {seconds} s")


def main() -> None:
    """Take both pictures."""
    path = Path(sys.argv[1])
    command = f"{sys.executable} -m streamgauge.cli.main demo --duration {_SECONDS}"
    tmux("new-session", "-d", "-s", _SESSION, "-x", str(_COLUMNS), "-y", str(_LINES), f"{command}; sleep 10")
    try:
        write(screen_when("running 25 s", 60), path)
        write(screen_when("accounted for", 60), path.with_name(f"{path.stem}-end.svg"))
    finally:
        tmux("kill-server")


if __name__ == "__main__":
    main()
