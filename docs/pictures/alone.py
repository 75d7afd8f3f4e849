"""A loopback for a picture alone: in a network namespace of its own, nobody else's packets are in it."""

from __future__ import annotations

import os
from typing import Final

_SCRIPT: Final = 'ip link set lo up && exec "$@"'


def prefix() -> list[str]:
    """Return the words before a command that run it in such a namespace, as root or as anybody."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *as_root, "sh", "-c", _SCRIPT, "sh"]
