"""From objects of the Kubernetes API to bindings: what address it has, and which workload it belongs to.

*Workload.* The controller among a pod's owners. A ReplicaSet whose name ends in the pod's template hash is a
Deployment (or a Rollout, by the label of its hash); a Job named ``<name>-<eight digits>`` is a CronJob. So nothing but
pods, services and nodes has to be read. A pod with no controller is its own workload, and so is one that a node runs
from a file; its name loses the node's.

*When.* A pod has its address from when its network was ready (condition ``PodReadyToStartContainers``; before
Kubernetes 1.29 from when its node took it), to when its last container ended, or it was deleted.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from streamgauge.identity.events import Binding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: By label with the hash of the pod template, the kind that makes ReplicaSets with it.
_TEMPLATES: Final = {"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"}
_CRON_JOB: Final = re.compile(r"(?P<name>.+)-\d{8}")
_ENDED: Final = frozenset({"Succeeded", "Failed"})

#: An object of the API, as JSON.
Object = dict[str, Any]


def pod_bindings(pod: Object) -> list[Binding]:
    """Return the addresses of a pod; none before it has any, nor when it ended and nothing says when."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    workload, kind = workload_of(pod)
    ended = None
    if status.get("phase") in _ENDED:
        ended = _ended(status)
        if ended is None:
            # Nothing says when: whoever knew it ends it now.
            return []
    addresses = [entry.get("ip") for entry in status.get("podIPs") or ()] or [status.get("podIP")]
    return [
        Binding(
            ip=ip,
            object="pod",
            uid=metadata["uid"],
            namespace=metadata["namespace"],
            name=metadata["name"],
            workload=workload,
            workload_kind=kind,
            node=spec.get("nodeName") or "",
            host_network=bool(spec.get("hostNetwork")),
            valid_from=_ready(pod),
            valid_to=ended,
        )
        for ip in _addresses(addresses)
    ]


def service_bindings(service: Object) -> list[Binding]:
    """Return the addresses that stand for a service: its own, external ones, and its load balancer's."""
    metadata, spec = service["metadata"], service.get("spec") or {}
    balancer = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    addresses = (
        *(spec.get("clusterIPs") or (spec.get("clusterIP"),)),
        *(spec.get("externalIPs") or ()),
        *(entry.get("ip") for entry in balancer),
    )
    return [
        Binding(
            ip=ip,
            object="service",
            uid=metadata["uid"],
            namespace=metadata["namespace"],
            name=metadata["name"],
            workload=metadata["name"],
            workload_kind="Service",
            node="",
            host_network=False,
            valid_from=_nanoseconds(metadata["creationTimestamp"]),
        )
        for ip in _addresses(addresses)
    ]


def node_bindings(node: Object) -> list[Binding]:
    """Return the addresses of a node, and the first two of its pods' networks: those of its bridge and tunnel."""
    metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    addresses = [entry.get("address") for entry in status.get("addresses") or () if "IP" in entry.get("type", "")]
    for network in spec.get("podCIDRs") or filter(None, (spec.get("podCIDR"),)):
        first = ipaddress.ip_network(network, strict=False).network_address
        addresses += [str(first), str(first + 1)]
    return [
        Binding(
            ip=ip,
            object="node",
            uid=metadata["uid"],
            namespace="",
            name=metadata["name"],
            workload=metadata["name"],
            workload_kind="Node",
            node=metadata["name"],
            host_network=False,
            valid_from=_nanoseconds(metadata["creationTimestamp"]),
        )
        for ip in _addresses(addresses)
    ]


#: By resource, as it stands in the API's paths.
READERS: Final[dict[str, Callable[[Object], list[Binding]]]] = {
    "pods": pod_bindings,
    "services": service_bindings,
    "nodes": node_bindings,
}


def workload_of(pod: Object) -> tuple[str, str]:
    """Return name and kind of the workload a pod belongs to."""
    metadata = pod["metadata"]
    name: str = metadata["name"]
    owner = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)
    if owner is None:
        return name, "Pod"
    kind, owner_name = owner["kind"], owner["name"]
    if kind == "Node":
        return name.removesuffix(f"-{owner_name}"), "Pod"
    if kind == "ReplicaSet":
        labels = metadata.get("labels") or {}
        for label, made_by in _TEMPLATES.items():
            template = labels.get(label)
            if template and owner_name.endswith(f"-{template}"):
                return owner_name.removesuffix(f"-{template}"), made_by
    if kind == "Job" and (match := _CRON_JOB.fullmatch(owner_name)):
        return match["name"], "CronJob"
    return owner_name, kind


def _addresses(found: Any) -> Iterator[str]:
    """Yield addresses in their one spelling, each once; ``None`` stands for a headless service's."""
    seen = set()
    for text in found:
        try:
            address = str(ipaddress.ip_address(text or ""))
        except ValueError:
            continue
        if address not in seen:
            seen.add(address)
            yield address


def _ready(pod: Object) -> int:
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodReadyToStartContainers" and condition.get("status") == "True":
            return _nanoseconds(condition.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"])
    return _nanoseconds(status.get("startTime") or pod["metadata"]["creationTimestamp"])


def _ended(status: Object) -> int | None:
    """Return when the last container ended; None if no container says so."""
    every = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    states = [(each.get("state") or {}).get("terminated") or {} for each in every]
    return max((_nanoseconds(state["finishedAt"]) for state in states if state.get("finishedAt")), default=None)


def _nanoseconds(time: str) -> int:
    """Return a time of the API (RFC 3339, mostly whole seconds) in ns UTC."""
    moment = datetime.fromisoformat(time)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
