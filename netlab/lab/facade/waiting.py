"""Whether what is waited for has come to be, and in a sentence how far it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from netlab.api.types import Obj

DEFAULTS = {
    "Pod": "Ready",
    "Node": "Ready",
    "Deployment": "Available",
    "StatefulSet": "Available",
    "DaemonSet": "Available",
    "ReplicaSet": "Available",
    "Job": "Complete",
}
"""What it is that one waits for where no condition is named; for all other kinds: that it is there."""


def reached(obj: Obj, condition: str) -> bool:
    """Whether an object is as wanted: a condition's type ("Ready", "Ready=False"), "exists"."""
    if condition.lower() in ("", "exists", "create"):
        return True
    if condition == "Available" and obj.get("kind") in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
        return _rolled_out(obj)
    kind, _, status = condition.partition("=")
    return any(c["type"] == kind and c["status"] == (status or "True") for c in _conditions(obj))


def _conditions(obj: Obj) -> Sequence[Obj]:
    found: Sequence[Obj] = (obj.get("status") or {}).get("conditions") or ()
    return found


def _rolled_out(obj: Obj) -> bool:
    status, spec = obj.get("status") or {}, obj.get("spec") or {}
    if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
        return False
    if obj["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        names: tuple[str, ...] = ("updatedNumberScheduled", "numberAvailable")
    else:
        wanted = spec.get("replicas", 1)
        names = {
            "Deployment": ("updatedReplicas", "availableReplicas"),
            "StatefulSet": ("readyReplicas",),
            "ReplicaSet": ("availableReplicas",),
        }[obj["kind"]]
    return all(status.get(name, 0) >= wanted for name in names) and status.get("replicas", wanted) <= wanted


def how_far(obj: Obj | None) -> str:
    """In words, for the message of a wait that did not end."""
    if obj is None:
        return "there is none"
    if obj.get("kind") == "Pod":
        return f"pod {obj['metadata']['name']} {_pod(obj)}"
    status, name = obj.get("status") or {}, f"{obj.get('kind', '').lower()} {obj['metadata']['name']}"
    if "replicas" in (obj.get("spec") or {}):
        ready = status.get("availableReplicas", status.get("readyReplicas", 0))
        return f"{name} has {ready} of {obj['spec']['replicas']} replicas available"
    told = [f"{c['type']}={c['status']}" + (f" ({c['reason']})" if c.get("reason") else "") for c in _conditions(obj)]
    return f"{name}: {', '.join(told) or 'no conditions'}"


def _pod(pod: Obj) -> str:
    status = pod.get("status") or {}
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            message = waiting.get("message", "")
            return f"waits: {container['name']} {waiting['reason']}" + (f" ({message})" if message else "")
    for condition in _conditions(pod):
        if condition["status"] != "True" and condition.get("message"):
            return f"is {status.get('phase')}: {condition['message']}"
    return f"is {status.get('phase', 'Unknown')}"
