"""The doctor at a real API server with the real manifests; the kubelet's part, the pods' status, is written here."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from streamgauge.doctor.kubernetes import examine
from streamgauge.errors import ConfigurationError
from tests.support import rendering
from tests.support.controlplane import ControlPlane
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.doctor import Walk

# Building the control plane the first time takes five minutes.
pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

#: What an exporter would say, shortened.
PAGE = """streamgauge_packets_total{node="node-1"} 1234
streamgauge_exporter_batches_total{result="counted"} 9
streamgauge_ledger_age_seconds{node="node-1",interface="any"} 2
streamgauge_stream_messages 17
streamgauge_stream_newest_seconds 1.5
"""


@pytest.fixture(name="plane", scope="module")
def _plane() -> Iterator[ControlPlane]:
    """Return a control plane with one node and everything of the overlay `dev` applied, but nothing running."""
    with ControlPlane() as plane:
        os.environ["KUBECONFIG"] = str(plane.folder / "kubeconfig")
        try:
            empty = examine(context=None, namespace="streamgauge")
            assert empty.first_broken is not None
            assert empty.first_broken.evidence == "no namespace streamgauge"
            plane.add_node("node-1")
            plane.kubectl("apply", "--server-side", "-f", "-", stdin=rendering.text("dev"))
            eventually_sync(lambda: len(plane.get("pods", "-A")) >= 9, within=60)
            yield plane
        finally:
            del os.environ["KUBECONFIG"]


def look(*, everything: bool = False) -> Walk:
    return examine(context=None, namespace="streamgauge", everything=everything)


def first(found: Walk) -> tuple[str, str]:
    broken = found.first_broken
    assert broken is not None, found
    assert broken.remedy
    return broken.hop, broken.evidence


def patch(plane: ControlPlane, pod: dict[str, Any], **status: Any) -> None:
    """Write a pod's status, as its kubelet would."""
    meta = pod["metadata"]
    plane.kubectl(
        *("patch", "pod", meta["name"], "-n", meta["namespace"], "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": status})),
    )


def container(name: str, image: str, *, ready: bool = False, **state: Any) -> dict[str, Any]:
    started = {"name": name, "image": image, "imageID": "", "restartCount": 0, "ready": ready}
    return {**started, **state}


def run_all(plane: ControlPlane, address: str) -> None:
    """Put every pod on the node, as a scheduler would, and let it run and be ready."""
    for pod in plane.get("pods", "-A"):
        meta = pod["metadata"]
        if "nodeName" not in pod["spec"]:
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": meta["name"]},
                "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
            }
            path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding"
            plane.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))
        parts = [
            container(each["name"], each["image"], ready=True, state={"running": {}})
            for each in pod["spec"]["containers"]
        ]
        ready = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Ready", "ContainersReady")]
        patch(
            plane,
            pod,
            phase="Running",
            podIP=address,
            podIPs=[{"ip": address}],
            conditions=ready,
            containerStatuses=parts,
        )


def pod_of(plane: ControlPlane, name: str) -> dict[str, Any]:
    return plane.get("pods", "-A", "-l", f"app.kubernetes.io/name={name}")[0]


def collector_says(plane: ControlPlane, evidence: str, **status: Any) -> None:
    """Write the collector's status and look: it is the first broken hop, and called that."""
    pod = pod_of(plane, "collector")
    patch(plane, pod, phase="Pending", **status)
    hop, told = first(look())

    assert hop == "capture"
    assert told.startswith(evidence.format(pod=pod["metadata"]["name"])), told


def test_nothing_runs_yet(plane: ControlPlane) -> None:
    """The command ends with status 1 and names the pod."""
    ran = subprocess.run(
        [sys.executable, "-m", "streamgauge.cli.main", "doctor", "--kubernetes"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (1, "")
    assert ran.stdout.startswith("first broken hop: capture: collector-")
    assert ran.stdout.splitlines()[0].endswith(" is pending")
    assert "kubectl describe -n streamgauge-capture pod/collector-" in ran.stdout
    assert "cluster" in ran.stdout.splitlines()[2]


def test_what_the_kubelet_says_of_the_collector(plane: ControlPlane) -> None:
    """Image, crash, memory, configuration, no node: each by its name."""
    pulling = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
    crashed = {
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": "no interface eth9"}},
    }
    killed = {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    config = {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}}
    cases = [
        (pulling, "image c:1 of {pod} cannot be pulled: not found"),
        (crashed, "{pod} crashes: 0 restarts, last exit status 1: no interface eth9"),
        (killed, "{pod} was killed: out of memory"),
        (config, '{pod} cannot start: secret "x" not found'),
    ]
    for state, evidence in cases:
        collector_says(plane, evidence, containerStatuses=[container("collector", "c:1", **state)])
    full = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient memory"}]
    collector_says(plane, "{pod} is on no node: Insufficient memory", containerStatuses=[], conditions=full)


def test_secret_is_missing(plane: ControlPlane) -> None:
    """By the name that the DaemonSet mounts."""
    (secret,) = [
        each["metadata"]["name"]
        for each in plane.get("secrets", "-n", "streamgauge-capture")
        if each["metadata"]["name"].startswith("collector-")
    ]
    plane.kubectl("delete", "secret", "-n", "streamgauge-capture", secret)

    assert first(look()) == ("capture", f"Secret {secret} missing, which DaemonSet collector mounts")
    plane.kubectl("apply", "--server-side", "-f", "-", stdin=rendering.text("dev"))


def test_pod_security_denies_the_collector(plane: ControlPlane) -> None:
    """A namespace that lost its label: the controller is refused, and tells why."""
    label = "pod-security.kubernetes.io/enforce"
    plane.kubectl("label", "namespace", "streamgauge-capture", f"{label}=restricted", "--overwrite")
    plane.kubectl("delete", "pod", "--all", "-n", "streamgauge-capture", "--grace-period=0", "--force")

    def denied() -> bool:
        hop, told = first(look())
        assert hop == "capture"
        assert told.startswith('denied by Pod Security (restricted) of namespace streamgauge-capture: PodSecurity "')
        assert "NET_RAW" in told
        return True

    eventually_sync(denied, within=40)
    plane.kubectl("label", "namespace", "streamgauge-capture", f"{label}=privileged", "--overwrite")
    plane.kubectl("rollout", "restart", "daemonset/collector", "-n", "streamgauge-capture")
    eventually_sync(lambda: plane.get("pods", "-n", "streamgauge-capture"), within=60)


def test_claim_is_pending(plane: ControlPlane) -> None:
    """No storage class: the claim of NATS stays open, and the controller's reason is told."""
    address = _address()
    run_all(plane, address)
    patch(plane, pod_of(plane, "nats"), phase="Pending")
    hop, told = first(look())

    assert hop == "NATS"
    assert told.startswith("claim data-nats-0 of nats-0 is pending")


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_arguments: object) -> None:
        pass


def _address() -> str:
    """Return an address of this machine that the API server's proxy may go to: none of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def test_everything_runs_and_then_one_part_does_not(plane: ControlPlane) -> None:
    """The exporter's page comes through the API server's proxy; then policies, a job and an empty Service."""
    address = _address()
    server = http.server.ThreadingHTTPServer((address, 0), _Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        target = [{"op": "replace", "path": "/spec/ports/0/targetPort", "value": server.server_port}]
        plane.kubectl("patch", "service", "exporter", "-n", "streamgauge", "--type=json", "-p", json.dumps(target))
        _set_node_address(plane, "172.18.0.2")
        run_all(plane, address)

        def in_order() -> dict[str, tuple[str, str]]:
            found = look(everything=True)
            assert found.first_broken is None, found.first_broken
            told = {each.hop: (each.state.value, each.evidence) for each in found.findings}
            assert told["exporter"] == ("ok", f"1,234 packets counted, page of {len(PAGE)} B"), told["exporter"]
            return told

        told = eventually_sync(in_order, within=40)
        assert told["capture"] == ("ok", "1 pod of collector ready; 1 node reporting")
        assert told["stream"] == ("ok", "17 messages, newest 1.5 s old")
        assert told["Prometheus"][1].startswith("1 pod of prometheus ready; its targets cannot be read from here")
    finally:
        server.shutdown()
        server.server_close()

    # The nodes moved to another network, which the policy does not name.
    _set_node_address(plane, "198.51.100.7")
    assert first(look()) == (
        "NATS",
        "NetworkPolicy keeps collectors from NATS: no ipBlock holds node-1 (198.51.100.7)",
    )
    _set_node_address(plane, "172.18.0.2")

    # The Service looks for pods that do not exist.
    selector = {"spec": {"selector": {"app.kubernetes.io/name": "gnats"}}}
    plane.kubectl("patch", "service", "nats", "-n", "streamgauge", "--type=merge", "-p", json.dumps(selector))
    eventually_sync(
        lambda: first(look()) == ("NATS", "Service nats has no endpoints: no ready pod has its labels"), within=30
    )
    selector = {"spec": {"selector": {"app.kubernetes.io/name": "nats"}}}
    plane.kubectl("patch", "service", "nats", "-n", "streamgauge", "--type=merge", "-p", json.dumps(selector))

    # Bootstrap gave up: the real controller ends it.
    deadline = json.dumps({"spec": {"activeDeadlineSeconds": 1}})
    plane.kubectl("patch", "job", "bootstrap", "-n", "streamgauge", "--type=merge", "-p", deadline)

    def failed() -> bool:
        hop, told = first(look())
        assert hop == "stream"
        return told.startswith("Job bootstrap failed: DeadlineExceeded: ")

    eventually_sync(failed, within=40)


def test_job_of_the_troubleshooting_page(plane: ControlPlane) -> None:
    """It is admitted, runs the doctor with the drill's keys, and keeps the drill's label for the policies."""
    page = (rendering.ROOT / "docs" / "30-troubleshooting.md").read_text()
    command = page.partition("$ kubectl create job doctor")[2].partition("\n$ ")[0]
    subprocess.run(["bash", "-o", "pipefail", "-c", f"kubectl create job doctor{command}"], check=True)
    (job,) = [each for each in plane.get("jobs", "-n", "streamgauge") if each["metadata"]["name"] == "doctor"]
    template = job["spec"]["template"]

    assert template["spec"]["containers"][0]["command"] == ["streamgauge", "doctor", "--all"]
    assert template["metadata"]["labels"]["app.kubernetes.io/name"] == "drill"
    assert any(
        each.get("secret", {}).get("secretName", "").startswith("operator-") for each in template["spec"]["volumes"]
    )


def _set_node_address(plane: ControlPlane, address: str) -> None:
    status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
    plane.kubectl("patch", "node", "node-1", "--subresource=status", "--type=merge", "-p", json.dumps(status))


def test_no_such_context_and_no_kubectl(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person gets wrong first."""
    wrong = examine(context="nowhere", namespace="streamgauge").first_broken
    monkeypatch.setenv("PATH", "/nowhere")

    assert wrong is not None
    assert wrong.evidence.startswith("the cluster cannot be asked: ")
    assert "nowhere" in wrong.evidence
    with pytest.raises(ConfigurationError, match="kubectl is not on PATH"):
        examine(context=None, namespace="streamgauge")


def test_manifests_name_what_the_doctor_looks_for() -> None:
    """A part that is renamed must be renamed here, too."""
    named = {
        (each["kind"], each["metadata"]["name"])
        for each in yaml.safe_load_all(rendering.text("base"))
        if each and "name" in each["metadata"]
    }

    assert {
        *(("DaemonSet", "collector"), ("StatefulSet", "nats"), ("StatefulSet", "backup"), ("StatefulSet", "minio")),
        *(("StatefulSet", "exporter"), ("StatefulSet", "prometheus"), ("Deployment", "nginx"), ("Job", "bootstrap")),
        *(("Job", "minio-setup"), ("Service", "nats"), ("Service", "minio"), ("Service", "nginx")),
    } <= named
