"""A backup that kills itself with SIGKILL at one point of its work: ``python tests/support/dying_backup.py POINT``.

Points: ``before-intent``, ``before-upload``, ``after-upload`` (before anything is acknowledged). The object it did not
upload is left in the file ``$DYING_LEAVES``, so that a test can let it arrive late.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from services.backup.__main__ import main
from services.backup.lease import Lease
from streamgauge.store import Store


def die(*_: Any) -> None:
    """End at once, as after a crash of the machine."""
    os.kill(os.getpid(), signal.SIGKILL)


def leave(data: memoryview) -> None:
    """Keep what would have been uploaded."""
    path = os.environ.get("DYING_LEAVES")
    if path:
        Path(path).write_bytes(data)


def arm(point: str) -> None:
    """Put the mine where the point is."""
    put = Store.put

    async def before(self: Store, key: str, data: memoryview, **options: Any) -> Any:
        if key.startswith("summaries/"):
            leave(data)
            die()
        return await put(self, key, data, **options)

    async def after(self: Store, key: str, data: memoryview, **options: Any) -> Any:
        stored = await put(self, key, data, **options)
        if key.startswith("summaries/"):
            die()
        return stored

    if point == "before-intent":
        Lease.intend = die  # type: ignore[method-assign]
    else:
        Store.put = {"before-upload": before, "after-upload": after}[point]  # type: ignore[method-assign]


if __name__ == "__main__":
    arm(sys.argv.pop(1))
    sys.exit(main())
