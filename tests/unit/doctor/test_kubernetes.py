"""The walk in a cluster on answers of the API server that are written here; tests/live/doctor has a real one."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from streamgauge.doctor.kubernetes import examine, pods
from streamgauge.doctor.kubernetes import walk as module
from streamgauge.doctor.kubernetes.kubectl import Namespace, RefusedError

PARTS = {
    "collector": ("DaemonSet", "streamgauge-capture"),
    "nats": ("StatefulSet", "streamgauge"),
    "backup": ("StatefulSet", "streamgauge"),
    "minio": ("StatefulSet", "streamgauge"),
    "exporter": ("StatefulSet", "streamgauge"),
    "prometheus": ("StatefulSet", "streamgauge"),
    "nginx": ("Deployment", "streamgauge"),
}
TARGETS = [
    {"labels": {"job": job}, "health": "up", "scrapeUrl": "", "lastError": "", "lastScrape": "2026-11-25T14:00:00Z"}
    for job in ("collector", "backup", "exporter")
]
EXPORTER = """streamgauge_packets_total{node="n"} 5
streamgauge_exporter_batches_total{result="counted"} 1
streamgauge_ledger_age_seconds{node="n",interface="any"} 2
streamgauge_stream_messages 9
streamgauge_stream_newest_seconds 1
streamgauge_consumer_oldest_unacknowledged_seconds{consumer="backup-shard-00"} OLDEST
streamgauge_consumer_pending_messages{consumer="backup-shard-00"} 4
"""


def meta(name: str, namespace: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "labels": {key.replace("_", "/"): v for key, v in labels.items()}}


def part(name: str) -> list[dict[str, Any]]:
    """Return a part in order: controller, pod, Service, its endpoints."""
    kind, namespace = PARTS[name]
    volumes = [{"secret": {"secretName": name}}, {"configMap": {"name": f"{name}-x", "optional": True}}]
    template = {"spec": {"volumes": volumes, "containers": [{"name": name}]}}
    controller = {
        "kind": kind,
        "metadata": meta(name, namespace),
        "spec": {"template": template, "replicas": 1},
        "status": {"desiredNumberScheduled": 1},
    }
    label = {"app.kubernetes.io/name": name}
    pod = {
        "kind": "Pod",
        "metadata": {"name": f"{name}-0", "namespace": namespace, "labels": label},
        "spec": {},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    service = {"kind": "Service", "metadata": meta(name, namespace)}
    endpoints = {
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"conditions": {"ready": True}}],
    }
    return [controller, pod, service, endpoints]


class FakeKubectl:
    """Answers as kubectl does, from what it is given."""

    def __init__(self) -> None:
        self.objects = [each for name in PARTS for each in part(name)]
        self.secrets = list(PARTS)
        self.oldest = 1.0
        self.pages_refused = False
        self.targets = copy.deepcopy(TARGETS)

    def get(self, kinds: str, *arguments: str) -> list[dict[str, Any]]:
        if kinds == "namespaces":
            names = ("streamgauge", "streamgauge-capture")
            return [
                {"metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "e"}}} for name in names
            ]
        if kinds == "nodes":
            addresses = [{"type": "InternalIP", "address": "10.0.0.7"}]
            return [{"metadata": {"name": "n"}, "status": {"addresses": addresses}}]
        return [each for each in self.objects if each["metadata"]["namespace"] == arguments[1]]

    def run(self, *_arguments: str) -> str:
        return "".join(f"secret/{name}\n" for name in self.secrets)

    def raw(self, path: str) -> str:
        if self.pages_refused:
            raise RefusedError("error trying to reach service: timeout")
        if "prometheus" in path:
            return orjson.dumps({"data": {"activeTargets": self.targets}}).decode()
        return EXPORTER.replace("OLDEST", str(self.oldest))

    def one(self, kind: str, name: str) -> dict[str, Any]:
        return next(each for each in self.objects if each["kind"] == kind and each["metadata"]["name"] == name)

    def drop(self, kind: str, name: str) -> None:
        self.objects.remove(self.one(kind, name))


@pytest.fixture(name="kubectl")
def _kubectl(monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    fake = FakeKubectl()
    monkeypatch.setattr(module, "Kubectl", lambda _context: fake)
    monkeypatch.setattr(module.time, "time", lambda: 1_795_615_210.0)
    return fake


def first() -> tuple[str, str]:
    broken = examine(context=None, namespace="streamgauge").first_broken
    assert broken is not None
    assert broken.remedy
    return broken.hop, broken.evidence


def test_cluster_in_order(kubectl: FakeKubectl) -> None:
    """Each hop with figures from the pages behind the proxy."""
    found = examine(context=None, namespace="streamgauge")

    assert [each.state.value for each in found.findings] == ["ok"] * 9, found.findings
    told = {each.hop: each.evidence for each in found.findings}
    assert told["cluster"] == "1 node, 7 pods in streamgauge and streamgauge-capture"
    assert told["stream"] == "9 messages, newest 1.0 s old"
    assert told["Prometheus"] == "3 targets up, read at most 10 s ago"


def test_pages_that_the_proxy_does_not_reach(kubectl: FakeKubectl) -> None:
    """What they would have told is not checked, and nothing is called broken for it."""
    kubectl.pages_refused = True
    found = examine(context=None, namespace="streamgauge")

    assert found.first_broken is None
    assert [each.hop for each in found.findings if each.state == "not checked"] == ["stream"]


def test_consumer_is_stuck(kubectl: FakeKubectl) -> None:
    """By the exporter's page; the storage, whose pod crashes, is the cause and named first."""
    kubectl.oldest = 400.0
    assert first() == ("backup", "consumer stuck: 4 messages not stored yet, the oldest 7 min")
    waiting = {"name": "m", "ready": False, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    kubectl.one("Pod", "minio-0")["status"]["containerStatuses"] = [waiting]

    assert first() == ("S3", "minio-0 crashes: 3 restarts, last exit status ?")


@pytest.mark.parametrize(
    ("kind", "name", "outcome"),
    [
        ("DaemonSet", "collector", ("capture", "no DaemonSet collector in namespace streamgauge-capture")),
        ("Pod", "collector-0", ("capture", "0 of 1 pod of collector exist")),
        ("Service", "nats", ("NATS", "no Service nats in namespace streamgauge")),
        ("EndpointSlice", "nats", ("NATS", "Service nats has no endpoints: no ready pod has its labels")),
        ("StatefulSet", "exporter", ("exporter", "no StatefulSet exporter in namespace streamgauge")),
        ("EndpointSlice", "nginx", ("door", "Service nginx has no endpoints: no ready pod has its labels")),
    ],
)
def test_something_is_missing(kubectl: FakeKubectl, kind: str, name: str, outcome: tuple[str, str]) -> None:
    """By its kind and name, at its hop."""
    kubectl.drop(kind, name)

    assert first() == outcome


def test_secret_is_missing(kubectl: FakeKubectl) -> None:
    """What is optional is not missed."""
    kubectl.secrets.remove("backup")

    assert first() == ("backup", "Secret backup missing, which StatefulSet backup mounts")


def test_pods_are_denied(kubectl: FakeKubectl) -> None:
    """With the excesses that Pod Security names, and how the namespace gets its label back."""
    kubectl.drop("Pod", "collector-0")
    event = {
        "kind": "Event",
        "metadata": meta("e", "streamgauge-capture"),
        "involvedObject": {"kind": "DaemonSet", "name": "collector"},
        "reason": "FailedCreate",
        "message": 'pods "c" is forbidden: violates PodSecurity "restricted:latest": host namespaces',
    }
    kubectl.objects.append(event)

    assert first() == (
        "capture",
        'denied by Pod Security (e) of namespace streamgauge-capture: PodSecurity "restricted:latest": host namespaces',
    )


def test_policy_keeps_a_node_out(kubectl: FakeKubectl) -> None:
    """Only policies that select NATS count, and only blocks on its port."""
    blocks = [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    policy = {
        "kind": "NetworkPolicy",
        "metadata": meta("collectors", "streamgauge"),
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "nats"}},
            "ingress": [{"ports": [{"port": 4222}], "from": blocks}],
        },
    }
    kubectl.objects.append(policy)
    assert first() == ("NATS", "NetworkPolicy keeps collectors from NATS: no ipBlock holds n (10.0.0.7)")
    blocks.append({"ipBlock": {"cidr": "10.0.0.0/8"}})

    assert examine(context=None, namespace="streamgauge").first_broken is None


def test_not_ready_tells_what_the_probe_said(kubectl: FakeKubectl) -> None:
    """Running is not enough."""
    kubectl.one("Pod", "backup-0")["status"]["conditions"] = []
    told = {"kind": "Event", "metadata": meta("e", "streamgauge"), "reason": "Unhealthy", "message": "503"}
    kubectl.objects.append({**told, "involvedObject": {"kind": "Pod", "name": "backup-0"}})

    assert first() == ("backup", "0 of 1 pod of backup ready; not: backup-0: 503")


def test_references_of_a_pod() -> None:
    """Volumes, projected ones too, environments and single keys; nothing that is optional."""
    spec = {
        "volumes": [{"projected": {"sources": [{"secret": {"name": "a"}}, {"configMap": {"name": "b"}}]}}],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "c"}}]}],
        "containers": [
            {
                "env": [{"name": "X", "value": "1"}, {"name": "Y", "valueFrom": {"configMapKeyRef": {"name": "d"}}}],
                "envFrom": [{"configMapRef": {"name": "e", "optional": True}}],
            }
        ],
    }
    controller = {"spec": {"template": {"spec": spec}}}
    namespace = Namespace("n", secrets=frozenset({"c"}))

    assert pods.missing_references(namespace, controller) == ["Secret a", "ConfigMap b", "ConfigMap d"]
    assert pods.missing_references(Namespace("n"), controller) == ["ConfigMap b", "ConfigMap d"]
