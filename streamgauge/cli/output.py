"""Standard output of the commands, as bytes; a reader that went away is no error."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from streamgauge.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def binary(path: Path | None) -> Iterator[BinaryIO]:
    """Open ``path`` for writing, or standard output if it is None.

    Raises:
        ConfigurationError: the path cannot be written.

    """
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        handle = path.open("wb")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}; choose another --output") from error
    try:
        with handle:
            yield handle
    except OSError as error:
        # A full disk does not say which file did not fit.
        error.filename = error.filename or str(path)
        raise


def flush() -> None:
    """Write out what is buffered, so that words on standard error stand behind it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard()


def discard() -> None:
    """Send what is still buffered nowhere: Python would complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
