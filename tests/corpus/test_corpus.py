"""Packet by packet against tshark, on captures that others published: tools/check_decode.py of the corpus decides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
CHECK, CORPUS = SHARED / "tools" / "check_decode.py", SHARED / "corpus"
ALLOWED = ROOT / "tests" / "data" / "check_decode.allow"

#: Captures of one run of the check; each is a few hundred milliseconds, most of it start-up.
PART = 60

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CHECK.exists() or not CORPUS.exists(), reason=f"no capture corpus at {SHARED}"),
]


def parts():
    captures = [str(truth)[: -len(".truth.tsv.gz")] for truth in sorted(CORPUS.rglob("*.truth.tsv.gz"))]
    return [captures[first : first + PART] for first in range(0, len(captures), PART)]


@pytest.mark.parametrize("captures", parts(), ids=lambda captures: Path(captures[0]).name)
def test_decode_agrees_with_tshark(captures):
    """Every packet is a row with the columns tshark gives it, but for the listed differences."""
    command = f"{sys.executable} -m streamgauge.cli.main decode"
    check = [sys.executable, CHECK, "--command", command, "--level", "core", "--allow", ALLOWED, *captures]
    run = subprocess.run(check, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)})

    assert run.returncode == 0, run.stdout + run.stderr
