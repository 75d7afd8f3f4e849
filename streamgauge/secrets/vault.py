"""A folder of secrets: files of mode 0600 that appear whole and are not written over."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from streamgauge.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


class Vault:
    """The folder; ``created`` and ``replaced`` list what this run wrote, relative to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.created: list[str] = []
        self.replaced: list[str] = []
        self.repaired: list[str] = []

    def path(self, name: str) -> Path:
        """Return where a secret is."""
        return self.root / name

    def has(self, name: str) -> bool:
        """Return whether a secret is there."""
        return self.path(name).is_file()

    def read(self, name: str) -> bytes:
        """Return a secret.

        Raises:
            ConfigurationError: it cannot be read.

        """
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{self.path(name)} cannot be read: {error.strerror}") from error

    def create(self, name: str, content: bytes) -> None:
        """Write a secret that is not there yet.

        Raises:
            ConfigurationError: it is there already, or the folder cannot be written.

        """
        self._write(name, content, replace=False)
        self.created.append(name)

    def replace(self, name: str, content: bytes) -> None:
        """Write a secret, in the place of the old one if there is one."""
        known = self.has(name)
        self._write(name, content, replace=True)
        (self.replaced if known else self.created).append(name)

    def repair(self) -> None:
        """Take the rights of others away where somebody has given them; symbolic links are refused."""
        if not self.root.exists():
            return
        for path in [self.root, *sorted(self.root.rglob("*"))]:
            if path.is_symlink():
                raise ConfigurationError(f"{path} is a symbolic link; put the file itself there")
            wanted = _FOLDER_MODE if path.is_dir() else _FILE_MODE
            if path.stat().st_mode & 0o777 != wanted:
                path.chmod(wanted)
                self.repaired.append(str(path.relative_to(self.root)))

    def _write(self, name: str, content: bytes, *, replace: bool) -> None:
        path = self.path(name)
        try:
            self._make_folders(path.parent)
            # Under a name of its own first: whoever reads finds the whole secret or none.
            draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
            try:
                with os.fdopen(descriptor, "wb") as handle:
                    handle.write(content)
                    handle.flush()
                    os.fsync(handle.fileno())
                if replace:
                    draft.replace(path)
                else:
                    os.link(draft, path)
            finally:
                draft.unlink(missing_ok=True)
        except FileExistsError as error:
            raise ConfigurationError(f"{path} exists and is kept; `--rotate` makes a new one") from error
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error

    def _make_folders(self, folder: Path) -> None:
        missing = [part for part in (folder, *folder.parents) if not part.exists()]
        for part in reversed(missing):
            part.mkdir(mode=_FOLDER_MODE)
