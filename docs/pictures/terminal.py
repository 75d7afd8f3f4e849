"""Take the pictures of a running demo that the README shows, and the recording of one.

Usage: ``python -m docs.pictures.terminal docs/pictures/demo.svg``

Runs ``streamgauge demo`` in a tmux terminal, on a loopback where only its own traffic is, and looks at the screen every
second and a half. Three files come of it: the screen in the middle of the run, ``…-end.svg`` with the closing account,
and ``…-recording.svg``, in which the screens follow each other as they did; no script is needed to see it.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from docs.pictures import alone

_SESSION = "streamgauge-picture"
_COLUMNS, _LINES = 118, 32
_SECONDS = 40
#: Seconds between two looks, and how long a screen and the last one stand in the recording.
_INTERVAL = 1.5
_SHOWN, _SHOWN_LAST = 1.0, 6.0
_MOST_FRAMES = 22
_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_SIZE = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')


def tmux(*arguments: str) -> str:
    """Run one tmux command on a server of our own."""
    return subprocess.run(["tmux", "-L", _SESSION, *arguments], check=True, capture_output=True, text=True).stdout


def drawn(screen: str, *, name: str, lines: int = 0) -> str:
    """Return a screen, with its colours, as an SVG, filled up to a number of lines."""
    shown = screen.rstrip().splitlines()
    shown += [""] * (lines - len(shown))
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(shown)))
    picture = console.export_svg(title="streamgauge demo", unique_id=name)
    # rich names a font on another host; a picture in a README fetches nothing, the reader's own font does.
    return _FONT.sub("", picture)


def recorded(screens: list[str]) -> str:
    """Return one SVG that shows screens one after the other, for ever."""
    frames = [drawn(screen, name=f"frame{number}", lines=_LINES) for number, screen in enumerate(screens)]
    size = _SIZE.search(frames[0])
    assert size is not None
    width, height = size.groups()
    total = _SHOWN * (len(frames) - 1) + _SHOWN_LAST
    parts = [f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">', "<style>"]
    for number in range(len(frames)):
        begin = 100 * _SHOWN * number / total
        end = 100 if number == len(frames) - 1 else 100 * _SHOWN * (number + 1) / total
        before = "" if number == 0 else f"0%{{visibility:hidden}}{begin:.3f}%{{visibility:visible}}"
        after = "" if number == len(frames) - 1 else f"{end:.3f}%{{visibility:hidden}}100%{{visibility:hidden}}"
        first = "0%{visibility:visible}" if number == 0 else ""
        last = "100%{visibility:visible}" if number == len(frames) - 1 else ""
        parts.append(f"@keyframes show{number}{{{first}{before}{after}{last}}}")
        # Where nothing moves, the last screen stands.
        still = "" if number == len(frames) - 1 else "visibility:hidden;"
        parts.append(f"#shot{number}{{{still}animation:show{number} {total}s step-end infinite}}")
    parts += ["</style>"]
    parts += [f'<g id="shot{number}">{frame}</g>' for number, frame in enumerate(frames)]
    return "\n".join([*parts, "</svg>\n"])


def screens_until(word: str, seconds: float) -> list[str]:
    """Return the screens, each that differs from the one before, until one holds ``word``."""
    deadline = time.monotonic() + seconds
    screens = [""]
    while time.monotonic() < deadline:
        screen = tmux("capture-pane", "-e", "-p", "-t", _SESSION)
        if screen.strip() and screen != screens[-1]:
            screens.append(screen)
        if word in screen:
            return screens[1:]
        threading.Event().wait(_INTERVAL)
    raise SystemExit(f"{word!r} did not appear within {seconds} s: {screens[-1]}")


def main() -> None:
    """Take all three."""
    path = Path(sys.argv[1])
    demo = ["-m", "streamgauge.cli.main", "demo", "--duration", str(_SECONDS), "--no-open"]
    command = shlex.join([*alone.prefix(), sys.executable, *demo])
    tmux("new-session", "-d", "-s", _SESSION, "-x", str(_COLUMNS), "-y", str(_LINES), f"{command}; sleep 10")
    try:
        screens = screens_until("accounted for", 150)
    finally:
        tmux("kill-server")
    live = [screen for screen in screens if "running " in screen]
    path.write_text(drawn(live[len(live) * 2 // 3], name="demo"), encoding="utf-8")
    path.with_name(f"{path.stem}-end.svg").write_text(drawn(screens[-1], name="end"), encoding="utf-8")
    # Of the start, one screen is enough for whoever looks in for ten seconds.
    screens = screens[max(screens.index(live[0]) - 1, 0) :]
    step = max(1, -(-len(screens) // _MOST_FRAMES))
    chosen = [*screens[:-1:step], screens[-1]]
    path.with_name(f"{path.stem}-recording.svg").write_text(recorded(chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
