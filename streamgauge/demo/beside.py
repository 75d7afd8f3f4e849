"""The demos that run on this machine, for a shell that has not read the settings of one, or those of one that ended."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_NATS: Final = re.compile(r"^export STREAMGAUGE_NATS_URL=(nats://([\d.]+):(\d+))$", re.MULTILINE)
#: Seconds a server on this machine may take to answer.
_PATIENCE: Final = 0.3


def hint() -> str:
    """Return how to ask the demos that run, but for the one this shell asks; empty when there is none."""
    return "\n".join(f"a demo runs on this machine; to ask it, first: . {path}" for path in _running())


def _running() -> Iterator[Path]:
    for path in sorted(Path(tempfile.gettempdir()).glob("streamgauge-demo-*/settings.sh")):
        # Another user's folder cannot be read; a folder may go while we look, or have been kept.
        with contextlib.suppress(OSError):
            found = _NATS.search(path.read_text(encoding="utf-8"))
            if found and found[1] != os.environ.get("STREAMGAUGE_NATS_URL"):
                socket.create_connection((found[2], int(found[3])), _PATIENCE).close()
                yield path
