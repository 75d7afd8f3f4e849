"""Prometheus of the image's version, built from its released Go module: Debian's cannot discover targets in Kubernetes.

Built by ``tests/deploy/prometheus/server`` in some minutes, then from Go's cache. At a desk it is used when
``make prometheus`` has built it; CI builds it.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import Final

from tests.support import require

_ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = _ROOT / "tests" / "deploy" / "prometheus" / "server"
_FOLDER: Final = _ROOT / ".stamps" / "prometheus"


@functools.cache
def program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``, built if this is CI; else it has to be there."""
    if os.environ.get("CI") == "true":
        require.program("go")
        subprocess.run([str(SOURCE / "build.sh"), str(_FOLDER)], check=True, timeout=1500)
    elif not (_FOLDER / name).exists():
        require.missing(f"{name} with discovery in Kubernetes (`make prometheus` builds it)")
    return str(_FOLDER / name)
