"""What a kubelet puts into a pod: volumes as folders, environment as text."""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Manifest = dict[str, Any]


class Configuration:
    """The ConfigMaps and Secrets of a manifest, by namespace and name."""

    def __init__(self, objects: Iterable[Manifest]) -> None:
        self._data: dict[tuple[str, str, str], dict[str, bytes]] = {}
        for manifest in objects:
            if manifest["kind"] in ("ConfigMap", "Secret"):
                meta, data = manifest["metadata"], manifest.get("data") or {}
                decode = base64.b64decode if manifest["kind"] == "Secret" else str.encode
                self._data[manifest["kind"], meta["namespace"], meta["name"]] = {
                    key: decode(value) for key, value in data.items()
                }

    def get(self, kind: str, namespace: str, name: str) -> dict[str, bytes]:
        """Return the keys of one; it must be there, as a kubelet waits for it."""
        assert (kind, namespace, name) in self._data, f"{kind} {namespace}/{name} does not exist"
        return self._data[kind, namespace, name]

    def environment(self, container: Manifest, namespace: str, fields: Mapping[str, str]) -> dict[str, str]:
        """Return a container's variables. ``fields`` are those of the pod: spec.nodeName, status.hostIP, …"""
        values: dict[str, str] = {}
        for source in container.get("envFrom", []):
            data = self.get("ConfigMap", namespace, source["configMapRef"]["name"])
            values |= {key: value.decode() for key, value in data.items()}
        for entry in container.get("env", []):
            source = entry.get("valueFrom", {})
            if "fieldRef" in source:
                values[entry["name"]] = fields[source["fieldRef"]["fieldPath"]]
            elif "configMapKeyRef" in source:
                reference = source["configMapKeyRef"]
                values[entry["name"]] = self.get("ConfigMap", namespace, reference["name"])[reference["key"]].decode()
            else:
                values[entry["name"]] = expand(entry.get("value", ""), values)
        return values

    def fill(self, volume: Manifest, namespace: str, folder: Path, group: int) -> None:
        """Write a configMap, secret or projected volume."""
        folder.mkdir(parents=True, exist_ok=True)
        if "projected" in volume:
            mode = volume["projected"].get("defaultMode", 0o644)
            for source in volume["projected"]["sources"]:
                self._fill_one(source, namespace, folder, mode, group, name_key="name")
        else:
            content = volume.get("configMap") or volume["secret"]
            self._fill_one(volume, namespace, folder, content.get("defaultMode", 0o644), group, name_key="secretName")

    def _fill_one(
        self, source: Manifest, namespace: str, folder: Path, mode: int, group: int, *, name_key: str
    ) -> None:
        kind, content = ("ConfigMap", source["configMap"]) if "configMap" in source else ("Secret", source["secret"])
        data = self.get(kind, namespace, content.get("name") or content[name_key])
        items = content.get("items") or [{"key": key, "path": key} for key in data]
        for item in items:
            path = folder / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data[item["key"]])
            path.chmod(mode | (0o040 if group and kind == "Secret" else 0))
            os.chown(path, 0, group)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Put variables in the place of $(NAME), as a kubelet does; an unknown name stays."""
    return re.sub(r"\$\((\w+)\)", lambda match: values.get(match[1], match[0]), text)


def empty(folder: Path, group: int) -> None:
    """Make a writable folder of a pod; it may be there from before (a claim, the node's own)."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 0, group)
        folder.chmod(0o2777 if group else 0o755)
