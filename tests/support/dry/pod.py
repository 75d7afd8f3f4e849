"""One pod: its network, its policies as nftables rules, its container as a process."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.support.dry import control, namespaces, volumes
from tests.support.reachability import Endpoint

if TYPE_CHECKING:
    from tests.support.dry.cluster import Cluster
    from tests.support.rendering import Workload

#: Where a node's own DNS cache listens by convention; the policies let every pod get there.
DNS_ADDRESS: Final = "169.254.20.10"
ROOT: Final = Path(__file__).parents[3]
_CONTAINER: Final = Path(__file__).with_name("container.py")
#: What the images set; machine code of the kernels is made once and kept, as an image brings it.
KERNELS: Final = ROOT / ".stamps" / "pod-kernels"
_IMAGE_ENVIRONMENT: Final = {
    "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "NUMBA_CACHE_DIR": "/tmp/kernels",
}


class Pod:
    """A pod of a workload, with the container that is not a sidecar."""

    def __init__(self, cluster: Cluster, workload: Workload, ordinal: int, address: str) -> None:
        self.cluster = cluster
        self.workload = workload
        self.name = f"{workload.name}-{ordinal}"
        self.on_host = bool(workload.pod.get("hostNetwork"))
        self.ends = workload.kind in ("Job", "CronJob")
        self.node = ordinal if self.on_host else 0
        self.address = cluster.node_address(ordinal) if self.on_host else address
        on_first_node = self.on_host and ordinal == 0
        self.namespace = cluster.node if on_first_node else f"{cluster.prefix}-{self.name}"
        self.spec: dict[str, Any] = workload.pod["containers"][0]
        self.ports = [port["containerPort"] for port in self.spec.get("ports", [])]
        security = workload.pod["securityContext"]
        self.uid, self.gid = security["runAsUser"], security["runAsGroup"]
        self.group = security.get("fsGroup", 0)
        self.folder = cluster.folder / "run" / self.name
        self.restarts = 0
        #: Variables a test sets beside the manifest's.
        self.variables: dict[str, str] = {}
        #: Seconds each stop took, and how many had to be cut off.
        self.stops: list[float] = []
        self.cut_off = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> Endpoint:
        """The pod as policies see it."""
        if self.on_host:
            return Endpoint(self.name, self.address)
        return Endpoint(self.name, self.address, self.workload.namespace, self.workload.labels)

    def make_network(self) -> None:
        """Make the namespace, on the bridge: the pod's own, or that of the node it is on."""
        if self.namespace == self.cluster.node:
            return
        namespaces.run("ip", "netns", "add", self.namespace)
        port = f"p{self.address.replace('.', '')}"[-15:]
        bridge_side = ("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        namespaces.inside(self.cluster.node, *bridge_side)
        namespaces.inside(self.cluster.node, *f"ip link set {port} master br0 up".split())
        for command in ("link set lo up", f"address add {self.address}/24 dev eth0", "link set eth0 up"):
            namespaces.inside(self.namespace, "ip", *command.split())
        namespaces.inside(self.namespace, "ip", "route", "add", "default", "dev", "eth0")

    def enforce_policies(self, others: list[tuple[Endpoint, list[int]]]) -> None:
        """Let through what the policies allow, computed pair by pair, and answers; drop the rest."""
        if self.on_host:
            return
        allow, own = self.cluster.policies.allow, self.endpoint
        rules = []
        for other, ports in others:
            rules += [
                f"add rule inet p out ip daddr {other.address} {protocol} dport {port} accept"
                for port in ports
                for protocol in ("tcp", "udp")
                if allow(own, other, port, protocol.upper())
            ]
            # A kubelet's probes come from the node and pass in every network.
            rules += [
                f"add rule inet p in ip saddr {other.address} tcp dport {port} accept"
                for port in self.ports
                if other.name == "node" or allow(other, own, port)
            ]
        chains = [
            "add table inet p",
            "add chain inet p in { type filter hook input priority 0; policy drop; }",
            "add chain inet p out { type filter hook output priority 0; policy drop; }",
            *(f"add rule inet p {chain} ct state established,related accept" for chain in ("in", "out")),
            'add rule inet p in iifname "lo" accept',
            'add rule inet p out oifname "lo" accept',
        ]
        # Refused at once: a test need not wait for a time-out to see that something is not allowed.
        rules.append("add rule inet p out reject")
        namespaces.inside(self.namespace, "nft", "-f", "-", stdin="\n".join([*chains, *rules]) + "\n")

    def start(self) -> None:
        """Start the container from the manifest."""
        with self._lock:
            self._wanted = True
            shutil.rmtree(self.folder, ignore_errors=True)
            self._launch()

    def stop(self) -> None:
        """Ask it to end and wait as long as the manifest allows."""
        with self._lock:
            self._wanted = False
            process, begun = self._process, time.monotonic()
            if process is None or process.poll() is not None:
                return
            process.terminate()
            try:
                process.wait(self.workload.pod.get("terminationGracePeriodSeconds", 30))
            except subprocess.TimeoutExpired:
                self.cut_off += 1
                process.kill()
                process.wait()
            self.stops.append(time.monotonic() - begun)

    def kill(self) -> None:
        """End it at once, for good."""
        with self._lock:
            self._wanted = False
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()

    def restart_if_ended(self) -> None:
        """Start the container again if it has ended by itself, as its restart policy says."""
        with self._lock:
            ended = None if self._process is None else self._process.poll()
            if not self._wanted or ended is None or (self.ends and ended == 0):
                return
            self.restarts += 1
            shutil.rmtree(self.folder / "root", ignore_errors=True)
            self._launch()

    def finished(self) -> bool:
        """Return whether a pod that ends by itself has done so well."""
        return self._process is not None and self._process.poll() == 0

    def ready(self) -> bool:
        """Ask its readiness probe, as the kubelet does; of Silo's stand-in only whether it answers."""
        if self._process is None or self._process.poll() is not None:
            return False
        probe = self.spec["readinessProbe"]["httpGet"]
        port = next(entry["containerPort"] for entry in self.spec["ports"] if entry["name"] == probe["port"])
        answer = namespaces.get(
            self.cluster.node, self.address, port, probe["path"], tls=probe.get("scheme") == "HTTPS"
        )
        if answer is not None and self.spec["name"] == "minio":
            return True
        return answer is not None and 200 <= answer[0] < 400

    def log(self) -> str:
        """Return what the container has written."""
        path = self.cluster.folder / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def last_words(self) -> str:
        """Return the end of its log."""
        return " | ".join(self.log().splitlines()[-2:])[-600:]

    def _launch(self) -> None:
        spec = {
            "root": str(self.folder / "root"),
            "mounts": self._mounts(),
            "read_only": self.spec["securityContext"]["readOnlyRootFilesystem"],
            "hostname": f"node-{self.node}" if self.on_host else self.name,
            "directory": str(ROOT),
            "uid": self.uid,
            "gid": self.gid,
            "group": self.group,
            "capabilities": self.spec["securityContext"]["capabilities"].get("add", []),
            "command": self._command(),
            "environment": self._environment(),
        }
        path = self.folder / "container.json"
        path.write_text(json.dumps(spec))
        log_path = self.cluster.folder / f"{self.name}.log"
        with log_path.open("ab") as log:
            # A runtime gives the pipe of the log to the container's user: nginx opens /dev/stderr.
            log_path.chmod(0o666)
            self._process = subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.namespace, "unshare", "--mount", "--uts", "--propagation", "private"),
                    *("/usr/bin/python3", str(_CONTAINER), str(path)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _command(self) -> list[str]:
        """Return the manifest's command; where it names arguments only, the image's program comes first."""
        if self.spec["name"] in self.cluster.programs:
            words = self.cluster.programs[self.spec["name"]](self)
        else:
            words = [*self.spec["command"], *self.spec.get("args", [])]
        return [volumes.expand(word, self._environment()) for word in words]

    def _environment(self) -> dict[str, str]:
        fields = {
            "metadata.name": self.name,
            "spec.nodeName": f"node-{self.node}",
            "status.hostIP": self.cluster.node_address(self.node),
            "status.podIP": self.address,
        }
        own = self.cluster.configuration.environment(self.spec, self.workload.namespace, fields)
        assert self.cluster.control is not None
        return {**_IMAGE_ENVIRONMENT, **self.cluster.control.environment, **own, **self.variables}

    def _mounts(self) -> list[tuple[str, str, bool]]:
        """Make the volumes and return (source, target, writable), outer mounts first."""
        found = [(str(self._resolver()), "/etc/resolv.conf", False)]
        claims = {claim["metadata"]["name"] for claim in self.workload.spec.get("volumeClaimTemplates", [])}
        for mount in self.spec.get("volumeMounts", []):
            name = mount["name"]
            volume = next((entry for entry in self.workload.pod.get("volumes", []) if entry["name"] == name), {})
            if name in claims:
                folder = self.cluster.folder / "claims" / self.name / name
                volumes.empty(folder, self.group)
            elif "hostPath" in volume:
                folder = self.cluster.folder / f"node-{self.node}" / volume["hostPath"]["path"].lstrip("/")
                volumes.empty(folder, 0)
            elif "emptyDir" in volume:
                folder = self.folder / "volumes" / name
                volumes.empty(folder, self.group)
            else:
                folder = self.folder / "volumes" / name
                if not folder.exists():
                    self.cluster.configuration.fill(volume, self.workload.namespace, folder, self.group)
            found.append((str(folder), mount["mountPath"], not mount.get("readOnly", False)))
            if mount["mountPath"] == "/tmp" and self.spec["image"].startswith("streamgauge/"):
                KERNELS.mkdir(parents=True, exist_ok=True)
                KERNELS.chmod(0o1777)
                found.append((str(KERNELS), "/tmp/kernels", True))
        if self.workload.pod.get("automountServiceAccountToken"):
            assert self.cluster.control is not None
            self.cluster.control.write_token(self.folder / "volumes" / "token", self.workload.namespace)
            found.append((str(self.folder / "volumes" / "token"), control.TOKEN_FOLDER, False))
        # A kubelet makes the places of mounts within a volume before it is mounted read-only.
        for outer, outer_target, _ in found:
            for _inner, target, _ in found:
                if target.startswith(f"{outer_target}/"):
                    (Path(outer) / Path(target).relative_to(outer_target)).mkdir(parents=True, exist_ok=True)
        return sorted(found, key=lambda entry: entry[1].count("/"))

    def _resolver(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "resolv.conf"
        search = f"{self.workload.namespace}.svc.cluster.local svc.cluster.local cluster.local"
        path.write_text(f"nameserver {DNS_ADDRESS}\nsearch {search}\noptions ndots:5\n")
        return path
