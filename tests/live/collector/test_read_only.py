"""A file system that is read-only throughout, as a container's may be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import require

pytestmark = [pytest.mark.live, pytest.mark.netns]

ROOT = Path(__file__).parents[3]

#: Makes everything this process can reach read-only, in a mount namespace of its own.
SEALED = """
set -e
mount --make-rprivate /
for place in "$1" /tmp /
do
    mount --bind "$place" "$place"
    mount -o remount,bind,ro "$place"
done
cd "$1"
if touch sealed 2>/dev/null || touch /tmp/sealed 2>/dev/null; then exit 3; fi
exec "$2" -c "$3"
"""


def test_kernels_work_where_nothing_may_be_written():
    """They are compiled at the start, in memory: Numba finds no folder for its cache, and that is no fault."""
    require.root()
    require.program("unshare")
    program = (
        "from services.collector.sources import ring_kernels as kernels; kernels.warm_up(); "
        "print(kernels.index_block.signatures != [], kernels.index_block.stats.cache_hits)"
    )
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", SEALED, "sealed", ROOT, sys.executable, program],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert (run.returncode, run.stdout.split()) == (0, ["True", "Counter()"]), run.stderr
