"""The cluster's API server: nodes, pods, Services and their endpoints, as a cluster would make them of the manifest.

A pod whose manifest asks for a token gets one, and the address in its environment, as from a kubelet. Who may read what
is not looked at here: tests/deploy/k8s/test_k8s_discovery.py has a real API server for that.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any, Final, Self

from tests.support.apiserver import ApiServer, node, pod
from tests.support.dry.namespaces import socket_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.dry.cluster import Cluster
    from tests.support.dry.pod import Pod

PORT: Final = 6443
#: Where pods find the token; a symbolic link leads there from /var/run.
TOKEN_FOLDER: Final = "/run/secrets/kubernetes.io/serviceaccount"
_TEMPLATE: Final = "5d9c7b"


class Control:
    """Serves on the first node's address, in a thread of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self.folder = cluster.folder / "api-server"
        self.folder.mkdir()
        self.host = cluster.node_address(0)
        listener = socket_in(cluster.node, socket.SOCK_STREAM)
        listener.bind((self.host, PORT))
        self._server = ApiServer(self.folder, token=secrets.token_hex(16), listener=listener)
        for number in {each.node for each in cluster.pods.values()}:
            self._server.put("nodes", node(f"node-{number}", cluster.node_address(number)))
        for each in cluster.pods.values():
            self._server.put("pods", _pod(each))
        for service in cluster.objects:
            if service["kind"] == "Service":
                # None has an address of its own: the DNS here gives the pods' addresses for every Service.
                self._server.put("services", {**service, "spec": {**service["spec"], "clusterIP": "None"}})
                self._server.put("endpointslices", _endpoints(service, cluster.behind(service)))
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="api-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10), "the API server does not start"
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    @property
    def environment(self) -> dict[str, str]:
        """What every pod has in its environment."""
        return {"KUBERNETES_SERVICE_HOST": self.host, "KUBERNETES_SERVICE_PORT": str(PORT)}

    def asked(self) -> set[str]:
        """Return the paths that were asked for."""
        return {path for path, _query in self._server.requests}

    def write_token(self, folder: Path, namespace: str) -> None:
        """Write what a pod finds in ``TOKEN_FOLDER``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("ca.crt", "token"):
            (folder / name).write_bytes((self.folder / name).read_bytes().strip())
        (folder / "namespace").write_text(namespace)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with self._server:
            self._up.set()
            await self._over.wait()


def _pod(pod_of: Pod) -> dict[str, Any]:
    """Return a running pod of a manifest's workload."""
    workload = pod_of.workload
    owner, labels = (workload.kind, workload.name), dict(workload.labels)
    if workload.kind == "Deployment":
        owner, labels["pod-template-hash"] = ("ReplicaSet", f"{workload.name}-{_TEMPLATE}"), _TEMPLATE
    spec = {"hostNetwork": pod_of.on_host, "containers": workload.pod["containers"]}
    return pod(
        pod_of.name,
        pod_of.address,
        node=f"node-{pod_of.node}",
        owner=owner,
        labels=labels,
        namespace=workload.namespace,
        spec=spec,
    )


def _endpoints(service: dict[str, Any], pods: list[Pod]) -> dict[str, Any]:
    """Return the EndpointSlice of a Service, all of whose pods are ready."""
    meta = service["metadata"]
    numbers = {
        port["name"]: port["containerPort"]
        for each in pods
        for container in each.workload.containers
        for port in container.get("ports", [])
    }
    return {
        "metadata": {
            "name": f"{meta['name']}-x7k2p",
            "namespace": meta["namespace"],
            "labels": {"kubernetes.io/service-name": meta["name"]},
        },
        "addressType": "IPv4",
        "ports": [
            {
                "name": port["name"],
                "port": numbers.get(port["targetPort"], port["targetPort"]),
                "protocol": "TCP",
            }
            for port in service["spec"]["ports"]
        ],
        "endpoints": [
            {
                "addresses": [each.address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{each.node}",
                "targetRef": {"kind": "Pod", "name": each.name, "namespace": meta["namespace"]},
            }
            for each in pods
        ],
    }
