"""The manifests at a real API server: admitted, defaulted, turned into pods by the real controllers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support import rendering
from tests.support.controlplane import ControlPlane
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

# Building the control plane the first time takes five minutes.
pytestmark = pytest.mark.timeout(1800)

#: Kinds an installation brings itself, with the group they are in: made known with no more than their names.
FOREIGN = (
    ("gateways", "Gateway", "gateway.networking.k8s.io"),
    ("tlsroutes", "TLSRoute", "gateway.networking.k8s.io"),
    ("certificates", "Certificate", "cert-manager.io"),
)
#: All that "restricted" has against the collector, and nothing else has anything against it.
EXCESSES = (
    "host namespaces (hostNetwork=true)",
    'container "collector" must not include "NET_RAW"',
    'volume "spool" uses restricted volume type "hostPath"',
    "runAsUser=0",
)


@pytest.fixture(name="plane", scope="module")
def _plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.add_node("node-1")
        plane.add_node("node-2")
        plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(_definition(*names) for names in FOREIGN))
        for _plural, _kind, group in FOREIGN:
            eventually_sync(lambda group=group: group in plane.kubectl("api-resources").stdout, within=30)
        yield plane


def _definition(plural: str, kind: str, group: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [version],
        },
    }


def _apply(plane: ControlPlane, variant: str) -> str:
    """Apply a variant as `make deploy` does; return the warnings."""
    plane.kubectl("delete", "job", "--all", "-n", "streamgauge", "--ignore-not-found")
    run = plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=rendering.text(variant))
    return run.stderr


def test_the_controllers_make_every_pod(plane: ControlPlane) -> None:
    """Admission sees the pods themselves here, not only their templates. First, while there are no older pods."""
    _apply(plane, "production")
    expected = {
        "collector": 2,
        "nats": 3,
        "backup": 3,
        "exporter": 2,
        "nginx": 2,
        "grafana": 1,
        "minio": 1,
        "bootstrap": 1,
    }

    def counted() -> bool:
        names = [pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in plane.get("pods", "-A")]
        counts = {name: names.count(name) for name in expected}
        assert counts == expected, counts
        return True

    eventually_sync(counted, within=60)
    refused = [event["message"] for event in plane.get("events", "-A") if event["reason"].startswith("FailedCreate")]
    assert refused == []


@pytest.mark.parametrize("variant", rendering.VARIANTS)
def test_every_object_is_admitted_and_only_the_collector_exceeds(plane: ControlPlane, variant: str) -> None:
    warnings = [line for line in _apply(plane, variant).splitlines() if "PodSecurity" in line]

    assert all(excess in line for line in warnings for excess in EXCESSES)
    assert all(line.count("(container ") + line.count("(pod or container ") <= 2 for line in warnings)


def test_applying_again_changes_nothing(plane: ControlPlane) -> None:
    _apply(plane, "dev")

    run = plane.kubectl(
        "diff", "--server-side", "--force-conflicts", "-f", "-", stdin=rendering.text("dev"), check=False
    )

    assert (run.returncode, run.stdout) == (0, ""), run.stdout[:2000] + run.stderr


def test_another_pod_with_a_privilege_is_refused(plane: ControlPlane) -> None:
    _apply(plane, "dev")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "intruder", "namespace": "streamgauge"},
        "spec": {
            "hostNetwork": True,
            "containers": [{"name": "c", "image": "c", "securityContext": {"privileged": True}}],
        },
    }

    run = plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(pod), check=False)

    assert run.returncode != 0
    assert 'violates PodSecurity "restricted:latest"' in run.stderr


#: Account, verb, resource, namespace, and whether it may.
MAY = (
    ("exporter", "list", "pods", "kube-system", True),
    ("exporter", "watch", "nodes", "", True),
    ("exporter", "get", "secrets", "streamgauge", False),
    ("exporter", "delete", "pods", "streamgauge", False),
    ("dashboard", "list", "apps/deployments", "kube-system", True),
    ("dashboard", "get", "secrets", "streamgauge", False),
    ("dashboard", "list", "configmaps", "streamgauge", False),
    ("dashboard", "create", "pods:exec", "streamgauge", False),
    ("dashboard", "patch", "apps/deployments", "streamgauge", False),
    # Logs of other namespaces may hold secrets.
    ("dashboard", "get", "pods:log", "streamgauge", True),
    ("dashboard", "get", "pods:log", "kube-system", False),
    ("prometheus", "watch", "discovery.k8s.io/endpointslices", "streamgauge", True),
    ("prometheus", "watch", "discovery.k8s.io/endpointslices", "streamgauge-capture", True),
    ("prometheus", "list", "pods", "streamgauge-capture", True),
    ("prometheus", "list", "services", "streamgauge", True),
    ("prometheus", "list", "pods", "kube-system", False),
    ("prometheus", "list", "pods", "", False),
    ("prometheus", "list", "nodes", "", False),
    ("prometheus", "get", "secrets", "streamgauge", False),
    ("prometheus", "list", "configmaps", "streamgauge-capture", False),
    ("prometheus", "delete", "pods", "streamgauge", False),
    ("default", "list", "pods", "streamgauge", False),
)


def test_an_account_may_what_it_needs_and_no_more(plane: ControlPlane) -> None:
    _apply(plane, "dev")
    reviews = yaml.safe_dump_all(_review(*case[:4]) for case in MAY)

    answers = yaml.safe_load_all(plane.kubectl("create", "-f", "-", "-o", "yaml", stdin=reviews).stdout)

    assert [(*case[:4], answer["status"]["allowed"]) for case, answer in zip(MAY, answers, strict=True)] == list(MAY)


def _review(account: str, verb: str, what: str, namespace: str) -> dict[str, Any]:
    group, _, resource = what.rpartition("/")
    resource, _, subresource = resource.partition(":")
    attributes = {
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "verb": verb,
        "namespace": namespace,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:streamgauge:{account}", "resourceAttributes": attributes},
    }


def test_an_upgrade_can_be_rolled_back(plane: ControlPlane) -> None:
    """The older configuration is still there under its own name, so the older pods start as they were."""
    _apply(plane, "dev")
    before = _template(plane)
    upgraded = rendering.text("dev").replace("streamgauge/backup:0.1.0", "streamgauge/backup:0.2.0")
    plane.kubectl("delete", "job", "--all", "-n", "streamgauge")
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=upgraded)
    eventually_sync(lambda: len(plane.get("controllerrevisions", "-n", "streamgauge")) > 1)

    plane.kubectl("rollout", "undo", "statefulset/backup", "-n", "streamgauge")

    assert _template(plane) == before
    configs = {config["metadata"]["name"] for config in plane.get("configmaps", "-n", "streamgauge")}
    assert before["containers"][0]["envFrom"][0]["configMapRef"]["name"] in configs


def _template(plane: ControlPlane) -> dict[str, Any]:
    return next(
        item["spec"]["template"]["spec"]
        for item in plane.get("statefulsets", "-n", "streamgauge")
        if item["metadata"]["name"] == "backup"
    )


def test_undeploying_leaves_nothing_but_the_data(plane: ControlPlane) -> None:
    _apply(plane, "dev")

    plane.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=rendering.text("dev"))

    eventually_sync(lambda: not plane.get("namespaces", "-l", "app.kubernetes.io/part-of=streamgauge"), within=90)
    assert plane.get("clusterroles", "-l", "app.kubernetes.io/part-of=streamgauge") == []
    assert plane.get("priorityclasses", "-l", "app.kubernetes.io/part-of=streamgauge") == []
