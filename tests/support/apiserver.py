"""A Kubernetes API server for tests: lists in pages, watches as JSON lines, bookmarks, and every way in which they end.

It speaks what https://kubernetes.io/docs/reference/using-api/api-concepts/ describes of lists and watches: one number
for all versions, ``continue`` tokens bound to a version, ``410 Gone`` once that version is compacted, as a status or as
an ``ERROR`` event, lines that arrive in pieces.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import orjson
from aiohttp import web

from streamgauge.secrets.authority import make_authority, make_certificate

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {"pods": "Pod", "services": "Service", "nodes": "Node", "endpointslices": "EndpointSlice"}
#: API group and version of what is not in the core.
GROUPS = {"endpointslices": "discovery.k8s.io/v1"}
EXPIRED = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "Expired",
    "code": 410,
    "message": "too old resource version",
}


class Change(NamedTuple):
    version: int
    resource: str
    kind: str
    thing: dict[str, Any]


class ApiServer:
    """Started and stopped by the test, in its event loop."""

    def __init__(self, folder: Path, *, token: str = "t0ken", listener: socket.socket | None = None) -> None:
        """``listener``: a bound socket to serve on in place of a free port of loopback."""
        self.folder = folder
        self.token = token
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.address, self.port = self._listener.getsockname()
        self.version = 100
        self.compacted = 0
        #: Whether a watch from a compacted version is refused by its status or by an event.
        self.gone_by_status = False
        #: Status with which the next requests are answered.
        self.refusing: list[int] = []
        #: Path and query of each request.
        self.requests: list[tuple[str, dict[str, str]]] = []
        #: Versions after which the next pages of a list are gone.
        self.expire_pages = 0
        self.watching = 0
        self._objects: dict[str, dict[str, dict[str, Any]]] = {resource: {} for resource in KINDS}
        self._log: list[Change] = []
        self._changed = asyncio.Event()
        self._cut = 0
        self._cut_in_line = False
        self._end = 0
        self._uids = itertools.count(1)

    async def __aenter__(self) -> Self:
        authority = make_authority()
        pair = make_certificate(authority, [self.address])
        (self.folder / "ca.crt").write_bytes(authority.certificate)
        (self.folder / "both.pem").write_bytes(pair.certificate + pair.key)
        (self.folder / "token").write_text(self.token + "\n")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self.folder / "both.pem")
        application = web.Application()
        for prefix in ("/api/v1", "/apis/discovery.k8s.io/v1"):
            application.router.add_get(f"{prefix}/{{resource}}", self._answer)
            application.router.add_get(f"{prefix}/namespaces/{{namespace}}/{{resource}}", self._answer)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener, ssl_context=tls).start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.cut()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    def kubeconfig(self) -> Path:
        """Write a kubeconfig with the token in a file; return its path."""
        path = self.folder / "kubeconfig"
        path.write_bytes(
            orjson.dumps(
                {
                    "current-context": "test",
                    "contexts": [{"name": "test", "context": {"cluster": "fake", "user": "exporter"}}],
                    "clusters": [{"name": "fake", "cluster": {"server": self.url, "certificate-authority": "ca.crt"}}],
                    "users": [{"name": "exporter", "user": {"tokenFile": "token"}}],
                }
            )
        )
        return path

    # --- what the test does to the cluster ---------------------------------------------------------------------------

    def put(self, resource: str, thing: dict[str, Any]) -> dict[str, Any]:
        """Create or replace an object; return it as it is stored."""
        thing = copy.deepcopy(thing)
        metadata = thing["metadata"]
        name = f"{metadata.get('namespace', '')}/{metadata['name']}"
        before = self._objects[resource].get(name)
        self.version += 1
        metadata["uid"] = before["metadata"]["uid"] if before else metadata.get("uid") or f"uid-{next(self._uids)}"
        metadata.setdefault("creationTimestamp", "2026-11-25T10:00:00Z")
        metadata["resourceVersion"] = str(self.version)
        self._objects[resource][name] = thing
        self._note(resource, "MODIFIED" if before else "ADDED", thing)
        return copy.deepcopy(thing)

    def delete(self, resource: str, thing: dict[str, Any]) -> None:
        """Delete an object."""
        metadata = thing["metadata"]
        gone = self._objects[resource].pop(f"{metadata.get('namespace', '')}/{metadata['name']}")
        self.version += 1
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._note(resource, "DELETED", gone)

    def bookmark(self) -> None:
        """Let time go by elsewhere in the cluster, and tell all watches the version."""
        self.version += 1
        for resource in KINDS:
            self._note(resource, "BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def compact(self) -> None:
        """Forget all versions up to now."""
        self.compacted = self.version
        self._log.clear()

    def fail_watches(self, status: dict[str, Any] = EXPIRED) -> None:
        """Send all watches an ``ERROR`` event."""
        for resource in KINDS:
            self._note(resource, "ERROR", status)

    def cut(self, *, in_line: bool = False) -> None:
        """Break all watches off, in the middle of a line if asked."""
        self._cut += 1
        self._cut_in_line = in_line
        self._wake()

    def end_watches(self) -> None:
        """End all watches in order, as after ``timeoutSeconds``."""
        self._end += 1
        self._wake()

    def queries(self, resource: str, *, watch: bool) -> list[dict[str, str]]:
        """Return the queries of lists or watches so far."""
        return [query for path, query in self.requests if path.endswith(f"/{resource}") and ("watch" in query) == watch]

    def _note(self, resource: str, kind: str, thing: dict[str, Any]) -> None:
        self._log.append(Change(self.version, resource, kind, {**_type(resource), **copy.deepcopy(thing)}))
        self._wake()

    def _things(self, request: web.Request) -> list[dict[str, Any]]:
        """Return the objects that a path names: all of a resource, or those of a namespace."""
        objects = self._objects[request.match_info["resource"]].values()
        return [thing for thing in objects if _is_asked_for(request, thing)]

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # --- what it answers ---------------------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.query)))
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status", "code": 401, "message": "Unauthorized"}, status=401)
        if self.refusing:
            status = self.refusing.pop(0)
            return web.json_response(
                {"kind": "Status", "code": status, "message": f"told to answer {status}"}, status=status
            )
        resource = request.match_info["resource"]
        if request.query.get("watch") == "true":
            return await self._watch(request, resource)
        return self._list(request, resource)

    def _list(self, request: web.Request, resource: str) -> web.Response:
        limit = int(request.query.get("limit", 0))
        start, version = 0, self.version
        if "continue" in request.query:
            start, version = orjson.loads(base64.b64decode(request.query["continue"]))
            if version < self.compacted or self.expire_pages > 0:
                self.expire_pages -= 1
                return web.json_response(EXPIRED, status=410)
        things = self._things(request)
        page = things[start : start + limit] if limit else things
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if limit and start + limit < len(things):
            metadata["continue"] = base64.b64encode(orjson.dumps([start + limit, version])).decode()
        # As in a real list, the items do not say their kind.
        kind = _type(resource)
        return web.json_response({**kind, "kind": f"{kind['kind']}List", "metadata": metadata, "items": page})

    async def _watch(self, request: web.Request, resource: str) -> web.StreamResponse:
        # A watch may begin with what there is, in place of a list.
        initial = self._things(request) if request.query.get("sendInitialEvents") == "true" else None
        since = self.version if initial is not None else int(request.query["resourceVersion"])
        if since < self.compacted and self.gone_by_status:
            return web.json_response(EXPIRED, status=410)
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        if since < self.compacted:
            await answer.write(_line("ERROR", EXPIRED))
            return answer
        cut, end = self._cut, self._end
        position = next((number for number, change in enumerate(self._log) if change.version > since), len(self._log))
        log = self._log
        if initial is not None:
            await self._write_initial(answer, resource, initial, since)
        self.watching += 1
        try:
            while True:
                changed = self._changed
                while position < len(log):
                    change = log[position]
                    position += 1
                    if change.resource == resource and _is_asked_for(request, change.thing):
                        line = _line(change.kind, change.thing)
                        # A line comes in pieces that know nothing of its end.
                        await answer.write(line[: len(line) // 3])
                        await answer.write(line[len(line) // 3 :])
                        if change.kind == "ERROR":
                            return answer
                if self._cut != cut:
                    if self._cut_in_line:
                        await answer.write(b'{"type":"MODIFIED","object":{"metadata":{"na')
                    assert request.transport is not None
                    request.transport.abort()
                    return answer
                if self._end != end:
                    return answer
                await changed.wait()
        finally:
            self.watching -= 1

    async def _write_initial(
        self, answer: web.StreamResponse, resource: str, things: list[dict[str, Any]], version: int
    ) -> None:
        for thing in things:
            await answer.write(_line("ADDED", {**_type(resource), **thing}))
        end = {"resourceVersion": str(version), "annotations": {"k8s.io/initial-events-end": "true"}}
        await answer.write(_line("BOOKMARK", {**_type(resource), "metadata": end}))


def _type(resource: str) -> dict[str, Any]:
    return {"kind": KINDS[resource], "apiVersion": GROUPS.get(resource, "v1")}


def _is_asked_for(request: web.Request, thing: dict[str, Any]) -> bool:
    """Return whether an object is in the namespace of a path; a bookmark, which is in none, always is."""
    own = thing.get("metadata", {}).get("namespace")
    return own is None or request.match_info.get("namespace", own) == own


def _line(kind: str, thing: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "object": thing}) + b"\n"


# --- objects ---------------------------------------------------------------------------------------------------------


def pod(
    name: str, ip: str | None = None, *, node: str = "node-a", owner: tuple[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """Return a pod; ``owner`` is (kind, name) of its controller. More: labels, namespace, phase, spec, status."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": more.pop("namespace", "shop"),
        "labels": more.pop("labels", {}),
    }
    if owner is not None:
        metadata["ownerReferences"] = [
            {"kind": "Extra", "name": "other", "uid": "x"},
            {"kind": owner[0], "name": owner[1], "uid": "y", "controller": True},
        ]
    status: dict[str, Any] = {"phase": more.pop("phase", "Running"), **more.pop("status", {})}
    if ip is not None:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    return {"metadata": metadata, "spec": {"nodeName": node, **more.pop("spec", {})}, "status": status, **more}


def deployed(workload: str, ip: str, *, number: int = 1, template: str = "6d5f", **more: Any) -> dict[str, Any]:
    """Return a pod of a Deployment."""
    return pod(
        f"{workload}-{template}-{number}",
        ip,
        owner=("ReplicaSet", f"{workload}-{template}"),
        labels={"pod-template-hash": template},
        **more,
    )


def service(name: str, *ips: str) -> dict[str, Any]:
    """Return a service with these addresses of its own."""
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"clusterIP": ips[0], "clusterIPs": list(ips)}}


def node(name: str, *ips: str, **spec: Any) -> dict[str, Any]:
    """Return a node with these addresses."""
    addresses = [{"type": "Hostname", "address": name}, *({"type": "InternalIP", "address": ip} for ip in ips)]
    return {"metadata": {"name": name}, "spec": spec, "status": {"addresses": addresses}}
