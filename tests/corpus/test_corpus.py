"""Packet by packet against tshark, on captures that others published: tools/check_decode.py of the corpus decides.

Starting the command costs more than most captures: nearly all are decoded in this process, by the same function.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from streamgauge.cli.main import main

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
CHECK, CORPUS = SHARED / "tools" / "check_decode.py", SHARED / "corpus"
ALLOWED = ROOT / "tests" / "data" / "check_decode.allow"

#: One capture in so many is decoded by a process of its own.
SAMPLE = 40

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not CHECK.exists() or not CORPUS.exists(), reason=f"no capture corpus at {SHARED}"),
]


@pytest.fixture(name="check")
def _check():
    specification = importlib.util.spec_from_file_location("check_decode", CHECK)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_decode_agrees_with_tshark(check, monkeypatch, tmp_path):
    """Every packet is a row with the columns tshark gives it, but for the listed differences."""

    def decoded(_command, capture, *options):
        rows, words = tmp_path / "rows.ndjson", io.StringIO()
        with contextlib.redirect_stderr(words):
            status = main(["decode", "--format", "ndjson", "--output", str(rows), *options, str(capture)])
        return [json.loads(line) for line in rows.read_bytes().splitlines()], status, words.getvalue().splitlines()

    monkeypatch.setattr(check, "decoded", decoded)
    monkeypatch.setattr(sys, "argv", ["check_decode.py", "--level", "full", "--allow", str(ALLOWED), str(CORPUS)])
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        status = check.main()

    assert status == 0, report.getvalue()


def test_the_command_agrees_with_tshark():
    """The program itself passes the check, on a sample."""
    captures = [str(truth)[: -len(".truth.tsv.gz")] for truth in sorted(CORPUS.rglob("*.truth.tsv.gz"))[::SAMPLE]]
    command = f"{sys.executable} -c 'import sys; from streamgauge.cli.main import main; sys.exit(main())' decode"
    check = [sys.executable, CHECK, "--command", command, "--level", "full", "--allow", ALLOWED, *captures]
    run = subprocess.run(check, capture_output=True, text=True, check=False, cwd=ROOT)

    assert run.returncode == 0, run.stdout + run.stderr
