"""The same folder for the cluster: a kustomization that makes one Secret for each reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streamgauge.secrets.vault import Vault

#: The collector runs in a namespace of its own, so its secrets live there.
_NAMESPACES: Final = {"collector": ("streamgauge-capture",), "ca": ("streamgauge", "streamgauge-capture")}
#: For the operator's eyes, not for the cluster.
_NOT_MOUNTED: Final = ("authority",)


def kustomization(vault: Vault) -> str:
    """Return a kustomization.yaml for the files that are there now."""
    lines = [
        "# Made by `make secrets`: one Secret for each reader. An overlay names this folder among its resources.",
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        # A changed secret has another name, so the pods that use it are replaced; the old one is there for a way back.
        "generatorOptions: {immutable: true, labels: {app.kubernetes.io/part-of: streamgauge}}",
        "secretGenerator:",
    ]
    readers = sorted(path for path in vault.root.iterdir() if path.is_dir() and path.name not in _NOT_MOUNTED)
    for reader in readers:
        files = sorted(path.name for path in reader.iterdir() if path.is_file() and not path.name.startswith("."))
        for namespace in _NAMESPACES.get(reader.name, ("streamgauge",)):
            lines += [f"  - name: {reader.name}", f"    namespace: {namespace}", "    files:"]
            lines += [f"      - {reader.name}/{name}" for name in files]
    return "\n".join(lines) + "\n"
