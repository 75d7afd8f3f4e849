"""Objects of the Kubernetes API as bindings, and the book that keeps them."""

from __future__ import annotations

import pytest

from services.exporter.kubernetes.book import KEPT, LINGER, Book
from services.exporter.kubernetes.objects import node_bindings, pod_bindings, service_bindings, workload_of
from tests.support import apiserver

SECOND = 10**9
TEN = 1_795_600_800 * SECOND  # 2026-11-25T10:00:00Z


def stored(thing, **metadata):
    thing["metadata"] |= {"uid": "uid-1", "creationTimestamp": "2026-11-25T10:00:00Z", **metadata}
    return thing


@pytest.mark.parametrize(
    ("owner", "labels", "expected"),
    [
        (None, {}, ("web-1", "Pod")),
        (("ReplicaSet", "web-6d5f"), {"pod-template-hash": "6d5f"}, ("web", "Deployment")),
        (("ReplicaSet", "web-6d5f"), {"rollouts-pod-template-hash": "6d5f"}, ("web", "Rollout")),
        (("ReplicaSet", "alone"), {"pod-template-hash": "6d5f"}, ("alone", "ReplicaSet")),
        (("ReplicaSet", "web-6d5f"), {}, ("web-6d5f", "ReplicaSet")),
        (("Job", "nightly-29401230"), {}, ("nightly", "CronJob")),
        (("Job", "nightly-once"), {}, ("nightly-once", "Job")),
        (("StatefulSet", "db"), {}, ("db", "StatefulSet")),
        (("DaemonSet", "agent"), {}, ("agent", "DaemonSet")),
        (("Node", "1"), {}, ("web", "Pod")),
        (("Kafka", "events"), {}, ("events", "Kafka")),
    ],
)
def test_the_workload_is_told_from_the_pod_alone(owner, labels, expected):
    """No ReplicaSet and no Job is read for it; an owner that is no controller does not count."""
    assert workload_of(apiserver.pod("web-1", "10.0.0.1", owner=owner, labels=labels)) == expected


def test_a_pod_has_its_addresses_from_when_its_network_was_ready():
    """Both families; before there is an address there is no binding."""
    status = {
        "startTime": "2026-11-25T10:00:05Z",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-25T10:00:30Z"},
            {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": "2026-11-25T10:00:07Z"},
        ],
    }
    thing = stored(apiserver.deployed("web", "10.0.0.1", status=status))
    thing["status"]["podIPs"].append({"ip": "2001:DB8::1"})
    one, two = pod_bindings(thing)

    assert (one.ip, two.ip) == ("10.0.0.1", "2001:db8::1")
    assert one.valid_from == TEN + 7 * SECOND
    assert (one.namespace, one.name, one.workload, one.workload_kind) == ("shop", "web-6d5f-1", "web", "Deployment")
    assert (one.node, one.host_network, one.valid_to, one.object) == ("node-a", False, None, "pod")
    status["conditions"].pop()
    assert pod_bindings(thing)[0].valid_from == TEN + 5 * SECOND
    assert pod_bindings(stored(apiserver.pod("new"))) == []


def test_a_pod_that_is_done_has_given_its_address_back():
    """Its object keeps the address for hours; it ended with its last container."""
    states = [{"state": {"terminated": {"finishedAt": f"2026-11-25T10:0{minute}:00Z"}}} for minute in (1, 3, 2)]
    done = stored(apiserver.pod("job", "10.0.0.1", phase="Succeeded", status={"containerStatuses": states}))

    assert pod_bindings(done)[0].valid_to == TEN + 180 * SECOND
    assert pod_bindings(stored(apiserver.pod("lost", "10.0.0.1", phase="Failed"))) == []


def test_a_service_s_addresses():
    """Its own, those from outside, its load balancer's; a headless one has none."""
    thing = stored(apiserver.service("web", "10.96.0.1", "fd00::1"))
    thing["spec"]["externalIPs"] = ["192.0.2.1"]
    thing["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"hostname": "lb.example.org"}]}}

    assert [each.ip for each in service_bindings(thing)] == ["10.96.0.1", "fd00::1", "192.0.2.1", "192.0.2.2"]
    assert service_bindings(thing)[0].workload_kind == "Service"
    assert service_bindings(stored(apiserver.service("headless", "None"))) == []


def test_a_node_s_addresses():
    """Those it says, not its name, and those of its bridge and tunnel in its pods' network."""
    thing = stored(apiserver.node("node-a", "192.168.0.1", podCIDRs=["10.42.0.0/24", "fd00:1::/64"]))
    found = node_bindings(thing)

    assert [each.ip for each in found] == ["192.168.0.1", "10.42.0.0", "10.42.0.1", "fd00:1::", "fd00:1::1"]
    assert {(each.namespace, each.workload, each.workload_kind, each.node) for each in found} == {
        ("", "node-a", "Node", "node-a")
    }


def bindings(name="web", ip="10.0.0.1", **more):
    return pod_bindings(stored(apiserver.deployed(name, ip, **more), uid=name))


def test_the_book_tells_what_began_changed_and_ended():
    """Each change once; the same again is none."""
    book = Book()
    (one,) = bindings()

    assert book.put("pods", "web", [one], TEN) == [one]
    assert book.put("pods", "web", [one], TEN) == []
    (moved,) = bindings(ip="10.0.0.2")
    ended, begun = sorted(book.put("pods", "web", [moved], TEN + 5), key=lambda each: each.ip)
    assert (ended.ip, ended.valid_to, begun) == ("10.0.0.1", TEN + 5, moved)
    (gone,) = book.remove("pods", "web", TEN + 9)
    assert (gone.ip, gone.valid_to) == ("10.0.0.2", TEN + 9)
    assert book.remove("pods", "web", TEN + 9) == []
    assert book.living() == []
    assert len(book.known(TEN + 9)) == 2


def test_a_pod_that_was_done_is_not_ended_twice():
    """Done with a time, then deleted: the time stays."""
    book = Book()
    book.put("pods", "web", bindings(), TEN)
    states = [{"state": {"terminated": {"finishedAt": "2026-11-25T10:01:00Z"}}}]
    done = bindings(phase="Succeeded", status={"containerStatuses": states})

    assert [each.valid_to for each in book.put("pods", "web", done, TEN + 99 * SECOND)] == [TEN + 60 * SECOND]
    assert book.put("pods", "web", done, TEN + 100 * SECOND) == []
    assert book.remove("pods", "web", TEN + 101 * SECOND) == []
    assert [each.valid_to for each in book.known(TEN)] == [TEN + 60 * SECOND]


def test_a_list_ends_what_it_does_not_have():
    """What went while nobody watched; the other resources stay."""
    book = Book()
    book.put("pods", "web", bindings(), TEN)
    book.put("pods", "db", bindings("db", "10.0.0.2"), TEN)
    book.put("nodes", "n", node_bindings(stored(apiserver.node("node-a", "192.168.0.1"))), TEN)
    changed = book.replace("pods", {"db": bindings("db", "10.0.0.2"), "new": bindings("new", "10.0.0.1")}, TEN + 7)

    assert {(each.workload, each.valid_to) for each in changed} == {("web", TEN + 7), ("new", None)}
    assert book.counts() == {"pods": 2, "nodes": 1}


def test_a_workload_lives_a_minute_longer_than_its_last_pod():
    """And who ended long ago is forgotten."""
    book = Book()
    for number, ip in enumerate(("10.0.0.1", "10.0.0.2")):
        book.put("pods", f"web-{number}", bindings(ip=ip), TEN)
    web = ("shop", "web", "Deployment")
    book.remove("pods", "web-0", TEN)
    assert book.workloads(TEN + 2 * LINGER) == {web}
    book.remove("pods", "web-1", TEN + LINGER)
    assert book.workloads(TEN + 2 * LINGER - 1) == {web}
    assert book.next_death(TEN + LINGER) == TEN + 2 * LINGER
    assert book.workloads(TEN + 2 * LINGER + 1) == frozenset()
    assert book.next_death(TEN + 2 * LINGER + 1) is None
    assert book.known(TEN + KEPT + LINGER + 1) == []
