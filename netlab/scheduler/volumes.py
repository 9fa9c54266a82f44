"""PURE. What a pod's claims say about where, and whether, it may run; which volumes they get on the chosen node.

Source followed: plugins/volumebinding (volume_binding.go, binder.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.storage import NO_PROVISIONER, SELECTED_NODE, best, class_of, fully_bound, reachable, requested, waits
from netlab.api.types import Obj
from netlab.scheduler.model import NodeInfo, PodInfo

UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
ELSEWHERE = "node(s) had volume node affinity conflict"
NO_MATCH = "node(s) didn't find available persistent volumes to bind"


@dataclass(frozen=True)
class Storage:
    """Claims by namespace/name, volumes and classes by name.

    `promised`: volume name → key of the claim that is being bound to it; `placed`: claim key → the node for which a
    volume is being provisioned. Both are what bindings under way have decided and not yet written."""

    claims: Mapping[str, Obj] = field(default_factory=dict)
    volumes: Mapping[str, Obj] = field(default_factory=dict)
    classes: Mapping[str, Obj] = field(default_factory=dict)
    promised: dict[str, str] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bindings:
    """What a pod's unbound claims need on its node: volumes that are there, and volumes that are to be made."""

    node: str
    static: tuple[tuple[Obj, Obj], ...] = ()
    """(claim, volume)"""
    provision: tuple[Obj, ...] = ()

    @property
    def claims(self) -> list[str]:
        """The keys of all of them."""
        return [meta.key(claim) for claim in (*(claim for claim, _ in self.static), *self.provision)]


def problem(pod: PodInfo, storage: Storage) -> str:
    """Why the pod may run nowhere for now; "" when its claims do not forbid it."""
    for name, ephemeral in pod.claims:
        claim = storage.claims.get(meta.join_key(pod.namespace, name))
        if why := _missing(pod, name, ephemeral, claim):
            return why
    for claim in _unbound(pod, storage):
        if not waits(storage.classes.get(class_of(claim))) or claim["spec"].get("volumeName"):
            return UNBOUND  # a claim that already names a volume counts as immediate, whatever its class
    return ""


def conflict(pod: PodInfo, storage: Storage) -> Callable[[NodeInfo], list[str]] | None:
    """Why not a node, asked node by node (empty: it may be); None where the claims have nothing to say about nodes."""
    bound = [storage.volumes.get(claim["spec"]["volumeName"]) for claim in _claims(pod, storage) if fully_bound(claim)]
    unbound = _unbound(pod, storage)
    if not bound and not unbound:
        return None

    def check(node: NodeInfo) -> list[str]:
        why = [] if not bound else [text for text in (_out_of_reach(bound, node),) if text]
        if unbound and bindings(unbound, storage, node) is None:
            why.append(NO_MATCH)
        return sorted(why, key=(ELSEWHERE, NO_MATCH, NO_VOLUME).index)

    return check


def modes(claim: str, storage: Storage) -> list[str]:
    """The access modes of a claim (namespace/name)."""
    found = storage.claims.get(claim)
    return list((found or {}).get("spec", {}).get("accessModes") or ())


def wanted(pod: PodInfo, storage: Storage, node: NodeInfo) -> Bindings | None:
    """What is to be bound before the pod is; None where all is."""
    unbound = _unbound(pod, storage) if pod.claims else []
    return bindings(unbound, storage, node) if unbound else None


def bindings(unbound: Iterable[Obj], storage: Storage, node: NodeInfo) -> Bindings | None:
    """Volumes for claims on a node, the smallest claim first; None where one of them can have none there."""
    static: list[tuple[Obj, Obj]] = []
    provision: list[Obj] = []
    taken: dict[str, str] = {}
    for claim in sorted(unbound, key=requested):
        key = meta.key(claim)
        chosen = storage.placed.get(key) or meta.annotations(claim).get(SELECTED_NODE)
        if chosen is not None and chosen != node.name:
            return None
        found = None if chosen is not None else _match(claim, storage, node, taken)
        if found is not None:
            taken[meta.name(found)] = key
            static.append((claim, found))
        elif _provisionable(storage.classes.get(class_of(claim)), node):
            provision.append(claim)
        else:
            return None
    return Bindings(node.name, tuple(static), tuple(provision))


def _match(claim: Obj, storage: Storage, node: NodeInfo, taken: Mapping[str, str]) -> Obj | None:
    key = meta.key(claim)

    def free(volume: Obj) -> bool:
        name = meta.name(volume)
        return name not in taken and storage.promised.get(name, key) == key

    volumes = (one for one in storage.volumes.values() if class_of(one) == class_of(claim) and free(one))
    return best(claim, volumes, delayed=False, near=lambda one: reachable(one, node.labels, node.name))


def _provisionable(storage_class: Obj | None, node: NodeInfo) -> bool:
    if storage_class is None or storage_class.get("provisioner") in (None, "", NO_PROVISIONER):
        return False
    terms = storage_class.get("allowedTopologies") or ()
    return not terms or any(_holds(term, node) for term in terms)


def _holds(term: Obj, node: NodeInfo) -> bool:
    rules = term.get("matchLabelExpressions") or ()
    return bool(rules) and all(node.labels.get(rule["key"]) in rule["values"] for rule in rules)


def _out_of_reach(volumes: Iterable[Obj | None], node: NodeInfo) -> str:
    for volume in volumes:
        if volume is None:
            return NO_VOLUME
        if not reachable(volume, node.labels, node.name):
            return ELSEWHERE
    return ""


def _claims(pod: PodInfo, storage: Storage) -> list[Obj]:
    found = (storage.claims.get(meta.join_key(pod.namespace, name)) for name, _ in pod.claims)
    return [claim for claim in found if claim is not None]


def _unbound(pod: PodInfo, storage: Storage) -> list[Obj]:
    return [claim for claim in _claims(pod, storage) if not fully_bound(claim)]


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


def progress(asked: Bindings, storage: Storage, node_labels: Mapping[str, str]) -> bool:
    """Whether all that was asked for is bound. Raises BindingError where it will not be: schedule anew."""
    for claim, volume in asked.static:
        name = meta.name(volume)
        now = storage.volumes.get(name)
        if now is None:
            raise BindingError(f'failed to check binding: could not find v1.PersistentVolume "{name}"')
        if not reachable(now, node_labels, asked.node):
            raise BindingError(f'pv "{name}" node affinity doesn\'t match node "{asked.node}"')
        if not meta.get(now, "spec", "claimRef", "uid"):
            raise BindingError(f'ClaimRef got reset for pv "{name}"')
        if not fully_bound(_present(claim, storage)):
            return False
    for claim in asked.provision:
        present = _present(claim, storage)
        if meta.annotations(present).get(SELECTED_NODE) != asked.node:
            raise BindingError(f'provisioning failed for PVC "{meta.name(claim)}"')
        if not fully_bound(present):
            return False
    return True


def _present(claim: Obj, storage: Storage) -> Obj:
    found = storage.claims.get(meta.key(claim))
    if found is None:
        raise BindingError(
            f'failed to check provisioning pvc: could not find v1.PersistentVolumeClaim "{meta.key(claim)}"'
        )
    return found


class BindingError(Exception):
    """The volumes will not be bound as decided; the message is upstream's."""
