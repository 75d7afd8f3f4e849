"""The shipped Prometheus configuration at a real API server, with the rights of Prometheus' own service account."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from streamgauge.embedded import free_ports
from tests.support import prometheus_build, rendering
from tests.support.controlplane import ControlPlane
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Building the control plane and Prometheus the first time takes minutes.
pytestmark = pytest.mark.timeout(1800)

#: Pods that are to be found, by the name of the workload.
COUNTS = {"collector": 2, "backup": 3, "exporter": 2, "nginx": 2}
PORTS = {"collector": 9101, "backup": 9102, "exporter": 9103, "nginx": 8081}
PARTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "Service", "PriorityClass")


@pytest.fixture(name="plane", scope="module")
def _plane() -> Iterator[ControlPlane]:
    prometheus_build.program("prometheus")
    manifests = rendering.of_kind("production", *PARTS)
    workloads = rendering.of_kind("production", "DaemonSet", "StatefulSet", "Deployment")
    with ControlPlane() as plane:
        plane.add_node("node-1")
        plane.add_node("node-2")
        for some in (manifests, workloads):
            plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(some))
        yield plane


def _pods(plane: ControlPlane) -> list[dict[str, Any]]:
    """Wait for the pods that are to be found, and return them."""

    def made() -> list[dict[str, Any]]:
        pods = [pod for pod in plane.get("pods", "-A") if _workload(pod) in COUNTS]
        names = [_workload(pod) for pod in pods]
        assert {name: names.count(name) for name in COUNTS} == COUNTS
        return pods

    return eventually_sync(made, within=60)


def _workload(pod: dict[str, Any]) -> str:
    name: str = pod["metadata"]["labels"]["app.kubernetes.io/name"]
    return name


def _run(plane: ControlPlane, pod: dict[str, Any], address: str) -> str:
    """Do what a scheduler and a kubelet do; return the node."""
    meta = pod["metadata"]
    name, namespace = meta["name"], meta["namespace"]
    node = "node-1"
    if _workload(pod) == "collector":
        affinity = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        node = affinity["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
    plane.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))
    # Not ready, which is when its metrics are wanted most.
    status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
    plane.kubectl(
        *("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(status))
    )
    return node


@contextlib.contextmanager
def _prometheus(plane: ControlPlane, folder: Path) -> Iterator[str]:
    """Run Prometheus with the shipped configuration; only where the API server is, is added. Yields its URL."""
    token = folder / "token"
    token.write_text(plane.kubectl("create", "token", "prometheus", "-n", "streamgauge").stdout.strip())
    configuration = yaml.safe_load((rendering.ROOT / "prometheus" / "kubernetes.yml").read_text())
    del configuration["rule_files"], configuration["alerting"]
    server = yaml.safe_load((plane.folder / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
    for job in configuration["scrape_configs"]:
        for discovery in job.get("kubernetes_sd_configs", ()):
            discovery |= {
                "api_server": server,
                "authorization": {"credentials_file": str(token)},
                "tls_config": {"insecure_skip_verify": True},
            }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    (port,) = free_ports(1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(prometheus_build.program("prometheus"), f"--config.file={path}"),
                *(f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _targets(url: str) -> dict[str, dict[str, str]]:
    """Return the labels of each target by its URL, without those of the static job."""
    with urllib.request.urlopen(f"{url}/api/v1/targets?state=active", timeout=5) as answer:
        found = json.load(answer)["data"]["activeTargets"]
    by_url = {each["scrapeUrl"]: each["labels"] for each in found if each["labels"]["job"] != "prometheus"}
    assert len(by_url) == len([each for each in found if each["labels"]["job"] != "prometheus"]), "one twice"
    return by_url


def test_every_pod_is_found_once_under_its_name_and_leaves_when_it_is_gone(plane: ControlPlane, tmp_path: Path) -> None:
    """As in docs/13-kubernetes.md: a pod by its name, a collector by its node."""
    expected = {}
    for number, pod in enumerate(_pods(plane), start=10):
        # A collector has its node's address.
        address = f"{'192.0.2' if _workload(pod) == 'collector' else '10.244.1'}.{number}"
        node, name = _run(plane, pod, address), _workload(pod)
        own = {"instance": node, "node": node} if name == "collector" else {"instance": pod["metadata"]["name"]}
        expected[f"http://{address}:{PORTS[name]}/metrics"] = {"job": name, "cluster": "kubernetes", **own}

    with _prometheus(plane, tmp_path) as url:

        def found() -> bool:
            try:
                targets = _targets(url)
            except urllib.error.URLError:
                return False
            assert targets == expected
            return True

        eventually_sync(found, within=60)

        plane.kubectl("delete", "pod", "backup-2", "-n", "streamgauge", "--force", "--grace-period=0")
        expected = {where: labels for where, labels in expected.items() if labels["instance"] != "backup-2"}
        eventually_sync(found, within=60)
        log = (tmp_path / "log").read_text()
        assert "forbidden" not in log
