"""What every pod must and must not have; an exception is named here with its reason."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support import rendering

#: Containers that run as root or add a capability, and why.
ROOT = {"collector": "the kernel gives an added capability to uid 0 only (no ambient capabilities in Kubernetes)"}
CAPABILITIES = {"collector": ["NET_RAW"]}
#: Pods that end by themselves answer no probe.
ENDING = {"Job", "CronJob"}
#: Images that we build: they get a digest when a release pushes them.
OWN_IMAGE = re.compile(r"^streamgauge/[a-z]+:\d+\.\d+\.\d+$")
PINNED_IMAGE = re.compile(r"^[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}$")
#: Seconds between the order to stop and the end, and what has to fit in: docs/13-kubernetes.md.
GRACE = {"collector": 45, "backup": 120, "exporter": 30, "nats": 60}

EACH = pytest.mark.parametrize(
    ("variant", "workload"),
    [
        pytest.param(variant, workload, id=f"{variant}-{workload.name}")
        for variant in (
            "base",
            "base+oidc",
            "base+cert-manager",
            "base+kubernetes-dashboard-archived",
            *rendering.OVERLAYS,
        )
        for workload in rendering.workloads(variant)
    ],
)


@EACH
def test_a_container_is_locked_down(variant: str, workload: rendering.Workload) -> None:
    pod = workload.pod["securityContext"]

    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in workload.containers:
        own = container["securityContext"]
        user = own.get("runAsUser", pod.get("runAsUser"))
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"]["drop"] == ["ALL"]
        assert own["capabilities"].get("add", []) == CAPABILITIES.get(container["name"], [])
        assert not own.get("privileged")
        if container["name"] in ROOT:
            assert user == 0, "the exception is no longer needed: remove it"
        else:
            assert pod["runAsNonRoot"] is True
            assert user > 0


@EACH
def test_a_container_has_requests_limits_and_probes(variant: str, workload: rendering.Workload) -> None:
    for container in workload.containers:
        resources = container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert set(resources["limits"]) == {"cpu", "memory"}
        assert _bytes(resources["requests"]["memory"]) <= _bytes(resources["limits"]["memory"])
        if workload.kind not in ENDING:
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
            names = {port["name"] for port in container["ports"]}
            assert all(container[probe]["httpGet"]["port"] in names for probe in container if probe.endswith("Probe"))


@EACH
def test_a_pod_shares_nothing_with_its_node_but_what_is_named(variant: str, workload: rendering.Workload) -> None:
    pod = workload.pod
    host_paths = {volume["hostPath"]["path"] for volume in pod.get("volumes", []) if "hostPath" in volume}

    assert not pod.get("hostPID")
    assert not pod.get("hostIPC")
    assert bool(pod.get("hostNetwork")) == (workload.name == "collector")
    assert all(path.startswith("/var/lib/streamgauge/") for path in host_paths)
    assert not host_paths or workload.name == "collector"
    # Variables of other Services would end up among a program's settings.
    assert pod["enableServiceLinks"] is False
    assert "automountServiceAccountToken" in pod


@EACH
def test_an_image_is_pinned(variant: str, workload: rendering.Workload) -> None:
    for container in workload.containers:
        assert PINNED_IMAGE.match(container["image"]) or OWN_IMAGE.match(container["image"]), container["image"]


@EACH
def test_an_empty_directory_has_a_bound(variant: str, workload: rendering.Workload) -> None:
    for volume in workload.pod.get("volumes", []):
        assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"], volume["name"]


@pytest.mark.parametrize("variant", rendering.OVERLAYS)
def test_a_pod_has_time_for_its_last_flush(variant: str) -> None:
    grace = {work.name: work.pod.get("terminationGracePeriodSeconds", 30) for work in rendering.workloads(variant)}

    assert all(grace[name] >= least for name, least in GRACE.items())


@pytest.mark.parametrize("variant", rendering.VARIANTS)
def test_replicas_know_how_many_they_are(variant: str) -> None:
    for name in ("backup", "exporter"):
        workload = next(work for work in rendering.workloads(variant) if work.name == name)
        variables = {entry["name"]: entry.get("value") for entry in workload.container(name)["env"]}

        assert variables[f"STREAMGAUGE_{name.upper()}_REPLICAS"] == str(workload.spec["replicas"])


@pytest.mark.parametrize("variant", rendering.VARIANTS)
def test_roles_change_nothing_and_see_no_secret(variant: str) -> None:
    for role in rendering.of_kind(variant, "ClusterRole", "Role"):
        for rule in role["rules"]:
            named = set(rule.get("resourceNames", []))
            if named and named <= {"kubernetes-dashboard-csrf", "kubernetes-dashboard-key-holder"}:
                continue  # what the archived dashboard keeps for itself
            assert set(rule["verbs"]) <= {"get", "list", "watch"}, role["metadata"]["name"]
            assert not {"*", "secrets", "configmaps"} & set(rule["resources"]), role["metadata"]["name"]


@pytest.mark.parametrize("variant", rendering.VARIANTS)
def test_configuration_cannot_change_under_a_pod(variant: str) -> None:
    for config in rendering.of_kind(variant, "ConfigMap"):
        assert config.get("immutable") is True, config["metadata"]["name"]
        assert re.search(r"-[a-z0-9]{10}$", config["metadata"]["name"]), "not a hashed name"


def test_nothing_secret_is_in_git() -> None:
    for path in (rendering.ROOT / "k8s").rglob("*.yaml"):
        text = path.read_text()
        assert "secretGenerator" not in text, path
        assert not re.search(r"^(data|stringData):\n  \S+: [^\s\"]", text, re.MULTILINE), path


def _bytes(quantity: str) -> int:
    units: dict[str, Any] = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(quantity[:-2]) * units[quantity[-2:]]
