"""A real Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager; no node, so nothing runs.

Built from the released Go modules by ``tests/deploy/k8s/controlplane``: five minutes once, then from Go's cache.
At a desk it is used when ``make controlplane`` has built it; CI builds it.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from streamgauge.embedded import free_ports
from tests.support import require
from tests.support.waiting import eventually_sync

ROOT: Final = Path(__file__).parents[2]
_SOURCE: Final = ROOT / "tests" / "deploy" / "k8s" / "controlplane"
_PROGRAM: Final = ROOT / ".stamps" / "controlplane"


@functools.cache
def program() -> Path:
    """Return the control plane's program, built if this is CI; else it has to be there."""
    if os.environ.get("CI") == "true":
        require.program("go")
        subprocess.run([str(_SOURCE / "build.sh"), str(_PROGRAM)], check=True, timeout=1500)
    elif not _PROGRAM.exists():
        require.missing("the control plane (`make controlplane` builds it)")
    return _PROGRAM


class ControlPlane:
    """A running control plane with a fresh store. ``kubectl`` talks to it as its administrator."""

    def __init__(self) -> None:
        self._program = str(program())
        self.folder = Path(tempfile.mkdtemp(prefix="sg-cp-"))
        (self._port,) = free_ports(1)
        self._token = secrets.token_hex(16)
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl against it."""
        run = subprocess.run(
            [require.program("kubectl"), "--kubeconfig", str(self.folder / "kubeconfig"), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={**os.environ, "HOME": str(self.folder)},
        )
        assert not check or run.returncode == 0, f"kubectl {' '.join(arguments)}: {run.stderr}"
        return run

    def get(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """Return all objects of a kind."""
        return list(json.loads(self.kubectl("get", kind, "-o", "json", *arguments).stdout)["items"])

    def add_node(self, name: str) -> None:
        """Register a node; nothing runs on it, but DaemonSets make a pod for it."""
        self.kubectl(
            "apply", "-f", "-", stdin=yaml.safe_dump({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        )

    def _start(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "accounts.key").write_bytes(key)
        (self.folder / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n')
        self._write_kubeconfig()
        etcd = self._spawn("etcd", "--data-dir", str(self.folder / "etcd"), pipe=True)
        assert etcd.stdout is not None
        address = etcd.stdout.readline().strip()
        accounts = str(self.folder / "accounts.key")
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://{address}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
        )
        eventually_sync(self._ready, within=60)
        self._spawn(
            "kube-controller-manager",
            f"--kubeconfig={self.folder / 'kubeconfig'}",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--leader-elect=false",
            f"--service-account-private-key-file={accounts}",
            f"--root-ca-file={self.folder / 'certificates' / 'apiserver.crt'}",
        )

    def _ready(self) -> bool:
        assert all(process.poll() is None for process in self._processes), self._log()
        return self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok"

    def _spawn(self, *arguments: str, pipe: bool = False) -> subprocess.Popen[str]:
        with (self.folder / f"{arguments[0]}.log").open("w") as log:
            process = subprocess.Popen(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _log(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))

    def _write_kubeconfig(self) -> None:
        server = f"https://127.0.0.1:{self._port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            # Its certificate is made at its start; it is our own process on loopback.
            "clusters": [{"name": "test", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
        }
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(config))
