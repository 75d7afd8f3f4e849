"""Who can be reached: Services without endpoints, and policies that keep the nodes' collectors from NATS."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from streamgauge.doctor.words import Finding, broken, some

if TYPE_CHECKING:
    from streamgauge.doctor.kubernetes.kubectl import Namespace, Object

_NATS_PORT: Final = 4222


def without_endpoints(hop: str, namespace: Namespace, name: str) -> Finding | None:
    """Return that a Service is missing or leads nowhere, None if it leads somewhere."""
    where = f"-n {namespace.name}"
    if namespace.one("Service", name) is None:
        return broken(hop, f"no Service {name} in namespace {namespace.name}", "`make deploy OVERLAY=<yours>`")
    slices = [
        each
        for each in namespace.all("EndpointSlice")
        if (each["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == name
    ]
    ready = [
        endpoint
        for each in slices
        for endpoint in each.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready", True)
    ]
    if ready:
        return None
    return broken(
        hop,
        f"Service {name} has no endpoints: no ready pod has its labels",
        f"compare `kubectl get service {where} {name} -o wide` with `kubectl get pods {where} --show-labels`",
    )


def kept_out(hop: str, namespace: Namespace, nodes: list[Object]) -> Finding | None:
    """Return the nodes whose collectors a NetworkPolicy keeps from NATS.

    A collector is on its node's network, so policies see the node's address: an ``ipBlock`` must hold it.
    """
    selecting = [each for each in namespace.all("NetworkPolicy") if _selects_nats(each)]
    if not selecting:
        return None
    blocks = [
        ip_network(peer["ipBlock"]["cidr"])
        for policy in selecting
        for rule in policy["spec"].get("ingress") or ()
        if _has_port(rule)
        for peer in rule.get("from") or ()
        if "ipBlock" in peer
    ]
    if any(
        not rule.get("from") and _has_port(rule) for each in selecting for rule in each["spec"].get("ingress") or ()
    ):
        return None
    out = [
        f"{node['metadata']['name']} ({address})"
        for node in nodes
        for address in [_address(node)]
        if address and not any(ip_address(address) in block for block in blocks)
    ]
    if not out:
        return None
    return broken(
        hop,
        f"NetworkPolicy keeps collectors from NATS: no ipBlock holds {some(out)}",
        "put the nodes' networks into your overlay's nodes.yaml; `kubectl get nodes -o wide` shows the addresses",
    )


def _selects_nats(policy: Object) -> bool:
    spec = policy["spec"]
    if "Ingress" not in (spec.get("policyTypes") or ["Ingress"]):
        return False
    selector = spec.get("podSelector") or {}
    for key, value in (selector.get("matchLabels") or {}).items():
        if key == "app.kubernetes.io/name" and value != "nats":
            return False
    for each in selector.get("matchExpressions") or ():
        if each["key"] == "app.kubernetes.io/name" and each["operator"] == "In" and "nats" not in each["values"]:
            return False
    return True


def _has_port(rule: Object) -> bool:
    ports = rule.get("ports")
    return not ports or any(each.get("port") in (_NATS_PORT, "client", None) for each in ports)


def _address(node: Object) -> str | None:
    addresses = node.get("status", {}).get("addresses") or ()
    return next((each["address"] for each in addresses if each["type"] == "InternalIP"), None)
