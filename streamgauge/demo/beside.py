"""The demos that run on this machine, for a shell that has not read the settings of one, or those of one that ended."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where the NATS server of a demo is.
_URL: Final = re.compile(r"nats://127\.0\.0\.1:(\d+)")
#: Seconds a server on this machine may take to answer.
_PATIENCE: Final = 0.3


def hint() -> str:
    """Return how to ask the demos that run; empty without one, and for a shell that has the settings of a system."""
    own = os.environ.get("STREAMGAUGE_NATS_URL")
    if own is not None and ((demo := _URL.fullmatch(own)) is None or _answers(demo)):
        return ""
    told = "a demo runs on this machine; to ask it, first: . "
    return "\n".join(told + shlex.quote(str(path)) for path in _running())


def _running() -> Iterator[Path]:
    for path in sorted(Path(tempfile.gettempdir()).glob("streamgauge-demo-*/settings.sh")):
        # A folder may go while we look.
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found = _URL.search(path.read_text(encoding="utf-8")) if _is_ours(path) else None
            if found is not None and _answers(found):
                yield path


def _is_ours(path: Path) -> bool:
    """Tell whether nobody else can have written a file: a shell that reads it does what it says."""
    folder, file = path.parent.lstat(), path.lstat()
    alone = folder.st_uid == file.st_uid == os.geteuid() and not (folder.st_mode | file.st_mode) & 0o022
    return alone and stat.S_ISDIR(folder.st_mode) and stat.S_ISREG(file.st_mode)


def _answers(url: re.Match[str]) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url[1])), _PATIENCE).close()
    except OSError:
        return False
    return True
