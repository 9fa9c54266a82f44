"""PURE. What a pod's claims say about where, and whether, it may run.

Claims of a class that waits for its first consumer are not looked at: nothing here chooses volumes for them.
Source followed: plugins/volumebinding (volume_binding.go, binder.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.labels import node_selector_matches
from netlab.api.types import Obj
from netlab.scheduler.model import NodeInfo, PodInfo

_COMPLETED = "pv.kubernetes.io/bind-completed"
_CLASS = "volume.beta.kubernetes.io/storage-class"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
ELSEWHERE = "node(s) had volume node affinity conflict"


@dataclass(frozen=True)
class Storage:
    """Claims by namespace/name, volumes and classes by name."""

    claims: Mapping[str, Obj] = field(default_factory=dict)
    volumes: Mapping[str, Obj] = field(default_factory=dict)
    classes: Mapping[str, Obj] = field(default_factory=dict)


def problem(pod: PodInfo, storage: Storage) -> str:
    """Why the pod may run nowhere for now; "" when its claims do not forbid it."""
    for name, ephemeral in pod.claims:
        claim = storage.claims.get(meta.join_key(pod.namespace, name))
        if why := _missing(pod, name, ephemeral, claim):
            return why
    return UNBOUND if any(_immediate(claim, storage) for claim in _claims(pod, storage) if not _bound(claim)) else ""


def conflict(volumes: Iterable[Obj | None], node: NodeInfo) -> str:
    """Why not this node, with the volumes of the pod's bound claims (None: one that does not exist); "" if it may."""
    for volume in volumes:
        if volume is None:
            return NO_VOLUME
        required = meta.get(volume, "spec", "nodeAffinity", "required")
        if required and not node_selector_matches(required.get("nodeSelectorTerms") or (), node.labels, node.name):
            return ELSEWHERE
    return ""


def bound_volumes(pod: PodInfo, storage: Storage) -> list[Obj | None]:
    """The volume of each bound claim; None for one that does not exist."""
    return [storage.volumes.get(claim["spec"]["volumeName"]) for claim in _claims(pod, storage) if _bound(claim)]


def _claims(pod: PodInfo, storage: Storage) -> list[Obj]:
    found = (storage.claims.get(meta.join_key(pod.namespace, name)) for name, _ in pod.claims)
    return [claim for claim in found if claim is not None]


def _missing(pod: PodInfo, name: str, ephemeral: bool, claim: Obj | None) -> str:
    if claim is None:
        if ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if meta.get(claim, "status", "phase") == "Lost":
        volume = claim["spec"].get("volumeName", "")
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
    if meta.deleting(claim):
        return f'persistentvolumeclaim "{name}" is being deleted'
    if ephemeral and (meta.controller_of(claim) or {}).get("uid") != pod.uid:
        return f"PVC {meta.key(claim)} was not created for pod {pod.key} (pod is not owner)"
    return ""


def _bound(claim: Obj) -> bool:
    return bool(claim["spec"].get("volumeName")) and _COMPLETED in meta.annotations(claim)


def _immediate(claim: Obj, storage: Storage) -> bool:
    """A claim that already names a volume counts as such, whatever its class."""
    name = meta.annotations(claim).get(_CLASS) or claim["spec"].get("storageClassName") or ""
    waits = (storage.classes.get(name) or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
    return not waits or bool(claim["spec"].get("volumeName"))
