"""A bridge, a name server, an API server, and every pod of a manifest on it; starts, probes, restarts and stops them.

The first node has the bridge and all pods; the others are addresses on it where nothing runs but what is on each node.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.support.dry import control, namespaces
from tests.support.dry.names import NameServer
from tests.support.dry.pod import DNS_ADDRESS, Pod
from tests.support.dry.volumes import Configuration
from tests.support.reachability import Endpoint, Policies, selector_matches
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from tests.support.rendering import Workload

Manifest = dict[str, Any]

_POD_NETWORK: Final = "10.244.7"


class Cluster:
    """Nodes and the pods of a manifest. ``programs`` gives, by container name, what runs in place of an image."""

    def __init__(
        self,
        objects: Iterable[Manifest],
        workloads: Iterable[Workload],
        folder: Path,
        programs: Mapping[str, Callable[[Pod], list[str]]],
        *,
        nodes: int = 1,
        node_network: str = "172.18.0",
    ) -> None:
        """``node_network``: the first three numbers of the nodes' addresses, in the network that nodes.yaml names."""
        self.folder = folder
        self.objects = list(objects)
        self.configuration = Configuration(self.objects)
        self.policies = Policies(self.objects)
        self.programs = programs
        self.prefix = f"sg{os.getpid()}"
        self.node = f"{self.prefix}-node"
        self.pods: dict[str, Pod] = {}
        number = 10
        self.node_network = node_network
        for workload in workloads:
            count = nodes if workload.kind == "DaemonSet" else workload.spec.get("replicas", 1)
            for ordinal in range(count):
                number += 1
                pod = Pod(self, workload, ordinal, f"{_POD_NETWORK}.{number}")
                self.pods[pod.name] = pod
        self._names: NameServer | None = None
        self.control: control.Control | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="kubelet", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._make_node()
            for pod in self.pods.values():
                pod.make_network()
            for pod in self.pods.values():
                pod.enforce_policies(self._endpoints())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join(10)
        for pod in self.pods.values():
            pod.kill()
        if self._names is not None:
            self._names.__exit__()
        if self.control is not None:
            self.control.__exit__()
        for namespace in {pod.namespace for pod in self.pods.values()} | {self.node}:
            if (Path("/run/netns") / namespace).exists():
                # What a pod's program started and left behind.
                for process in namespaces.run("ip", "netns", "pids", namespace).split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(process), signal.SIGKILL)
                namespaces.run("ip", "netns", "delete", namespace)
        shutil.rmtree(self.folder / "run", ignore_errors=True)

    def start(self, but: Collection[str] = ()) -> None:
        """Start every pod at once, as a cluster does; what ends is started again."""
        for pod in self.pods.values():
            if pod.workload.name not in but:
                pod.start()
        self._keeper.start()

    def of(self, workload: str) -> list[Pod]:
        """Return the pods of a workload."""
        return [pod for pod in self.pods.values() if pod.workload.name == workload]

    def await_ready(self, *names: str, but: Collection[str] = (), within: float = 120.0) -> None:
        """Wait until pods are ready, or have ended well where that is what they are for (all of them by default)."""
        wanted = [self.pods[name] for name in names]
        wanted = wanted or [pod for pod in self.pods.values() if pod.workload.name not in but]

        def ready() -> bool:
            waiting = {
                pod.name: pod.last_words() for pod in wanted if not (pod.finished() if pod.ends else pod.ready())
            }
            assert not waiting, waiting
            return True

        eventually_sync(ready, within=within)

    def rolling_restart(self, workload: str, *, within: float = 120.0) -> None:
        """Replace the pods of a workload one by one, the next when the last is ready."""
        for pod in reversed(self.of(workload)):
            pod.stop()
            pod.start()
            self.await_ready(pod.name, within=within)

    def node_address(self, number: int) -> str:
        """Return the address of a node, counted from 0."""
        return f"{self.node_network}.{number + 2}"

    def addresses(self, name: str) -> list[str] | None:
        """Return what the cluster's DNS says of a name."""
        if not name.endswith(".svc.cluster.local"):
            return None
        if name == "kube-dns.kube-system.svc.cluster.local":
            return [DNS_ADDRESS]
        *pod_name, service_name, namespace = name.removesuffix(".svc.cluster.local").split(".")
        for service in self.objects:
            meta = service["metadata"]
            if service["kind"] == "Service" and (meta["name"], meta["namespace"]) == (service_name, namespace):
                return [pod.address for pod in self.behind(service) if not pod_name or pod_name == [pod.name]]
        return None

    def behind(self, service: Manifest) -> list[Pod]:
        """Return the pods that a Service selects."""
        selector = {"matchLabels": service["spec"]["selector"]}
        return [
            pod
            for pod in self.pods.values()
            if pod.workload.namespace == service["metadata"]["namespace"]
            and selector_matches(selector, pod.workload.labels)
        ]

    def _endpoints(self) -> list[tuple[Endpoint, list[int]]]:
        """Return everything that can be talked to, with its ports."""
        found = [(pod.endpoint, pod.ports) for pod in self.pods.values()]
        found.append((Endpoint("node", self.node_address(0)), [control.PORT]))
        found.append((Endpoint("dns", DNS_ADDRESS), [53]))
        return found

    def _make_node(self) -> None:
        namespaces.run("ip", "netns", "add", self.node)
        for command in (
            "ip link set lo up",
            "ip link add br0 type bridge",
            "ip link set br0 up",
            f"ip address add {self.node_address(0)}/24 dev br0",
            f"ip address add {DNS_ADDRESS}/32 dev br0",
            f"ip route add {_POD_NETWORK}.0/24 dev br0 src {self.node_address(0)}",
        ):
            namespaces.inside(self.node, *command.split())
        self._names = NameServer(self.node, DNS_ADDRESS, self.addresses).__enter__()
        self.control = control.Control(self).__enter__()

    def _keep(self) -> None:
        while not self._over.wait(0.5):
            for pod in self.pods.values():
                pod.restart_if_ended()
