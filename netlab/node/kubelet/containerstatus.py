"""`status.containerStatuses` and its two siblings. Pure.

Follows upstream convertToAPIContainerStatuses (pkg/kubelet/kubelet_pods.go) and the fields that 1.33 added: resources,
allocatedResources, volumeMounts, user.
"""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.node.kubelet.clock import rfc3339
from netlab.node.kubelet.model import ContainerState, Exit, Kind, PodState

ID_PREFIX = "netlab://"


def _terminated(exit_: Exit) -> Obj:
    found: Obj = {"exitCode": exit_.exit_code, "reason": exit_.reason}
    if exit_.signal:
        found["signal"] = exit_.signal
    if exit_.message:
        found["message"] = exit_.message
    known = exit_.started_at or exit_.finished_at  # one that never started has the epoch, one that is lost has nothing
    found["startedAt"] = rfc3339(exit_.started_at) if known else None
    found["finishedAt"] = rfc3339(exit_.finished_at) if known else None
    if exit_.container_id:
        found["containerID"] = ID_PREFIX + exit_.container_id
    return {"terminated": found}


def _state(container: ContainerState, pod: PodState, waiting_reason: str) -> tuple[Obj, Obj]:
    """(state, lastState)."""
    last = _terminated(container.last) if container.last else {}
    if container.running:
        return {"running": {"startedAt": rfc3339(container.started_at)}}, last
    if container.waiting and not (pod.terminal and container.exit):
        reason, message = container.waiting
        waiting: Obj = {"reason": reason}
        if message:
            waiting["message"] = message
        return {"waiting": waiting}, _terminated(container.exit) if container.exit else last
    if container.exit:
        return _terminated(container.exit), last
    return {"waiting": {"reason": waiting_reason}}, last


def _mounts(spec: Obj) -> list[Obj]:
    found = []
    for mount in spec.get("volumeMounts") or ():
        entry: Obj = {"name": mount["name"], "mountPath": mount["mountPath"]}
        if mount.get("readOnly"):
            entry["readOnly"] = True
            entry["recursiveReadOnly"] = "Disabled"
        found.append(entry)
    return found


def _user(pod_spec: Obj, spec: Obj) -> Obj:
    context = {**(pod_spec.get("securityContext") or {}), **(spec.get("securityContext") or {})}
    uid, gid = int(context.get("runAsUser") or 0), int(context.get("runAsGroup") or 0)
    groups = {gid, *(int(g) for g in context.get("supplementalGroups") or ())}
    if context.get("fsGroup") is not None:
        groups.add(int(context["fsGroup"]))
    return {"linux": {"uid": uid, "gid": gid, "supplementalGroups": sorted(groups)}}


def container_status(pod_spec: Obj, spec: Obj, container: ContainerState, pod: PodState) -> Obj:
    """One entry. `spec` is the container's part of the pod's spec."""
    waiting_reason = "PodInitializing" if pod_spec.get("initContainers") else "ContainerCreating"
    state, last = _state(container, pod, waiting_reason)
    found: Obj = {
        "name": container.name,
        "state": state,
        "lastState": last,
        "ready": container.ready and container.running,
        "restartCount": container.restart_count,
        "image": container.image or spec["image"],
        "imageID": container.image_id,
    }
    if container.kind is Kind.INIT:
        found["ready"] = container.exit is not None and container.exit.exit_code == 0 and container.waiting is None
    if container.kind is not Kind.EPHEMERAL:
        found["started"] = container.started and container.running
    if container.created:
        found["containerID"] = ID_PREFIX + container.id
        resources = spec.get("resources") or {}
        if resources.get("requests"):
            found["allocatedResources"] = resources["requests"]
        found["resources"] = resources
        if mounts := _mounts(spec):
            found["volumeMounts"] = mounts
        if container.running:
            found["user"] = _user(pod_spec, spec)
    return found


def container_statuses(pod: Obj, state: PodState) -> Obj:
    """initContainerStatuses, containerStatuses, ephemeralContainerStatuses: those that the spec has."""
    spec = pod["spec"]
    result: Obj = {}
    for key, listing in (
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
        ("ephemeralContainers", "ephemeralContainerStatuses"),
    ):
        entries = [
            container_status(spec, container, state.containers[container["name"]], state)
            for container in spec.get(key) or ()
            if container["name"] in state.containers
        ]
        if entries:
            result[listing] = entries
    return result
