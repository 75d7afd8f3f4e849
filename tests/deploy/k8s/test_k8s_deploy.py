"""`make deploy` refuses an overlay that would lock the collectors out."""

from __future__ import annotations

import os
import shutil
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


_KUBECTL = """#!/bin/sh
case "$*" in
    kustomize*) cat "$MANIFESTS" ;;
    *InternalIP*) echo "$NODES" ;;
    *podCIDR*) printf '%s' "$TUNNELS" ;;
    "get statefulset"*) printf '%s' "$SERVERS" ;;
    apply*) echo applied ;;
esac
"""


def deploy(
    folder: Path, overlay: str, *, manifests: str | None = None, **answers: str
) -> subprocess.CompletedProcess[str]:
    """Run the script with a kubectl that gives these answers, and ``manifests`` instead of the overlay's."""
    (folder / "kubectl").write_text(_KUBECTL)
    (folder / "kubectl").chmod(0o755)
    (folder / "manifests.yaml").write_text(rendering.text(overlay) if manifests is None else manifests)
    copy = folder / "copy"
    shutil.copytree(rendering.ROOT / "k8s", copy / "k8s")
    (copy / "secrets").mkdir()
    (copy / "secrets" / "kustomization.yaml").touch()
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "MANIFESTS": str(folder / "manifests.yaml")}
    return subprocess.run(
        ["sh", str(copy / "k8s" / "deploy.sh"), overlay],
        env={**environment, "NODES": "", "TUNNELS": "", "SERVERS": "", **answers},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("nodes", "tunnels", "warned"),
    [
        ("172.18.0.2 172.18.0.3", "10.233.103.0\n\n=\n10.233.70.1\n\n=\n", ["10.233.103.0", "10.233.70.1"]),
        ("172.18.0.2 172.18.0.3", "\n10.244.7.1\n=\n", ["10.244.7.1"]),
        ("172.18.0.2 172.18.0.3", "\n\nvxlan=10.42.0.0/24\n\n\nvxlan=10.42.1.0/24\n", ["10.42.0.0", "10.42.1.0"]),
        ("172.18.0.2 172.18.0.3", "\n\nhost-gw=10.42.0.0/24\n", []),
        ("172.18.0.2 172.18.0.3", "\n\n=10.244.0.0/24\n", []),
        # One node: NATS is on it, and no tunnel on the way.
        ("172.18.0.2", "\n\nvxlan=10.42.0.0/24\n", []),
    ],
)
def test_ends_of_tunnels_outside_the_policies_are_pointed_out(
    nodes: str, tunnels: str, warned: list[str], tmp_path: Path
) -> None:
    run = deploy(tmp_path, "dev", NODES=nodes, TUNNELS=tunnels)

    assert run.returncode == 0, run.stderr
    assert all(address in run.stderr for address in warned)
    assert ("ends of the network's tunnels" in run.stderr) == bool(warned)


@pytest.mark.parametrize(
    ("overlay", "servers", "refused"),
    [
        ("production", "servers=1", True),
        ("dev", "servers=3", True),
        ("production", "servers=3", False),
        ("production", "servers=5", False),
        ("dev", "servers=1", False),
        # By way of zero, and the first time.
        ("production", "servers=0", False),
        ("production", "", False),
    ],
)
def test_one_server_does_not_become_three_with_a_stream_on_it(
    overlay: str, servers: str, refused: bool, tmp_path: Path
) -> None:
    """NATS would delete what is not stored yet."""
    run = deploy(tmp_path, overlay, SERVERS=servers)

    assert (run.returncode, "docs/14-upgrade.md" in run.stderr) == ((1, True) if refused else (0, False)), run.stderr
    assert ("applied" in run.stdout) != refused


def test_deploying_without_secrets_says_what_to_do(tmp_path: Path) -> None:
    require.program("kubectl")
    (tmp_path / "k8s" / "overlays" / "dev").mkdir(parents=True)
    (tmp_path / "k8s" / "overlays" / "dev" / "kustomization.yaml").write_text("resources: [../../../secrets]\n")
    script = tmp_path / "k8s" / "deploy.sh"
    script.write_text((rendering.ROOT / "k8s" / "deploy.sh").read_text())

    run = subprocess.run(["sh", str(script), "dev"], capture_output=True, text=True, check=False)

    assert run.returncode == 1
    assert run.stderr == "deploy: no secrets yet: run `make secrets`\n"


def test_frames_and_privacy_are_not_deployed_together(tmp_path: Path) -> None:
    """Every collector would refuse to start, one after the other."""
    privacy, frames = rendering.text("base+privacy"), rendering.text("base+frames")
    for manifests, refused in ((privacy, False), (frames, False), (f"{privacy}---\n{frames}", True)):
        folder = tmp_path / str(len(manifests))
        folder.mkdir()
        run = deploy(folder, "dev", manifests=manifests)

        assert run.returncode == (1 if refused else 0), run.stderr
        assert ("components privacy and frames exclude each other" in run.stderr) == refused
        assert ("applied" in run.stdout) != refused
