"""Every Service is reachable by exactly the pods that need it, and one of them from outside."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import rendering
from tests.support.reachability import Endpoint, Policies, selector_matches

#: A node's address, in the network that the overlay's nodes.yaml names. Whoever installs it changes production's.
NODE = {"dev": "172.18.0.3", "production": "192.0.2.3"}

#: Who may reach what. A Service that is not here, or a client too many, fails. ANYONE: a pod of another namespace and
#: the outside; pods of our own have no need to go through the door.
ANYONE = {"outside", "stranger"}
EXPECTED = {
    ("nats", 4222): {"backup", "exporter", "bootstrap", "drill", "collector"},
    ("nats-headless", 4222): {"backup", "exporter", "bootstrap", "drill", "collector"},
    ("nats-headless", 8222): set(),
    ("nats-headless", 6222): {"nats"},
    ("minio", 9000): {"backup", "bootstrap", "drill", "minio-setup"},
    ("minio", 9001): {"nginx"},
    ("backup", 9102): {"prometheus"},
    ("exporter", 9103): {"prometheus", "nginx"},
    ("prometheus", 9090): {"nginx", "grafana"},
    ("alertmanager", 9093): {"nginx", "prometheus"},
    ("grafana", 3000): {"nginx"},
    ("dashboard", 4466): {"nginx"},
    ("nginx", 8080): ANYONE | {"collector"},
    # The exporter looks when its certificate ends.
    ("nginx", 8443): ANYONE | {"collector", "exporter"},
    ("nginx-inside", 8081): {"prometheus"},
    # On the node's address, which no policy governs. Of our own pods only Prometheus gets out to it.
    ("collector", 9101): ANYONE | {"prometheus", "collector"},
}


def _endpoints(variant: str) -> dict[str, Endpoint]:
    numbers = count(2)
    found = {}
    for workload in rendering.workloads(variant):
        if workload.pod.get("hostNetwork"):
            found[workload.name] = Endpoint(workload.name, NODE[variant])
        else:
            address = f"10.244.1.{next(numbers)}"
            found[workload.name] = Endpoint(workload.name, address, workload.namespace, workload.labels)
    found["stranger"] = Endpoint("stranger", "10.244.9.9", "default", {"app.kubernetes.io/name": "backup"})
    found["neighbour"] = Endpoint("neighbour", "10.244.9.10", "streamgauge", {"app": "other"})
    found["outside"] = Endpoint("outside", "198.51.100.7")
    return found


def _service_ports(variant: str) -> dict[tuple[str, int], str]:
    """Return the pods' ports behind each Service, with the name of the workload."""
    found = {}
    for service in rendering.of_kind(variant, "Service"):
        targets = [
            workload
            for workload in rendering.workloads(variant)
            if workload.namespace == service["metadata"]["namespace"]
            and selector_matches({"matchLabels": service["spec"]["selector"]}, workload.labels)
        ]
        assert len(targets) == 1, f"Service {service['metadata']['name']} selects {[target.name for target in targets]}"
        for port in service["spec"]["ports"]:
            found[service["metadata"]["name"], _number(targets[0], port["targetPort"])] = targets[0].name
    return found


def _number(workload: rendering.Workload, port: int | str) -> int:
    """Return the number of a container port given by name."""
    ports: list[dict[str, Any]] = [port for container in workload.containers for port in container.get("ports", [])]
    return next(entry["containerPort"] for entry in ports if port in (entry["name"], entry["containerPort"]))


@pytest.mark.parametrize("variant", rendering.OVERLAYS)
def test_each_service_is_reachable_by_exactly_those_who_need_it(variant: str) -> None:
    policies, endpoints = Policies(rendering.objects(variant)), _endpoints(variant)
    services = _service_ports(variant)

    reached = {
        (service, port): {
            name for name, endpoint in endpoints.items() if policies.allow(endpoint, endpoints[target], port)
        }
        - {target}
        | ({target} if (service, port) == ("nats-headless", 6222) else set())
        for (service, port), target in services.items()
    }

    assert {key: EXPECTED[key] - ({key[0]} if key == ("collector", 9101) else set()) for key in services} == reached


@pytest.mark.parametrize("variant", rendering.OVERLAYS)
def test_the_policy_of_the_page_lets_one_subscriber_in(variant: str) -> None:
    """docs/22-subscribe.md: a program in a namespace of its own reaches NATS, and nothing else."""
    page = (Path(__file__).parents[3] / "docs" / "22-subscribe.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    policy, endpoints = yaml.safe_load(block), _endpoints(variant)
    (peer,) = policy["spec"]["ingress"][0]["from"]
    namespace = {"kind": "Namespace", "metadata": {"name": "detectors"}}
    labels = peer["podSelector"]["matchLabels"]
    before = Policies([*rendering.objects(variant), namespace])
    policies = Policies([*rendering.objects(variant), namespace, policy])
    detector = Endpoint("detector", "10.244.9.11", "detectors", labels)
    others = [Endpoint("other", "10.244.9.12", "default", labels), Endpoint("bystander", "10.244.9.13", "detectors")]

    assert not before.allow(detector, endpoints["nats"], 4222)
    assert policies.allow(detector, endpoints["nats"], 4222)
    assert not policies.allow(detector, endpoints["nats"], 8222)
    assert not policies.allow(detector, endpoints["minio"], 9000)
    assert not any(policies.allow(other, endpoints["nats"], 4222) for other in others)


@pytest.mark.parametrize("variant", rendering.OVERLAYS)
def test_no_pod_gets_out_to_the_internet(variant: str) -> None:
    policies, endpoints = Policies(rendering.objects(variant)), _endpoints(variant)
    outside = endpoints["outside"]

    escaping = {
        name
        for name, endpoint in endpoints.items()
        if endpoint.namespace in ("streamgauge", "streamgauge-capture")
        for port in (25, 53, 80, 443, 6443, 9000)
        if policies.allow(endpoint, outside, port) or policies.allow(endpoint, outside, port, "UDP")
    }

    assert set() == escaping


@pytest.mark.parametrize("variant", rendering.OVERLAYS)
def test_only_who_needs_the_api_server_reaches_it_and_has_a_token(variant: str) -> None:
    policies, endpoints = Policies(rendering.objects(variant)), _endpoints(variant)
    server = Endpoint("api-server", NODE[variant])

    reaching = {
        name for name, end in endpoints.items() if end.namespace == "streamgauge" and policies.allow(end, server, 6443)
    }
    holding = {work.name for work in rendering.workloads(variant) if work.pod.get("automountServiceAccountToken")}

    assert {"exporter", "prometheus", "dashboard"} == reaching == holding


@pytest.mark.parametrize("variant", rendering.VARIANTS)
def test_exactly_one_service_is_reachable_from_outside(variant: str) -> None:
    outside = [
        service["metadata"]["name"]
        for service in rendering.of_kind(variant, "Service")
        if service["spec"].get("type", "ClusterIP") != "ClusterIP" or service["spec"].get("externalIPs")
    ]
    gateways = [manifest["metadata"]["name"] for manifest in rendering.of_kind(variant, "Gateway", "Ingress")]
    host_ports = [
        workload.name
        for workload in rendering.workloads(variant)
        for container in workload.containers
        for port in container.get("ports", [])
        if "hostPort" in port
    ]

    # With a Gateway in front, NGINX is behind it and no longer open itself.
    assert (["streamgauge"] if variant.endswith("gateway-api") else ["nginx"]) == outside + gateways
    assert host_ports == []


def test_the_evaluator_knows_the_rules() -> None:
    """Cases of the API's documentation, so that the tests above stand on something."""
    policy = {
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "a", "name": "p"},
        "spec": {
            "podSelector": {"matchLabels": {"role": "db"}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [
                        {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                        {"namespaceSelector": {"matchLabels": {"project": "x"}}},
                        {"podSelector": {"matchLabels": {"role": "frontend"}}},
                    ],
                    "ports": [{"port": 6379}],
                }
            ],
        },
    }
    namespaces = [{"kind": "Namespace", "metadata": {"name": "x", "labels": {"project": "x"}}}]
    policies = Policies([policy, *namespaces])
    database = Endpoint("db", "10.0.0.1", "a", {"role": "db"})

    def reach(source: Endpoint, port: int = 6379) -> bool:
        return policies.allow(source, database, port)

    assert reach(Endpoint("front", "10.0.0.2", "a", {"role": "frontend"}))
    assert not reach(Endpoint("front", "10.0.0.2", "b", {"role": "frontend"}))
    assert not reach(Endpoint("front", "10.0.0.2", "a", {"role": "frontend"}), 5432)
    assert reach(Endpoint("any", "10.0.0.3", "x"))
    assert reach(Endpoint("address", "172.17.2.1"))
    assert not reach(Endpoint("hole", "172.17.1.1"))
    assert policies.allow(database, Endpoint("out", "198.51.100.1"), 443), "egress is not governed by this policy"
    assert policies.allow(Endpoint("any", "10.0.0.3", "b"), Endpoint("free", "10.0.0.9", "a", {"role": "web"}), 80)
