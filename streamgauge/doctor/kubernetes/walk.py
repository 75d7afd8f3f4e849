"""The hops of a cluster in the order of a packet's way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import orjson

from streamgauge.doctor import interface, pages, storage, stream, words
from streamgauge.doctor.kubernetes import network, pods
from streamgauge.doctor.kubernetes.kubectl import Kubectl, RefusedError, read
from streamgauge.doctor.run import Walk
from streamgauge.doctor.words import Finding, State, broken, ok, unchecked, warning

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamgauge.doctor.kubernetes.kubectl import Namespace, Object

CLUSTER: Final = "cluster"
_BEHIND: Final = "behind the broken hop; --all looks at it"
#: How the walk goes on where the API server's proxy does not reach.
_INSIDE: Final = "look at it through the door: `streamgauge doctor --door URL`"


def examine(*, context: str | None, namespace: str, everything: bool = False) -> Walk:
    """Look at a cluster, as far as the first broken hop unless ``everything`` is asked for.

    Raises:
        ConfigurationError: kubectl is not installed.

    """
    kubectl = Kubectl(context)
    found = Walk()
    try:
        ours, capture = read(kubectl, namespace), read(kubectl, f"{namespace}-capture")
        nodes = _nodes(kubectl)
    except RefusedError as error:
        found.findings.append(
            broken(CLUSTER, f"the cluster cannot be asked: {error}", "`kubectl config get-contexts`; --context NAME")
        )
        return found
    if ours is None or capture is None:
        missing = namespace if ours is None else f"{namespace}-capture"
        found.findings.append(
            broken(CLUSTER, f"no namespace {missing}", "`make deploy OVERLAY=<yours>`, or --namespace NAME")
        )
        return found
    found.findings.append(ok(CLUSTER, _described(ours, capture, nodes)))
    for hop, look in _Cluster(kubectl, ours, capture, nodes).hops():
        # Behind a consumer that is stuck, the storage may be why.
        if not everything and found.first_broken is not None and not found.findings[-1].look_on:
            found.findings.append(unchecked(hop, _BEHIND))
        else:
            found.findings.append(look())
    return found


def _nodes(kubectl: Kubectl) -> list[Object] | None:
    """Return the nodes; None if we may not see them."""
    try:
        return kubectl.get("nodes")
    except RefusedError:
        return None


def _described(ours: Namespace, capture: Namespace, nodes: list[Object] | None) -> str:
    number = len(ours.all("Pod")) + len(capture.all("Pod"))
    seen = "nodes may not be listed" if nodes is None else words.count(len(nodes), "node")
    return f"{seen}, {words.count(number, 'pod')} in {ours.name} and {capture.name}"


class _Cluster:
    """One look at a cluster; pages are read once."""

    def __init__(self, kubectl: Kubectl, ours: Namespace, capture: Namespace, nodes: list[Object] | None) -> None:
        self._kubectl = kubectl
        self._ours = ours
        self._capture = capture
        self._nodes = nodes
        self._pages: dict[str, str | RefusedError] = {}

    def hops(self) -> tuple[tuple[str, Callable[[], Finding]], ...]:
        return (
            (interface.HOP, self._look_at_capture),
            (stream.NATS, self._look_at_nats),
            (stream.STREAM, self._look_at_stream),
            (stream.BACKUP, self._look_at_backup),
            (storage.HOP, self._look_at_storage),
            (pages.EXPORTER, self._look_at_exporter),
            (pages.PROMETHEUS, self._look_at_prometheus),
            (pages.DOOR, self._look_at_door),
        )

    def _page(self, service: str, path: str) -> str:
        """Return a page of a Service through the API server's proxy.

        Raises:
            RefusedError: the API server does not reach it, or does not let us.

        """
        key = f"/api/v1/namespaces/{self._ours.name}/services/{service}/proxy/{path}"
        if key not in self._pages:
            try:
                self._pages[key] = self._kubectl.raw(key)
            except RefusedError as error:
                self._pages[key] = error
        page = self._pages[key]
        if isinstance(page, RefusedError):
            raise page
        return page

    def _figures(self) -> dict[str, list[tuple[dict[str, str], float]]] | None:
        """Return the exporter's metrics; None when its page cannot be had."""
        try:
            return pages.samples(self._page("exporter:metrics", "metrics"))
        except RefusedError:
            return None

    def _look_at_capture(self) -> Finding:
        running = pods.judge(interface.HOP, self._capture, "DaemonSet", "collector")
        figures = self._figures()
        if running.state is not State.OK or figures is None:
            return running
        ages = {labels.get("node", "?"): age for labels, age in figures.get("streamgauge_ledger_age_seconds", [])}
        silent = [node for node, age in ages.items() if age > words.SILENT]
        if silent:
            return warning(
                interface.HOP,
                f"{running.evidence}; no word from {words.some(silent)} for {words.age(max(ages.values()))}",
                f"`kubectl logs -n {self._capture.name} ds/collector`",
            )
        return ok(interface.HOP, f"{running.evidence}; {words.count(len(ages), 'node')} reporting") if ages else running

    def _look_at_nats(self) -> Finding:
        running = pods.judge(stream.NATS, self._ours, "StatefulSet", "nats")
        if running.state is not State.OK:
            return running
        leads_nowhere = network.without_endpoints(stream.NATS, self._ours, "nats")
        return leads_nowhere or network.kept_out(stream.NATS, self._ours, self._nodes or []) or running

    def _look_at_stream(self) -> Finding:
        failed = self._failed_job(stream.STREAM, "bootstrap")
        if failed is not None:
            return failed
        figures = self._figures()
        if figures is None:
            return unchecked(stream.STREAM, "the exporter's page tells, and cannot be read from here", _INSIDE)
        messages = _total(figures, "streamgauge_stream_messages")
        if messages is None:
            return unchecked(stream.STREAM, "the exporter does not tell of the stream")
        newest = _total(figures, "streamgauge_stream_newest_seconds") or 0.0
        told = f"{words.count(int(messages), 'message')}, newest {words.age(newest)} old"
        if newest > words.SILENT:
            return warning(stream.STREAM, told, f"`kubectl logs -n {self._capture.name} ds/collector`")
        return ok(stream.STREAM, told)

    def _failed_job(self, hop: str, name: str) -> Finding | None:
        job = self._ours.one("Job", name)
        for condition in (job or {}).get("status", {}).get("conditions") or ():
            # The second stands there as soon as it is decided, while its pods are still ending.
            if condition["type"] in ("Failed", "FailureTarget") and condition["status"] == "True":
                return broken(
                    hop,
                    f"Job {name} failed: {condition.get('reason', '')}: {condition.get('message', '')}",
                    f"`kubectl logs -n {self._ours.name} job/{name}`, mend it, then `make deploy OVERLAY=<yours>`",
                )
        return None

    def _look_at_backup(self) -> Finding:
        running = pods.judge(stream.BACKUP, self._ours, "StatefulSet", "backup")
        figures = self._figures()
        if running.state is State.BROKEN or figures is None:
            return running
        ages = [age for _, age in figures.get("streamgauge_consumer_oldest_unacknowledged_seconds", [])]
        if ages and words.stored_too_late(max(ages)):
            pending = int(_total(figures, "streamgauge_consumer_pending_messages") or 0)
            held = int(_total(figures, "streamgauge_consumer_unacknowledged_messages") or 0)
            return broken(
                stream.BACKUP,
                f"consumer stuck: {words.waiting(pending + held, max(ages))}",
                f"the next hop, or `kubectl logs -n {self._ours.name} backup-0`",
                look_on=True,
            )
        return running

    def _look_at_storage(self) -> Finding:
        if self._ours.one("StatefulSet", "minio") is None:
            return unchecked(
                storage.HOP, "it is outside of the cluster", "from a shell with its keys: `streamgauge doctor`"
            )
        running = pods.judge(storage.HOP, self._ours, "StatefulSet", "minio")
        if running.state is not State.OK:
            return running
        failed = self._failed_job(storage.HOP, "minio-setup")
        return failed or network.without_endpoints(storage.HOP, self._ours, "minio") or running

    def _look_at_exporter(self) -> Finding:
        running = pods.judge(pages.EXPORTER, self._ours, "StatefulSet", "exporter")
        if running.state is not State.OK:
            return running
        try:
            page = self._page("exporter:metrics", "metrics")
        except RefusedError as error:
            return ok(pages.EXPORTER, f"{running.evidence}; its page cannot be read from here ({error})")
        return pages.judge_exporter("exporter:metrics", 200, page)

    def _look_at_prometheus(self) -> Finding:
        running = pods.judge(pages.PROMETHEUS, self._ours, "StatefulSet", "prometheus")
        if running.state is not State.OK:
            return running
        try:
            page = self._page("prometheus:http", "prometheus/api/v1/targets?state=active")
            targets = orjson.loads(page)["data"]["activeTargets"]
        except (RefusedError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            return ok(pages.PROMETHEUS, f"{running.evidence}; its targets cannot be read from here ({error})")
        return pages.judge_targets(targets, url="https://<door>/prometheus", now=time.time())

    def _look_at_door(self) -> Finding:
        running = pods.judge(pages.DOOR, self._ours, "Deployment", "nginx")
        if running.state is not State.OK:
            return running
        return network.without_endpoints(pages.DOOR, self._ours, "nginx") or running


def _total(figures: dict[str, list[tuple[dict[str, str], float]]], name: str) -> float | None:
    return sum(value for _, value in figures[name]) if name in figures else None
