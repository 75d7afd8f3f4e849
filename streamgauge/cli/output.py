"""Standard output of the commands, as bytes; a reader that went away is no error."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from streamgauge.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A path that stands for standard output.
STANDARD: Final = Path("-")


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


@contextmanager
def whole(path: Path | None) -> Iterator[BinaryIO]:
    """Open a file that appears under its name when all of it is written, and not at all otherwise.

    It is written beside its place, as ``.NAME.….part``, which only a kill leaves behind. None and ``-`` are standard
    output; that, a pipe and a device get it as it comes.

    Raises:
        ConfigurationError: the path cannot be written.

    """
    if path is None or path == STANDARD or _is_special(path):
        with binary(None if path == STANDARD else path) as stream:
            yield stream
        return
    place = Path(os.path.realpath(path))  # what a link leads to
    # A name that nobody knows beforehand: who else writes into the folder has put nothing there.
    part = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        handle = part.open("xb")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: its folder cannot be written: {error.strerror}; choose another --output"
        ) from error
    try:
        with handle:
            if place.exists():
                part.chmod(place.stat().st_mode & 0o777)
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(place)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            # A full disk does not say which file did not fit.
            error.filename = str(path)
        raise


def _is_special(path: Path) -> bool:
    """Tell whether a path is a pipe, a device or a folder: what is there already, and no file."""
    try:
        return path.exists() and not path.is_file()
    except OSError:
        return False  # whoever opens it is told why


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
