"""Asking a cluster by ``kubectl``: it knows every way to log in that a kubeconfig can name, so nothing here does."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from streamgauge.errors import ConfigurationError, StreamgaugeError

#: Seconds for one question.
_TIMEOUT: Final = 15

Object = dict[str, Any]

_KINDS: Final = (
    *("pods", "daemonsets", "statefulsets", "deployments", "jobs", "persistentvolumeclaims", "services"),
    *("endpointslices", "events", "networkpolicies", "configmaps"),
)


class RefusedError(StreamgaugeError):
    """The API server does not answer, or refuses; says what kubectl said."""


class Kubectl:
    """One context of the kubeconfig."""

    def __init__(self, context: str | None = None) -> None:
        """Find the program.

        Raises:
            ConfigurationError: it is not installed.

        """
        program = shutil.which("kubectl")
        if program is None:
            raise ConfigurationError("kubectl is not on PATH; install it: https://kubernetes.io/docs/tasks/tools/")
        self._command = [program, *(["--context", context] if context else []), f"--request-timeout={_TIMEOUT}s"]

    def run(self, *arguments: str) -> str:
        """Return what kubectl prints.

        Raises:
            RefusedError: it ended with an error.

        """
        try:
            ran = subprocess.run(
                [*self._command, *arguments],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=2 * _TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RefusedError(f"kubectl {arguments[0]}: no answer within {2 * _TIMEOUT} s") from error
        if ran.returncode:
            lines = [line for line in ran.stderr.splitlines() if line.strip()]
            raise RefusedError(lines[-1].strip() if lines else f"kubectl {arguments[0]} failed")
        return ran.stdout

    def get(self, kinds: str, *arguments: str) -> list[Object]:
        """Return objects of one or several kinds."""
        items: list[Object] = orjson.loads(self.run("get", kinds, "-o", "json", *arguments))["items"]
        return items

    def raw(self, path: str) -> str:
        """Return what is under a path of the API server, such as a page behind its proxy."""
        return self.run("get", "--raw", path)


@dataclass(slots=True)
class Namespace:
    """The objects of one namespace, by kind."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    objects: dict[str, list[Object]] = field(default_factory=dict)
    #: Names of its Secrets; None if we may not list them.
    secrets: frozenset[str] | None = None

    def all(self, kind: str) -> list[Object]:
        """Return the objects of a kind as it stands in ``kind``, such as ``Pod``."""
        return self.objects.get(kind, [])

    def one(self, kind: str, name: str) -> Object | None:
        """Return one object, None if it is not there."""
        return next((each for each in self.all(kind) if each["metadata"]["name"] == name), None)

    def pods(self, name: str) -> list[Object]:
        """Return the pods of a part of ours, those that are leaving left out."""
        return [
            each
            for each in self.all("Pod")
            if (each["metadata"].get("labels") or {}).get("app.kubernetes.io/name") == name
            and "deletionTimestamp" not in each["metadata"]
        ]

    def events(self, kind: str, name: str) -> list[Object]:
        """Return what was told about an object lately, newest last."""
        about = [
            each
            for each in self.all("Event")
            if each["involvedObject"].get("kind") == kind and each["involvedObject"].get("name") == name
        ]
        return sorted(about, key=lambda each: each.get("lastTimestamp") or each.get("eventTime") or "")


def read(kubectl: Kubectl, name: str) -> Namespace | None:
    """Return a namespace with its objects; None if there is none.

    Raises:
        RefusedError: the API server does not answer, or does not let us look.

    """
    found = [each for each in kubectl.get("namespaces") if each["metadata"]["name"] == name]
    if not found:
        return None
    namespace = Namespace(name, found[0]["metadata"].get("labels") or {})
    for item in kubectl.get(",".join(_KINDS), "-n", name):
        namespace.objects.setdefault(item["kind"], []).append(item)
    try:
        # Names only: what is in them is nothing we need to see.
        listed = kubectl.run("get", "secrets", "-n", name, "-o", "name")
    except RefusedError:
        return namespace
    namespace.secrets = frozenset(line.partition("/")[2] for line in listed.split())
    return namespace
