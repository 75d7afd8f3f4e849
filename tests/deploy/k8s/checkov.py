"""Scan every overlay with checkov; each finding must be explained here, and each explanation be needed.

    python -m tests.deploy.k8s.checkov        (`make checkov`)

checkov brings a hundred packages, so it has an environment of its own in ``.stamps/`` and no place in our lock.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Final

from tests.support import rendering

VERSION: Final = "3.3.30"
_ENVIRONMENT: Final = rendering.ROOT / ".stamps" / f"checkov-{VERSION}"

_IMAGE_USER: Final = "the image's files belong to this user"
_RELEASED: Final = "our images get a digest when a release pushes them; until then they are loaded by hand"
_TOKEN: Final = "asks the API server which address is which pod"
_TARGETS: Final = "asks the API server which addresses are behind our Services"
#: (check, workload): why it stays.
EXPLAINED: Final = {
    ("CKV_K8S_19", "collector"): "a pod sees its own packets only; the node's are in the node's network namespace",
    ("CKV_K8S_23", "collector"): "Kubernetes gives an added capability to uid 0 only",
    ("CKV_K8S_40", "collector"): "Kubernetes gives an added capability to uid 0 only",
    ("CKV_K8S_25", "collector"): "a packet socket needs NET_RAW",
    ("CKV_K8S_38", "exporter"): _TOKEN,
    ("CKV_K8S_38", "prometheus"): _TARGETS,
    ("CKV_K8S_38", "dashboard"): "shows what its read-only account may see",
    ("CKV_K8S_40", "grafana"): _IMAGE_USER,
    ("CKV_K8S_40", "dashboard"): _IMAGE_USER,
    **{
        (check, name): _RELEASED
        for check in ("CKV_K8S_15", "CKV_K8S_43")
        for name in ("collector", "backup", "exporter", "bootstrap", "drill")
    },
}


def main() -> int:
    """Scan; print what is unexplained or no longer needed; 0 if nothing is."""
    found: set[tuple[str, str]] = set()
    passed = 0
    for overlay in rendering.OVERLAYS:
        report = _scan(rendering.text(overlay))
        passed += len(report["results"]["passed_checks"])
        for check in report["results"]["failed_checks"]:
            found.add((check["check_id"], check["resource"].rpartition(".")[2]))
    for check, name in sorted(found - set(EXPLAINED)):
        sys.stdout.write(f"unexplained: {check} {name}\n")
    for check, name in sorted(set(EXPLAINED) - found):
        sys.stdout.write(f"explained but not found: {check} {name}\n")
    sys.stdout.write(f"{passed} checks passed, {len(found)} findings, {len(EXPLAINED)} explained\n")
    return int(found != set(EXPLAINED))


def _scan(manifests: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    checkov = _ENVIRONMENT / "bin" / "checkov"
    if not checkov.exists():
        venv.create(_ENVIRONMENT, with_pip=True)
        pip = [str(_ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"checkov=={VERSION}"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifests.yaml"
        path.write_text(manifests)
        run = subprocess.run(
            [str(checkov), "--file", str(path), "--framework", "kubernetes", "--output", "json", "--skip-download"],
            capture_output=True,
            text=True,
            check=False,
        )
    report: dict[str, dict[str, list[dict[str, str]]]] = json.loads(run.stdout)
    return report


if __name__ == "__main__":
    sys.exit(main())
