"""What a program reads is there, where it reads it; and it is the same in compose."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from streamgauge import settings
from tests.support import rendering, require
from tests.support.dry.volumes import Configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Made by others than us: cert-manager, and an identity provider's secret that the operator fetches.
FROM_ELSEWHERE = {("Secret", "nginx-certificate")}
#: The base alone has no secrets: those come with an overlay.
COMPLETE = rendering.VARIANTS[1:]

EACH = pytest.mark.parametrize(
    ("variant", "workload"),
    [
        pytest.param(variant, workload, id=f"{variant}-{workload.name}")
        for variant in COMPLETE
        for workload in rendering.workloads(variant)
    ],
)
#: Which sections a program reads, by container name.
SECTIONS = {**settings.PROGRAMS, "bootstrap": ("nats", "s3"), "drill": ("nats", "s3")}


@EACH
def test_everything_a_pod_refers_to_exists(variant: str, workload: rendering.Workload) -> None:
    existing = {
        (manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        for manifest in rendering.of_kind(variant, "ConfigMap", "Secret")
    }

    missing = [
        (kind, name)
        for kind, name in _references(workload)
        if (kind, workload.namespace, name) not in existing and (kind, name) not in FROM_ELSEWHERE
    ]

    assert missing == []


@EACH
def test_every_mount_has_a_volume_and_every_volume_a_mount(variant: str, workload: rendering.Workload) -> None:
    volumes = {volume["name"] for volume in workload.pod.get("volumes", [])}
    volumes |= {claim["metadata"]["name"] for claim in workload.spec.get("volumeClaimTemplates", [])}
    mounts = {mount["name"] for container in workload.containers for mount in container.get("volumeMounts", [])}

    assert mounts == volumes


@pytest.mark.parametrize("variant", COMPLETE)
def test_every_configuration_is_used(variant: str) -> None:
    used = {
        (kind, workload.namespace, name)
        for workload in rendering.workloads(variant)
        for kind, name in _references(workload)
    }
    made = {
        (manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        for manifest in rendering.of_kind(variant, "ConfigMap")
    }
    # With no server of ours there is nothing to set up.
    unused = {name for _kind, _namespace, name in made - used if not name.startswith("minio-")}

    assert unused == set()


@EACH
def test_a_file_that_is_named_is_mounted(variant: str, workload: rendering.Workload, tmp_path: Path) -> None:
    """Each path below a mounted ConfigMap or Secret, in arguments or variables, is one of its keys."""
    configuration = Configuration(rendering.objects(variant))
    for container in workload.containers:
        files = _mounted_files(configuration, workload, container, tmp_path / container["name"])
        roots = {mount["mountPath"] for mount in container.get("volumeMounts", []) if mount.get("readOnly")}
        named = {
            path
            for word in _words(configuration, workload, container)
            for path in re.findall(r"(?<![\w$)])/[\w./-]+", word)
            if any(path.startswith(f"{root}/") for root in roots)
        }
        folders = {str(parent) for file in files for parent in Path(file).parents}

        unknown = named - files - folders - {"/run/secrets/oauth2-proxy/client-secret"}
        assert unknown == set(), container["name"]


@EACH
def test_our_programs_accept_their_settings(variant: str, workload: rendering.Workload, tmp_path: Path) -> None:
    configuration = Configuration(rendering.objects(variant))
    for container in workload.containers:
        if container["name"] not in SECTIONS:
            continue
        fields = {"metadata.name": f"{workload.name}-0", "spec.nodeName": "node-1", "status.hostIP": "172.18.0.2"}
        environment = configuration.environment(container, workload.namespace, fields)
        _mounted_files(configuration, workload, container, tmp_path)
        here = {
            name: str(tmp_path / value.lstrip("/")) if name.endswith("_FILE") else value
            for name, value in environment.items()
        }

        loaded = settings.load(SECTIONS[container["name"]], here)

        nats = loaded.section(settings.NatsSettings)
        assert nats.url.startswith("tls://")
        assert nats.user
        assert nats.password


_KEEPS = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base, ../../../secrets]
components: [../../components/external-s3]
configMapGenerator:
  - {name: s3-client, namespace: streamgauge, behavior: merge, options: {immutable: true},
     literals: [STREAMGAUGE_BACKUP_RETENTION_DAYS=90]}
"""


def test_retention_holds_with_a_storage_of_one_s_own() -> None:
    """As docs/13-kubernetes.md has it; components come behind an overlay's generators, and must not overrule them."""
    folder = rendering.tree() / "k8s" / "tested" / "external-s3-retention"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(_KEEPS)
    command = [require.program("kubectl"), "kustomize", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    (made,) = (
        manifest["data"]
        for manifest in yaml.safe_load_all(run.stdout)
        if manifest and manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].startswith("s3-client-")
    )

    assert made["STREAMGAUGE_BACKUP_RETENTION_DAYS"] == "90"
    assert made["STREAMGAUGE_S3_ENDPOINT"] == "s3.us-east-1.amazonaws.com"
    # Not signed by our authority.
    assert "STREAMGAUGE_S3_CA" not in made


def test_images_are_composes() -> None:
    """One set of digests, in two files."""
    lines = (rendering.ROOT / ".env").read_text().splitlines()
    compose = {line.partition("=")[2] for line in lines if line.startswith("IMAGE_")}
    cluster = {
        container["image"]
        for variant in ("base", "base+oidc")
        for workload in rendering.workloads(variant)
        for container in workload.containers
    }

    assert cluster == compose


def _references(workload: rendering.Workload) -> Iterator[tuple[str, str]]:
    for container in workload.containers:
        for source in container.get("envFrom", []):
            yield "ConfigMap", source["configMapRef"]["name"]
        for entry in container.get("env", []):
            if "configMapKeyRef" in entry.get("valueFrom", {}):
                yield "ConfigMap", entry["valueFrom"]["configMapKeyRef"]["name"]
    for volume in workload.pod.get("volumes", []):
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"]
            if "secret" in source:
                yield "Secret", source["secret"].get("secretName") or source["secret"]["name"]


def _mounted_files(
    configuration: Configuration, workload: rendering.Workload, container: rendering.Manifest, folder: Path
) -> set[str]:
    """Lay the ConfigMaps and Secrets of a container out below a folder; return their paths in the container."""
    files = set()
    volumes = {volume["name"]: volume for volume in workload.pod.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        volume = volumes.get(mount["name"], {})
        if "configMap" in volume or "secret" in volume:
            target = folder / mount["mountPath"].lstrip("/")
            configuration.fill(volume, workload.namespace, target, 0)
            files |= {f"/{path.relative_to(folder)}" for path in target.rglob("*") if path.is_file()}
    return files


def _words(configuration: Configuration, workload: rendering.Workload, container: rendering.Manifest) -> list[str]:
    fields = dict.fromkeys(("metadata.name", "spec.nodeName", "status.hostIP"), "x")
    values = configuration.environment(container, workload.namespace, fields).values()
    return [*container.get("command", []), *container.get("args", []), *values]
