"""The exporter's watch at a real API server, with the rights of its own service account and nothing else."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml

from services.exporter.kubernetes import access, watch
from services.exporter.kubernetes.book import Book
from services.exporter.kubernetes.watch import Watch
from streamgauge.lifecycle import cancel, spawn
from tests.support.controlplane import ROOT, ControlPlane
from tests.support.waiting import eventually, eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

# Building the control plane the first time takes five minutes.
pytestmark = pytest.mark.timeout(1800)

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "example.org/web"}]},
        },
    },
}
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]},
}


class Cluster:
    """A book that is told by watches."""

    def __init__(self) -> None:
        self.book = Book()
        self.clock = 2_000_000_000 * 10**9
        self.told: list[Any] = []

    def listed(self, resource, objects):
        self.told += self.book.replace(resource, objects, self.clock)

    def changed(self, resource, uid, bindings):
        self.told += (
            self.book.remove(resource, uid, self.clock)
            if bindings is None
            else self.book.put(resource, uid, bindings, self.clock)
        )

    def owner(self, ip: str) -> tuple[str, str, str] | None:
        """Return namespace, workload and kind of whoever has an address now."""
        found = [each for each in self.book.living() if each.ip == ip]
        return (found[0].namespace, found[0].workload, found[0].workload_kind) if found else None


@pytest.fixture(name="plane", scope="module")
def _plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        for namespace in ("shop", "streamgauge"):
            plane.kubectl("create", "namespace", namespace)
        manifests = plane.kubectl("kustomize", str(ROOT / "k8s" / "base" / "exporter")).stdout
        rights = [
            each for each in yaml.safe_load_all(manifests) if each["kind"].startswith(("ClusterRole", "ServiceA"))
        ]
        assert len(rights) == 3
        plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(rights))
        yield plane


def as_exporter(plane: ControlPlane) -> access.Access:
    """Return access with a token of the exporter's service account."""
    token = plane.kubectl("create", "token", "exporter", "--namespace", "streamgauge").stdout.strip()
    found = access.from_kubeconfig(plane.folder / "kubeconfig")
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_NONE
    return access.Access(found.server, found.tls, lambda: token)


def run_pod(plane: ControlPlane, ip: str) -> str:
    """Do what a scheduler and a kubelet do for the Deployment's pod; return its name."""

    def waiting() -> list[str]:
        pods = plane.get("pods", "--namespace", "shop")
        return [each["metadata"]["name"] for each in pods if not each["spec"].get("nodeName")]

    (name,) = eventually_sync(waiting, within=60)
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": "shop"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
    }
    path = f"/api/v1/namespaces/shop/pods/{name}/binding"
    plane.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))
    status = {"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": "2026-11-25T10:00:00Z"}}
    plane.kubectl("patch", "pod", name, "-n", "shop", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    return name


async def test_a_real_api_server_is_followed(plane, monkeypatch):
    """Lists in pages, changes, a watch that is away for a while; a pod that goes and another that gets its address."""
    monkeypatch.setattr(watch, "PAGE", 1)
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.05)
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([DEPLOYMENT, SERVICE]))
    for name, ip in (("node-1", "192.168.7.1"), ("node-2", "192.168.7.2")):
        plane.add_node(name)
        status = {
            "status": {"addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]}
        }
        plane.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
    first = run_pod(plane, "10.42.0.7")
    found, cluster = as_exporter(plane), Cluster()
    tasks = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=found.tls)) as session:
        watches = [Watch(resource, found, session, cluster) for resource in ("pods", "services", "nodes")]
        tasks = [spawn(each.run(), name=each.resource) for each in watches]
        await eventually(lambda: all(each.connected for each in watches), within=30)
        assert cluster.owner("10.42.0.7") == ("shop", "web", "Deployment")
        assert cluster.owner("10.96.7.7") == ("shop", "web", "Service")
        assert cluster.owner("192.168.7.2") == ("", "node-2", "Node")
        assert {each.node for each in cluster.book.living() if each.object == "pod"} == {"node-1"}

        cluster.clock += 10**9
        plane.kubectl("delete", "pod", first, "-n", "shop", "--force", "--grace-period=0")
        second = run_pod(plane, "10.42.0.7")
        await eventually(lambda: second in {each.name for each in cluster.book.living()}, within=30)
        told = {each.name: each.valid_to for each in cluster.told if each.ip == "10.42.0.7"}
        assert told == {first: cluster.clock, second: None}

        # A watch that was away goes on behind what it saw: nothing is listed again, and nothing missed.
        pods = watches[0]
        await cancel(tasks[0])
        plane.kubectl("delete", "pod", second, "-n", "shop", "--force", "--grace-period=0")
        tasks[0] = spawn(pods.run(), name="pods again")
        await eventually(lambda: cluster.owner("10.42.0.7") is None, within=30)
        assert pods.lists == 1
        for task in tasks:
            await cancel(task)


def test_the_exporter_may_do_nothing_else(plane):
    """List and watch pods, services and nodes; no secret, no configuration, nothing that changes anything."""
    exporter = "--as=system:serviceaccount:streamgauge:exporter"

    def may(verb: str, resource: str) -> bool:
        return plane.kubectl("auth", "can-i", verb, resource, "-A", exporter, check=False).stdout.strip() == "yes"

    assert [may(verb, resource) for resource in ("pods", "services", "nodes") for verb in ("list", "watch")] == [
        True
    ] * 6
    refused = [
        ("list", "secrets"),
        ("list", "configmaps"),
        ("delete", "pods"),
        ("create", "pods/exec"),
        ("update", "nodes"),
    ]
    assert [may(*each) for each in refused] == [False] * len(refused)
