"""What `kubectl kustomize` makes of k8s/, for the tests: rendered once, read as plain objects.

Secrets are not in git, so the tree is copied and given a `secrets/` of its own by the tool that operators use.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support import require

ROOT: Final = Path(__file__).parents[2]
#: Folders that k8s/ refers to.
_FOLDERS: Final = ("k8s", "nginx", "prometheus", "grafana", "nats", "minio")

OVERLAYS: Final = sorted(path.name for path in (ROOT / "k8s" / "overlays").iterdir())
COMPONENTS: Final = sorted(path.name for path in (ROOT / "k8s" / "components").iterdir())
#: Every way to build that is tested: the base, the base with each component, each overlay.
VARIANTS: Final = ("base", *(f"base+{name}" for name in COMPONENTS), *OVERLAYS)

Manifest = dict[str, Any]


@functools.cache
def tree() -> Path:
    """Return a copy of everything that renders, with secrets made for it; it lives as long as the test session."""
    folder = Path(tempfile.mkdtemp(prefix="sg-k8s-"))
    for name in _FOLDERS:
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, folder / name)
    subprocess.run(
        [sys.executable, "-m", "streamgauge.secrets", "--folder", str(folder / "secrets")],
        cwd=ROOT,
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    return folder


@functools.cache
def text(variant: str) -> str:
    """Return the YAML of a variant: ``base``, ``base+<component>`` or an overlay."""
    kubectl = require.program("kubectl")
    run = subprocess.run(
        [kubectl, "kustomize", str(_folder(variant))], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, f"{variant} does not build: {run.stderr}"
    return run.stdout


@functools.cache
def objects(variant: str) -> tuple[Manifest, ...]:
    """Return the objects of a variant."""
    return tuple(manifest for manifest in yaml.safe_load_all(text(variant)) if manifest)


def _folder(variant: str) -> Path:
    base, _, component = variant.partition("+")
    if not component:
        return tree() / "k8s" / (base if base == "base" else f"overlays/{base}")
    folder = tree() / "k8s" / "tested" / component
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources: [../../base, ../../../secrets]\ncomponents: [../../components/{component}]\n"
    )
    return folder


@dataclass(frozen=True)
class Workload:
    """Something that makes pods."""

    kind: str
    namespace: str
    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    pod: Manifest
    spec: Manifest

    @property
    def containers(self) -> list[Manifest]:
        """All containers, those that run first included."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    def container(self, name: str) -> Manifest:
        """Return a container by name."""
        return next(container for container in self.containers if container["name"] == name)


_KINDS: Final = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}


def workloads(variant: str) -> list[Workload]:
    """Return everything in a variant that makes pods."""
    found = []
    for manifest in objects(variant):
        if manifest["kind"] in _KINDS:
            spec = manifest["spec"]
            template = spec["jobTemplate"]["spec"]["template"] if manifest["kind"] == "CronJob" else spec["template"]
            meta = template["metadata"]
            found.append(
                Workload(
                    manifest["kind"],
                    manifest["metadata"]["namespace"],
                    manifest["metadata"]["name"],
                    meta.get("labels", {}),
                    meta.get("annotations", {}),
                    template["spec"],
                    spec,
                )
            )
    return found


def of_kind(variant: str, *kinds: str) -> list[Manifest]:
    """Return the objects of some kinds."""
    return [manifest for manifest in objects(variant) if manifest["kind"] in kinds]
