"""`make audit-deps` tells what is known from what could not be asked; pip-audit's answers stand in for pip-audit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
WEAK = {
    "name": "weak",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"], "description": "…"}],
}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI and could not be audited: unknown (1.0)"}


def audit(folder: Path, *, says: str, status: int = 0, complains: str = "") -> subprocess.CompletedProcess[str]:
    """Run the audit with a pip-audit that gives this answer."""
    (folder / "answer").write_text(says)
    (folder / "complaint").write_text(complains)
    stand_in = folder / "pip-audit"
    stand_in.write_text(f'#!/bin/sh\ncat "{folder}/answer"\ncat "{folder}/complaint" >&2\nexit {status}\n')
    stand_in.chmod(0o755)
    return subprocess.run(
        [sys.executable, str(ROOT / "images" / "audit_packages.py"), str(stand_in)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def answer(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_nothing_known(tmp_path: Path) -> None:
    run = audit(tmp_path, says=answer(SOUND, SOUND))

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "2 packages: nothing is known against them\n"


def test_something_known_is_named_with_the_version_that_mends_it(tmp_path: Path) -> None:
    run = audit(tmp_path, says=answer(SOUND, WEAK), status=1)

    assert run.returncode == 1
    assert run.stdout == "weak 2.0: PYSEC-1, CVE-1; mended in 2.1\n"


def test_a_package_that_was_not_looked_up_is_not_sound(tmp_path: Path) -> None:
    """pip-audit itself says "no known vulnerabilities" and ends well."""
    run = audit(tmp_path, says=answer(SOUND, UNKNOWN))

    assert run.returncode == 2
    assert run.stdout == ""
    assert "1 of 2 packages could not be looked up (unknown: Dependency not found on PyPI" in run.stderr


def test_what_is_known_counts_more_than_what_is_not(tmp_path: Path) -> None:
    run = audit(tmp_path, says=answer(WEAK, UNKNOWN), status=1)

    assert run.returncode == 1
    assert "weak 2.0" in run.stdout
    assert "1 of 2" in run.stderr


def test_no_network_is_one_line(tmp_path: Path) -> None:
    run = audit(tmp_path, says="", status=1, complains="Traceback …\nrequests.exceptions.ConnectionError: no route")

    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "cannot be had (requests.exceptions.ConnectionError: no route)" in run.stderr
