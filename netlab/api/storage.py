"""PURE. What claims and volumes say, and which volume suits a claim: for the volume controllers and the scheduler.

Source followed: component-helpers storage/volume (helpers.go, pv_helpers.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from netlab.api import labels, meta, quantity
from netlab.api.types import Obj

BOUND_BY, COMPLETED = "pv.kubernetes.io/bound-by-controller", "pv.kubernetes.io/bind-completed"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONER = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")
CLASS = "volume.beta.kubernetes.io/storage-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
DEFAULT_MARKS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def class_of(obj: Obj) -> str:
    """The storage class of a claim or a volume; "" for none."""
    return str(meta.annotations(obj).get(CLASS) or obj["spec"].get("storageClassName") or "")


def mode_of(obj: Obj) -> str:
    """Filesystem or Block."""
    return str(obj["spec"].get("volumeMode") or "Filesystem")


def waits(storage_class: Obj | None) -> bool:
    """Whether claims of the class are bound only once a pod uses them."""
    return (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


def fully_bound(claim: Obj) -> bool:
    """Both sides of the binding are written."""
    return bool(claim["spec"].get("volumeName")) and COMPLETED in meta.annotations(claim)


def requested(claim: Obj) -> int:
    """Bytes that a claim asks for."""
    return size(meta.get(claim, "spec", "resources", "requests"))


def size(amounts: Obj | None) -> int:
    """Bytes of storage in a list of resources."""
    return quantity.whole((amounts or {}).get("storage", "0"))


def refers(volume: Obj, claim: Obj) -> bool:
    """Whether the volume is the claim's: by name, and by uid where it says one."""
    found = volume["spec"].get("claimRef")
    if not found or (found.get("namespace"), found.get("name")) != (meta.namespace(claim), meta.name(claim)):
        return False
    return not found.get("uid") or found["uid"] == meta.uid(claim)


def modes_fit(volume: Obj, claim: Obj) -> bool:
    """The volume has every access mode that the claim asks for."""
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())


def reachable(volume: Obj, node_labels: Any, node: str) -> bool:
    """The volume's node affinity lets it be used on the node."""
    required = meta.get(volume, "spec", "nodeAffinity", "required")
    terms = (required or {}).get("nodeSelectorTerms") or ()
    return not required or labels.node_selector_matches(terms, node_labels, node)


def best(claim: Obj, volumes: Iterable[Obj], *, delayed: bool, near: Callable[[Obj], bool] | None = None) -> Obj | None:
    """The volume that was bound to the claim beforehand, else the smallest that fits; None where there is none.

    `delayed`: only what was bound beforehand, because a node is to be chosen first. `near` says whether a volume is
    within the chosen node's reach.
    """
    selector = claim["spec"].get("selector")
    chosen = labels.from_label_selector(selector) if selector else None
    wanted = requested(claim)
    found: list[tuple[int, str, Obj]] = []
    for volume in volumes:
        if mode_of(volume) != mode_of(claim) or meta.deleting(volume) or not modes_fit(volume, claim):
            continue
        capacity = size(volume["spec"].get("capacity"))
        if capacity < wanted:
            continue
        if refers(volume, claim):
            return volume if near is None or near(volume) else None
        if volume["spec"].get("claimRef") or meta.get(volume, "status", "phase") != "Available" or delayed:
            continue
        if class_of(volume) != class_of(claim) or (chosen is not None and not chosen.matches(meta.labels(volume))):
            continue
        if near is None or near(volume):
            found.append((capacity, meta.name(volume), volume))
    return min(found, key=lambda one: one[:2])[2] if found else None


def claim_reference(volume: Obj, claim: Obj) -> Obj:
    """The patch that gives a volume to a claim."""
    metadata: Obj = {"resourceVersion": meta.resource_version(volume)}
    if not volume["spec"].get("claimRef"):
        metadata["annotations"] = {BOUND_BY: "yes"}
    wanted = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta.namespace(claim),
        "name": meta.name(claim),
        "uid": meta.uid(claim),
        "resourceVersion": meta.resource_version(claim),
    }
    return {"metadata": metadata, "spec": {"claimRef": wanted}}


def default_class(classes: Iterable[Obj]) -> Obj | None:
    """The class that an administrator marked as default: the newest, then the first by name; None where none is."""
    return newest_marked(classes, *DEFAULT_MARKS)


def newest_marked(classes: Iterable[Obj], *marks: str) -> Obj | None:
    """Of the classes with one of these annotations "true" the newest, then the first by name."""
    marked = [one for one in classes if any(meta.annotations(one).get(mark) == "true" for mark in marks)]
    marked.sort(key=meta.name)
    marked.sort(key=lambda one: str(one["metadata"].get("creationTimestamp", "")), reverse=True)
    return marked[0] if marked else None
