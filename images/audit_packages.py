"""What is known against the packages in the images: runs pip-audit, and tells "nothing known" from "nobody could say".

    python images/audit_packages.py pip-audit [OPTION…]

pip-audit itself ends well when its source has never heard of a package. Exit status: 0 every package was looked up and
nothing is known; 1 something is known; 2 the data could not be had, for all packages or for some.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

_LOCK: Final = "requirements-images.lock"
#: Seconds for a hundred look-ups.
_PATIENCE: Final = 600.0


def main(command: list[str]) -> int:
    """Look the packages up; return the exit status."""
    options = [
        "--require-hashes",
        "--disable-pip",
        "--requirement",
        _LOCK,
        "--format",
        "json",
        "--progress-spinner",
        "off",
    ]
    run = subprocess.run(
        [command[0], *options, *command[1:]], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    try:
        packages: list[dict[str, Any]] = json.loads(run.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = run.stderr.strip().rpartition("\n")[2] or f"exit status {run.returncode}"
        return _unanswered("the data on vulnerabilities cannot be had", last)
    return _report(packages)


def _report(packages: list[dict[str, Any]]) -> int:
    found = [(package, known) for package in packages for known in package.get("vulns", [])]
    for package, known in found:
        names = ", ".join([known["id"], *known.get("aliases", [])])
        mended = ", ".join(known.get("fix_versions", [])) or "no version yet"
        sys.stdout.write(f"{package['name']} {package['version']}: {names}; mended in {mended}\n")
    skipped = [package for package in packages if "skip_reason" in package]
    if skipped:
        what = f"{len(skipped)} of {len(packages)} packages could not be looked up"
        status = _unanswered(what, f"{skipped[0]['name']}: {skipped[0]['skip_reason']}")
    else:
        status = 0 if packages else _unanswered("no package was looked up", f"is {_LOCK} empty?")
        if not found and packages:
            sys.stdout.write(f"{len(packages)} packages: nothing is known against them\n")
    return 1 if found else status


def _unanswered(what: str, reason: str) -> int:
    sys.stderr.write(
        f'{what} ({reason}); try again where that is reachable, or ask another source: make audit-deps ARGS="-s osv"\n'
    )
    return 2


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python images/audit_packages.py pip-audit [OPTION…]")
    sys.exit(main(sys.argv[1:]))
