"""The overlay production as processes of this machine: works end to end, under its policies, through restarts.

Everything is taken from the rendered manifest: command, arguments, variables, mounted configuration, user,
capabilities, read-only root, network policies, time to end. Stood in: Silo (by SeaweedFS, with the keys its set-up
would make), Grafana and Headlamp (by pages that say who is asking). The drill's pod runs the account in place of its
command, and once its own command.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.support import prometheus_build, rendering, require
from tests.support.dry import namespaces
from tests.support.dry.cluster import Cluster
from tests.support.dry.pod import KERNELS
from tests.support.dry.stand_ins import IDENTITIES
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.dry.pod import Pod

pytestmark = [pytest.mark.netns, pytest.mark.live, pytest.mark.timeout(900)]

NODES = 4
#: Datagrams a second and node, besides what the pods say to each other.
RATE = 500
_PYTHON = Path(sys.executable)


def _stand_in(name: str) -> list[str]:
    return [str(_PYTHON), "-m", "tests.support.dry.stand_ins", name]


def _minio(pod: Pod) -> list[str]:
    users = []
    for name in ("backup", "bootstrap", "operator"):
        secrets = rendering.of_kind("production", "Secret")
        (secret,) = (entry for entry in secrets if entry["metadata"]["name"].startswith(f"{name}-"))
        access, key = (base64.b64decode(secret["data"][f"s3-{what}-key"]).decode() for what in ("access", "secret"))
        credentials = [{"accessKey": access, "secretKey": key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        users.append({"name": name, "credentials": credentials, "actions": actions})
    path = pod.folder / "volumes" / "tmp" / IDENTITIES
    path.write_text(json.dumps({"identities": users}))
    path.chmod(0o644)
    return _stand_in("minio")


#: In place of each image's program, by container; ours run as the manifest says.
PROGRAMS = {
    "nats": lambda pod: [str(_PYTHON.with_name("nats-server")), *pod.spec["args"]],
    "prometheus": lambda pod: [prometheus_build.program("prometheus"), *pod.spec["args"]],
    "alertmanager": lambda pod: ["/usr/bin/prometheus-alertmanager", *pod.spec["args"]],
    "minio": _minio,
    "minio-setup": lambda _pod: ["true"],
    "grafana": lambda _pod: _stand_in("grafana"),
    "dashboard": lambda _pod: _stand_in("dashboard"),
    "drill": lambda _pod: [str(_PYTHON), "-m", "tests.support.dry.account"],
}


class Traffic:
    """Datagrams on each node's loopback until told to end."""

    def __init__(self, cluster: Cluster) -> None:
        self._over = threading.Event()
        self.sent = 0
        self._sockets = [
            namespaces.socket_in(pod.namespace, namespaces.socket.SOCK_DGRAM)
            for pod in cluster.pods.values()
            if pod.on_host
        ]
        self._thread = threading.Thread(target=self._send, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join(5)
        for sender in self._sockets:
            sender.close()

    def _send(self) -> None:
        while not self._over.wait(0.1):
            for sender in self._sockets:
                for number in range(RATE // 10):
                    try:
                        sender.sendto(b"x" * (number % 64), ("127.0.0.1", 9))
                    except ConnectionRefusedError:
                        continue  # nobody listens on the discard port, and says so
                    self.sent += 1


@pytest.fixture(name="cluster", scope="module")
def _cluster() -> Iterator[Cluster]:
    require.root()
    for name in ("ip", "nft", "unshare", "setpriv", "nginx", "prometheus-alertmanager"):
        require.program(name)
    for name in ("nats-server", "weed"):
        require.program(name)
    prometheus_build.program("prometheus")
    _compile_kernels()
    folder = Path(tempfile.mkdtemp(prefix="sg-dry-"))
    folder.chmod(0o755)
    workloads = rendering.workloads("production")
    try:
        with Cluster(
            rendering.objects("production"), workloads, folder, PROGRAMS, nodes=NODES, node_network="192.0.2"
        ) as cluster:
            cluster.start(but={"drill"})
            cluster.await_ready(but={"drill"}, within=240)
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compile_kernels() -> None:
    """Do once what building an image does; else every pod would, all at the same time."""
    KERNELS.mkdir(parents=True, exist_ok=True)
    KERNELS.chmod(0o1777)
    subprocess.run(
        [sys.executable, "images/compile_kernels.py"],
        cwd=rendering.ROOT,
        env={**os.environ, "PYTHONPATH": str(rendering.ROOT), "NUMBA_CACHE_DIR": str(KERNELS)},
        check=True,
        timeout=300,
    )
    for path in KERNELS.rglob("*"):
        # Pods run as several users, each of which may add to it.
        path.chmod(0o777 if path.is_dir() else 0o666)


def _account(cluster: Cluster) -> dict[str, Any]:
    """Run the drill's pod and return what it finds."""
    pod = cluster.pods["drill-0"]
    before = len(pod.log())
    pod.start()
    eventually_sync(pod.finished, within=60)
    pod.kill()
    report: dict[str, Any] = json.loads(pod.log()[before:].splitlines()[-1])
    return report


def _account_of_all(cluster: Cluster) -> dict[str, Any]:
    """Have the backup store what there is, and return what the drill's pod finds then.

    A rolling restart of the backup stores what it has in hand, without waiting for the minute to be over; after an
    outage of NATS, it may not have been handed everything at once.
    """
    report: dict[str, Any] = {}
    for _ in range(4):
        _stop(cluster, "backup")
        _start(cluster, "backup")
        report = _account(cluster)
        if report["stored"]["packets"] == report["ledger"]["published"]:
            break
    return report


def _stop(cluster: Cluster, workload: str) -> None:
    for pod in cluster.of(workload):
        pod.stop()


def _start(cluster: Cluster, workload: str) -> None:
    for pod in cluster.of(workload):
        pod.start()
    cluster.await_ready(*(pod.name for pod in cluster.of(workload)))


def _exported(cluster: Cluster) -> list[float]:
    pages = (namespaces.get(cluster.node, pod.address, 9103, "/metrics") for pod in cluster.of("exporter"))
    return [_total(page[1]) for page in pages if page is not None]


def _total(page: str) -> float:
    lines = (line for line in page.splitlines() if line.startswith("streamgauge_packets_total{"))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_replicas_share_the_work_and_their_sums_are_the_whole(cluster: Cluster) -> None:
    """First: no restart has reset a counter yet."""
    with Traffic(cluster) as traffic:
        eventually_sync(lambda: traffic.sent > 4 * NODES * RATE, within=60)
    _stop(cluster, "collector")
    report = _account_of_all(cluster)

    published = report["ledger"]["published"]
    assert report["nodes"] == [f"node-{number}" for number in range(NODES)]
    assert report["unbalanced"] == []
    assert report["stored"]["packets"] == published > traffic.sent
    assert report["stored"]["rows"] == report["rows"]

    # An exporter counts from its start on; told to read the stream from the beginning, two of them must have it all.
    _stop(cluster, "exporter")
    for pod in cluster.of("exporter"):
        pod.variables = {"STREAMGAUGE_EXPORTER_REPLAY": "true"}
    _start(cluster, "exporter")

    def counted() -> bool:
        shares = _exported(cluster)
        assert (len(shares), sum(shares)) == (2, published), shares
        return all(shares)

    eventually_sync(counted, within=60)
    for pod in cluster.of("exporter"):
        pod.variables = {}
    _start(cluster, "collector")


def test_the_nightly_drill_restores_what_is_stored(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CronJob's own command, with its own keys, on the few objects that there are."""
    monkeypatch.delitem(PROGRAMS, "drill")
    pod = cluster.pods["drill-0"]
    before = len(pod.log())
    pod.start()
    eventually_sync(pod.finished, within=120)
    pod.kill()
    said = pod.log()[before:]

    assert "came back whole" in said, said


def test_the_door_asks_for_the_login_and_leads_to_every_part(cluster: Cluster) -> None:
    words = dict(line.split(": ") for line in (rendering.tree() / "secrets" / "login.txt").read_text().splitlines())
    login = base64.b64encode(f"{words['user']}:{words['password']}".encode()).decode()

    def ask(path: str, *, known: bool = True) -> tuple[int, str]:
        headers = {"Host": "localhost", **({"Authorization": f"Basic {login}"} if known else {})}
        answer = namespaces.get(cluster.node, cluster.pods["nginx-0"].address, 8443, path, tls=True, headers=headers)
        assert answer is not None
        return answer

    for path in ("/", "/grafana/", "/prometheus/-/healthy", "/alertmanager/", "/dashboard/", "/minio/"):
        assert ask(path, known=False)[0] == 401, path
    assert "<html" in ask("/")[1]
    assert json.loads(ask("/grafana/d/x")[1]) == {"path": "/grafana/d/x", "user": "admin"}
    assert json.loads(ask("/dashboard/c")[1])["path"] == "/dashboard/c"
    assert ask("/alertmanager/api/v2/status")[0] == 200

    def targets() -> bool:
        found = json.loads(ask("/prometheus/api/v1/query?query=up")[1])["data"]["result"]
        up = {(sample["metric"]["job"], sample["metric"]["instance"]) for sample in found if sample["value"][1] == "1"}
        expected = {
            (job, f"{job}-{n}") for job, count in (("backup", 3), ("exporter", 2), ("nginx", 2)) for n in range(count)
        }
        expected |= {("collector", f"node-{number}") for number in range(NODES)} | {("prometheus", "127.0.0.1:9090")}
        assert (len(found), up) == (len(expected), expected)
        return True

    eventually_sync(targets, within=60)
    # What Prometheus and the exporter ask the API server, with the tokens that the manifest gives them.
    assert cluster.control is not None
    assert cluster.control.asked() >= {
        "/apis/discovery.k8s.io/v1/namespaces/streamgauge-capture/endpointslices",
        "/apis/discovery.k8s.io/v1/namespaces/streamgauge/endpointslices",
        "/api/v1/pods",
    }


@pytest.mark.parametrize(
    "workload", ["nats", "minio", "backup", "exporter", "prometheus", "alertmanager", "nginx", "collector"]
)
def test_a_rolling_restart_under_load_loses_nothing(cluster: Cluster, workload: str) -> None:
    with Traffic(cluster) as traffic:
        eventually_sync(lambda: traffic.sent > NODES * RATE, within=60)
        cluster.rolling_restart(workload)
    _stop(cluster, "collector")
    report = _account_of_all(cluster)
    _start(cluster, "collector")

    assert report["unbalanced"] == []
    assert report["ledger"]["evicted"] == 0
    assert report["stored"]["packets"] == report["ledger"]["published"]
    assert report["stored"]["rows"] == report["rows"]
    assert {pod.name for pod in cluster.of(workload) if pod.cut_off} == set()
