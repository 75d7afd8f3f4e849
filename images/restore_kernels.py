"""Put the image's compiled kernels where Numba may write: it uses no cache in a folder that is read-only.

Runs whenever Python starts in the image (restore_kernels.pth); copies a few megabytes into memory, once a container.
"""

import contextlib
import os
import shutil
from pathlib import Path

_SHIPPED = Path("/app/kernels")


def restore() -> None:
    """Copy the kernels unless they are there."""
    target = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if target.is_absolute() and target != _SHIPPED and _SHIPPED.is_dir() and not target.exists():
        # Another process of the container may do the same; without a cache the kernels are compiled anew.
        draft = target.with_name(f"{target.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            shutil.copytree(_SHIPPED, draft)
            # What is copied from a folder nobody may write to must be writable: else Numba looks elsewhere.
            for folder in (draft, *(path for path in draft.iterdir() if path.is_dir())):
                folder.chmod(0o700)
            draft.rename(target)


restore()
