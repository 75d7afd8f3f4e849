"""What keeps a part of ours from running, by what the API server knows of its pods; JSON in, findings out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from streamgauge.doctor.words import Finding, broken, count, ok, some, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamgauge.doctor.kubernetes.kubectl import Namespace, Object

_IMAGE: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_DEPLOY: Final = "`make deploy OVERLAY=<yours>` (docs/13-kubernetes.md)"


def judge(hop: str, namespace: Namespace, kind: str, name: str) -> Finding:
    """Judge a DaemonSet, StatefulSet or Deployment: is it there, may its pods be made, do they run, are they ready."""
    controller = namespace.one(kind, name)
    where = f"-n {namespace.name}"
    if controller is None:
        return broken(hop, f"no {kind} {name} in namespace {namespace.name}", _DEPLOY)
    missing = missing_references(namespace, controller)
    if missing:
        return broken(
            hop,
            f"{some(missing)} missing, which {kind} {name} mounts",
            "`make secrets`, then `make deploy OVERLAY=<yours>`",
        )
    denied = _denied(hop, namespace, kind, name)
    if denied is not None:
        return denied
    wanted, pods = _wanted(controller), namespace.pods(name)
    for pod in pods:
        wrong = trouble(hop, namespace, pod)
        if wrong is not None:
            return wrong
    if len(pods) < wanted:
        return broken(
            hop,
            f"{len(pods)} of {count(wanted, 'pod')} of {name} exist",
            f"`kubectl describe {where} {kind.lower()}/{name}`",
        )
    if not wanted:
        remedy = (
            "label or taint: `kubectl get nodes`"
            if kind == "DaemonSet"
            else f"`kubectl scale {where} {kind.lower()}/{name} --replicas=1`"
        )
        return broken(hop, f"{kind} {name} wants no pods", remedy)
    ready = sum(_is_ready(pod) for pod in pods)
    if ready < wanted:
        late = [pod["metadata"]["name"] for pod in pods if not _is_ready(pod)]
        make = warning if ready else broken
        told = _last_event(namespace, late[0], "Unhealthy")
        return make(
            hop,
            f"{ready} of {count(wanted, 'pod')} of {name} ready; not: {some(late)}{told}",
            f"`kubectl logs {where} {late[0]}`",
        )
    return ok(hop, f"{count(wanted, 'pod')} of {name} ready")


def _wanted(controller: Object) -> int:
    if controller["kind"] == "DaemonSet":
        return int(controller.get("status", {}).get("desiredNumberScheduled", 0))
    return int(controller["spec"].get("replicas", 1))


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _denied(hop: str, namespace: Namespace, kind: str, name: str) -> Finding | None:
    """Return that the API server refuses to make the pods."""
    owners = {(kind, name)}
    if kind == "Deployment":
        owners |= {
            ("ReplicaSet", each) for each in _names_of_events(namespace, "ReplicaSet") if each.startswith(f"{name}-")
        }
    for owner in owners:
        refused = [each for each in namespace.events(*owner) if each.get("reason") == "FailedCreate"]
        if not refused or namespace.pods(name):
            continue
        message = str(refused[-1].get("message", ""))
        if "violates PodSecurity" in message:
            level = namespace.labels.get("pod-security.kubernetes.io/enforce", "baseline")
            return broken(
                hop,
                f"denied by Pod Security ({level}) of namespace {namespace.name}: {message.partition('violates ')[2]}",
                f"`kubectl label namespace {namespace.name} pod-security.kubernetes.io/enforce=privileged --overwrite`"
                if name == "collector"
                else _DEPLOY,
            )
        return broken(hop, f"pods of {name} are refused: {message}", f"`kubectl get events -n {namespace.name}`")
    return None


def _names_of_events(namespace: Namespace, kind: str) -> set[str]:
    about = [each["involvedObject"] for each in namespace.all("Event")]
    return {each.get("name", "") for each in about if each.get("kind") == kind}


def trouble(hop: str, namespace: Namespace, pod: Object) -> Finding | None:
    """Return why a pod does not run; None when it does, ready or not."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    where = f"-n {namespace.name}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        wrong = _container(hop, name, container, where)
        if wrong is not None:
            return wrong
    if status.get("phase") == "Failed":
        return broken(
            hop,
            f"{name} failed: {status.get('reason')}: {status.get('message', '')}",
            f"`kubectl describe {where} pod/{name}`",
        )
    if status.get("phase") != "Pending":
        return None
    for claim in _claims(pod):
        found = namespace.one("PersistentVolumeClaim", claim)
        if found is None or found.get("status", {}).get("phase") != "Bound":
            phase = "missing" if found is None else str(found.get("status", {}).get("phase", "Pending")).lower()
            told = _last_event(namespace, claim, "ProvisioningFailed", "FailedBinding", kind="PersistentVolumeClaim")
            return broken(
                hop,
                f"claim {claim} of {name} is {phase}{told}",
                f"`kubectl get storageclass`: is there a default? `kubectl describe {where} pvc/{claim}`",
            )
    mount = _last_event(namespace, name, "FailedMount")
    if mount:
        return broken(hop, f"{name} cannot start{mount}", "`make secrets`, then `make deploy OVERLAY=<yours>`")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return broken(
                hop,
                f"{name} is on no node: {condition.get('message', condition.get('reason', ''))}",
                f"`kubectl describe {where} pod/{name}`; requests are in your overlay's sizes.yaml",
            )
    return broken(hop, f"{name} is pending", f"`kubectl describe {where} pod/{name}`")


def _container(hop: str, pod: str, container: dict[str, Any], where: str) -> Finding | None:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    ended = state.get("terminated") or last.get("terminated") or {}
    if reason in _IMAGE:
        return broken(
            hop,
            f"image {container.get('image')} of {pod} cannot be pulled: {message or reason}",
            "push it, or `kind load docker-image`; `kustomize edit set image` (docs/13-kubernetes.md)",
        )
    if reason in ("CreateContainerConfigError", "CreateContainerError"):
        return broken(hop, f"{pod} cannot start: {message or reason}", f"`kubectl describe {where} pod/{pod}`")
    if ended.get("reason") == "OOMKilled" and not container.get("ready"):
        return broken(
            hop, f"{pod} was killed: out of memory", "raise resources.limits.memory in your overlay's sizes.yaml"
        )
    if reason == "CrashLoopBackOff":
        restarts, code = container.get("restartCount", 0), ended.get("exitCode", "?")
        return broken(
            hop,
            f"{pod} crashes: {count(restarts, 'restart')}, last exit status {code}"
            + (f": {ended['message'].strip()}" if ended.get("message") else ""),
            f"`kubectl logs {where} {pod} -c {container['name']} --previous`: its last line says why",
        )
    return None


def _claims(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes") or ()
    return [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]


def _last_event(namespace: Namespace, name: str, *reasons: str, kind: str = "Pod") -> str:
    told = [each for each in namespace.events(kind, name) if each.get("reason") in reasons]
    return f": {str(told[-1].get('message', '')).strip()}" if told else ""


def missing_references(namespace: Namespace, controller: Object) -> list[str]:
    """Return the Secrets and ConfigMaps that the pods of a controller need and that are not there."""
    spec = controller["spec"]["template"]["spec"]
    maps = {each["metadata"]["name"] for each in namespace.all("ConfigMap")}
    there: dict[str, frozenset[str] | set[str] | None] = {"Secret": namespace.secrets, "ConfigMap": maps}
    wanted = dict.fromkeys(_references(spec))
    return [f"{kind} {name}" for kind, name in wanted if (known := there[kind]) is not None and name not in known]


def _references(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for volume in spec.get("volumes") or ():
        sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for source in sources:
            for key, kind, field in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
                named = source.get(key) or {}
                name = named.get(field) or named.get("name")
                if name and not named.get("optional"):
                    yield kind, name
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        refs = [
            *(container.get("envFrom") or ()),
            *((each.get("valueFrom") or {}) for each in container.get("env") or ()),
        ]
        for ref in refs:
            for key, kind in (
                *(("secretRef", "Secret"), ("secretKeyRef", "Secret")),
                *(("configMapRef", "ConfigMap"), ("configMapKeyRef", "ConfigMap")),
            ):
                named = ref.get(key) or {}
                if named.get("name") and not named.get("optional"):
                    yield kind, named["name"]
