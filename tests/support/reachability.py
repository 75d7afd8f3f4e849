"""Who reaches whom under a set of NetworkPolicies: the rules of the API, computed for the pods of a rendered manifest.

Read strictly: an ``ipBlock`` matches a pod's address too (some networks do that), and a hostNetwork pod is its node's
address, governed by no policy in either direction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """A pod, or with no namespace an address outside all policies (a node, a client on the internet)."""

    name: str
    address: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def governed(self) -> bool:
        """Whether policies can select it."""
        return self.namespace is not None


class Policies:
    """The NetworkPolicies and namespaces of one manifest."""

    def __init__(self, objects: Iterable[Manifest]) -> None:
        objects = list(objects)
        self._policies = [manifest for manifest in objects if manifest["kind"] == "NetworkPolicy"]
        self._namespaces = {
            manifest["metadata"]["name"]: {
                "kubernetes.io/metadata.name": manifest["metadata"]["name"],
                **manifest["metadata"].get("labels", {}),
            }
            for manifest in objects
            if manifest["kind"] == "Namespace"
        }

    def allow(self, source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP") -> bool:
        """Return whether a connection gets through: out of the source and into the target."""
        return self._passes("Egress", source, target, port, protocol) and self._passes(
            "Ingress", target, source, port, protocol
        )

    def _passes(self, direction: str, owner: Endpoint, other: Endpoint, port: int, protocol: str) -> bool:
        if not owner.governed:
            return True
        selecting = [policy for policy in self._policies if self._selects(policy, direction, owner)]
        if not selecting:
            return True
        peers_key = "from" if direction == "Ingress" else "to"
        return any(
            self._port_matches(rule.get("ports"), port, protocol) and self._peer_matches(rule, peers_key, policy, other)
            for policy in selecting
            for rule in policy["spec"].get(direction.lower()) or []
        )

    @staticmethod
    def _selects(policy: Manifest, direction: str, owner: Endpoint) -> bool:
        spec = policy["spec"]
        types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
        return (
            direction in types
            and policy["metadata"]["namespace"] == owner.namespace
            and selector_matches(spec["podSelector"], owner.labels)
        )

    @staticmethod
    def _port_matches(ports: list[Manifest] | None, port: int, protocol: str) -> bool:
        if not ports:
            return True
        return any(
            entry.get("protocol", "TCP") == protocol
            and ("port" not in entry or entry["port"] <= port <= entry.get("endPort", entry["port"]))
            for entry in ports
        )

    def _peer_matches(self, rule: Manifest, key: str, policy: Manifest, other: Endpoint) -> bool:
        peers = rule.get(key)
        if not peers:
            return True
        return any(self._one_peer_matches(peer, policy["metadata"]["namespace"], other) for peer in peers)

    def _one_peer_matches(self, peer: Manifest, namespace: str, other: Endpoint) -> bool:
        if "ipBlock" in peer:
            block, address = peer["ipBlock"], ip_address(other.address)
            return address in ip_network(block["cidr"]) and not any(
                address in ip_network(hole) for hole in block.get("except", [])
            )
        if other.namespace is None:
            return False
        if "namespaceSelector" in peer:
            labels = self._namespaces.get(other.namespace, {"kubernetes.io/metadata.name": other.namespace})
            if not selector_matches(peer["namespaceSelector"], labels):
                return False
        elif other.namespace != namespace:
            return False
        return "podSelector" not in peer or selector_matches(peer["podSelector"], other.labels)


def selector_matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector selects an object with these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or []:
        key, operator, values = term["key"], term["operator"], term.get("values", [])
        fits = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[operator]
        if not fits:
            return False
    return True
