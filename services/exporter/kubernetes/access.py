"""How the Kubernetes API is reached: from a pod by its service account, from elsewhere by a kubeconfig."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
import yaml

from streamgauge.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where a pod finds its token and the API's certificate authority.
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

#: Seconds a kubeconfig's program may take, and for which its token is used if it does not say how long.
_PROGRAM_TIMEOUT: Final = 30
_TOKEN_LIFE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is and how to prove who we are."""

    server: str
    tls: ssl.SSLContext | None
    #: Returns the bearer token, read anew each time since it changes; None: the certificate or nobody. May block.
    token: Callable[[], str | None]


def is_in_cluster(folder: Path = SERVICE_ACCOUNT) -> bool:
    """Return whether this is a pod with a service account's token."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and (folder / "token").exists()


def in_cluster(folder: Path = SERVICE_ACCOUNT) -> Access:
    """Return a pod's access.

    Raises:
        ConfigurationError: this is no pod with a service account's token.

    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not is_in_cluster(folder):
        raise ConfigurationError(
            f"STREAMGAUGE_EXPORTER_IDENTITY=kubernetes: this is no pod with a token in {folder} "
            "(automountServiceAccountToken); set STREAMGAUGE_EXPORTER_KUBECONFIG, or IDENTITY=none"
        )
    try:
        tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{folder / 'ca.crt'}: {error}") from error
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(server, tls, lambda: (folder / "token").read_text(encoding="utf-8").strip())


def from_kubeconfig(path: Path) -> Access:
    """Return the access of a kubeconfig's current context.

    Raises:
        ConfigurationError: the file cannot be read, or lacks what is needed.

    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(content, "contexts", content["current-context"])["context"]
        cluster = _named(content, "clusters", context["cluster"])["cluster"]
        user = _named(content, "users", context["user"])["user"] or {}
        server = str(cluster["server"]).rstrip("/")
        tls = _tls(path.parent, cluster, user) if server.startswith("https:") else None
    except OSError as error:
        raise ConfigurationError(f"STREAMGAUGE_EXPORTER_KUBECONFIG={path}: {error.strerror or error}") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise ConfigurationError(f"STREAMGAUGE_EXPORTER_KUBECONFIG={path}: {reason}") from error
    if not user.keys() & {"token", "tokenFile", "client-certificate", "client-certificate-data", "exec"}:
        raise ConfigurationError(
            f"STREAMGAUGE_EXPORTER_KUBECONFIG={path}: user {context['user']} has neither token, certificate nor exec"
        )
    return Access(server, tls, _token(path.parent, user))


def _named(content: Any, kind: str, name: str) -> Any:
    for entry in content.get(kind) or ():
        if entry["name"] == name:
            return entry
    raise ValueError(f"{kind} has no {name}")


def _tls(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    authority = _bytes(folder, cluster, "certificate-authority")
    tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    certificate, key = _bytes(folder, user, "client-certificate"), _bytes(folder, user, "client-key")
    if certificate and key:
        # The ssl module reads certificates from files only.
        with tempfile.NamedTemporaryFile() as both:
            both.write(certificate + b"\n" + key)
            both.flush()
            tls.load_cert_chain(both.name)
    return tls


def _bytes(folder: Path, entry: dict[str, Any], name: str) -> bytes | None:
    """Return what stands in ``<name>-data`` or the file ``<name>``; relative names are seen from the kubeconfig."""
    if entry.get(f"{name}-data"):
        return base64.b64decode(entry[f"{name}-data"])
    return (folder / entry[name]).read_bytes() if entry.get(name) else None


def _token(folder: Path, user: dict[str, Any]) -> Callable[[], str | None]:
    if user.get("exec"):
        return _Program(user["exec"]).token
    if user.get("tokenFile"):
        return lambda: (folder / user["tokenFile"]).read_text(encoding="utf-8").strip()
    return lambda: user.get("token")


class _Program:
    """A program that a kubeconfig names to get tokens from, as cloud providers do (client.authentication.k8s.io)."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self._command = [entry["command"], *(entry.get("args") or ())]
        self._environment = {each["name"]: each["value"] for each in entry.get("env") or ()}
        self._request = orjson.dumps(
            {"apiVersion": entry.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
        ).decode()
        self._token = ""
        self._expires = 0.0

    def token(self) -> str:
        if time.time() >= self._expires - 10:
            environment = {**os.environ, **self._environment, "KUBERNETES_EXEC_INFO": self._request}
            try:
                run = subprocess.run(
                    self._command, capture_output=True, check=True, timeout=_PROGRAM_TIMEOUT, env=environment
                )
                status = orjson.loads(run.stdout)["status"]
                self._token = status["token"]
            except (OSError, subprocess.SubprocessError, orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise PermissionError(f"{self._command[0]} gave no token: {error}") from error
            until = status.get("expirationTimestamp")
            self._expires = datetime.fromisoformat(until).timestamp() if until else time.time() + _TOKEN_LIFE
        return self._token
