"""PURE. Who owns the claims of a StatefulSet's pods, so that they go with the set, or with a pod that is scaled away.

Source followed: pkg/controller/statefulset/stateful_set_utils.go (claimOwnerMatchesSetAndPod and what is around it).
"""

from __future__ import annotations

from netlab.api import meta
from netlab.api.types import Obj

SET = ("apps/v1", "StatefulSet")
POD = ("v1", "Pod")


def policy(owner: Obj) -> tuple[bool, bool]:
    """(claims go when the set is deleted, claims go when a pod is scaled away)."""
    found = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return found.get("whenDeleted") == "Delete", found.get("whenScaled") == "Delete"


def references(claim: Obj, owner: Obj, pod: Obj, *, scaled_away: bool) -> list[Obj]:
    """The claim's owner references as the set's policy wants them; those of others stay."""
    kept = [ref for ref in meta.owner_references(claim) if not _is(ref, SET, owner) and not _is(ref, POD, pod)]
    if _somebody_elses(claim, owner, pod):
        return kept
    deleted, scaled = policy(owner)
    if scaled and scaled_away:
        return [*kept, _reference(POD, pod)]
    if deleted:
        return [*kept, _reference(SET, owner)]
    return kept


def matches(claim: Obj, owner: Obj, pod: Obj, *, scaled_away: bool) -> bool:
    """Whether nothing is to be written."""
    return references(claim, owner, pod, scaled_away=scaled_away) == list(meta.owner_references(claim))


def stale(claim: Obj, pod_name: str, pod_uid: str = "") -> bool:
    """The claim belongs to an earlier pod of that name, and goes with it: a new pod has to wait until it is gone."""
    return any(_kind(ref) == POD and ref["name"] == pod_name and ref["uid"] != pod_uid for ref in _refs(claim))


def _refs(claim: Obj) -> list[Obj]:
    return list(meta.owner_references(claim))


def _kind(ref: Obj) -> tuple[str, str]:
    return ref["apiVersion"], ref["kind"]


def _is(ref: Obj, kind: tuple[str, str], obj: Obj) -> bool:
    return _kind(ref) == kind and ref["name"] == meta.name(obj)


def _somebody_elses(claim: Obj, owner: Obj, pod: Obj) -> bool:
    """A controller that is neither the set nor the pod: it decides."""
    found = meta.controller_of(claim)
    return found is not None and not _is(found, SET, owner) and not _is(found, POD, pod)


def _reference(kind: tuple[str, str], obj: Obj) -> Obj:
    return {
        "apiVersion": kind[0],
        "kind": kind[1],
        "name": meta.name(obj),
        "uid": meta.uid(obj),
        "controller": True,
        "blockOwnerDeletion": True,
    }
