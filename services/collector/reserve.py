"""Room on the disk of the spool that only notes may use: what became of messages is written on a full disk as well.

Without it, a collector killed while its disk is full would come back not knowing what it had published from memory.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Enough for more than a thousand notes: minutes of a full disk.
RESERVE_BYTES: Final = 256 << 10


class Reserve:
    """A file with blocks of its own; removed when they are needed, made again when the disk has room."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: Whether the room is there.
        self.held = False

    def hold(self) -> bool:
        """Take the room if it is not there; return whether it is now."""
        if self.held:
            return True
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            self.give()
            return False
        self.held = True
        return True

    def give(self) -> bool:
        """Give the room up; return whether there was any."""
        held, self.held = self.held, False
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        return held
