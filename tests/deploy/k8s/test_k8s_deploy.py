"""`make deploy` refuses an overlay that would lock the collectors out."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import rendering, require

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("overlay", "addresses", "refused"),
    [
        ("dev", ["172.18.0.2", "192.168.49.2"], None),
        ("dev", ["172.18.0.2", "10.1.2.3"], "10.1.2.3"),
        # As shipped it names nobody's network.
        ("production", ["10.1.2.3"], "10.1.2.3"),
    ],
)
def test_nodes_outside_the_policies_are_named(
    overlay: str, addresses: list[str], refused: str | None, tmp_path: Path
) -> None:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(rendering.text(overlay))

    run = subprocess.run(
        [sys.executable, str(rendering.ROOT / "k8s" / "check_nodes.py"), str(manifests), *addresses],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == (1 if refused else 0)
    assert (refused or "") in run.stderr


def test_deploying_without_secrets_says_what_to_do(tmp_path: Path) -> None:
    require.program("kubectl")
    (tmp_path / "k8s" / "overlays" / "dev").mkdir(parents=True)
    (tmp_path / "k8s" / "overlays" / "dev" / "kustomization.yaml").write_text("resources: [../../../secrets]\n")
    script = tmp_path / "k8s" / "deploy.sh"
    script.write_text((rendering.ROOT / "k8s" / "deploy.sh").read_text())

    run = subprocess.run(["sh", str(script), "dev"], capture_output=True, text=True, check=False)

    assert run.returncode == 1
    assert run.stderr == "deploy: no secrets yet: run `make secrets`\n"
