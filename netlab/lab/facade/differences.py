"""What has to be done to objects so that a cluster is as it was. Pure.

What a test made is deleted, what it changed is changed back, what it deleted is made again. What the cluster itself
makes of objects that were there before (pods of a ReplicaSet, slices of a Service) is left to the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from netlab.api.types import Obj

IGNORED = frozenset(
    {
        "leases.coordination.k8s.io",
        "events",
        "events.events.k8s.io",
        "ipaddresses.networking.k8s.io",
        "componentstatuses",
    }
)
"""Heartbeats, records, and what the API server itself keeps for Services."""
MANAGED = ("deployment.kubernetes.io/revision", "endpoints.kubernetes.io/last-change-trigger-time")
"""Annotations that controllers write on what others own."""
ENDPOINTS_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
"""Label of Endpoints that follow the pods of a Service; they have no owner to tell it by."""
FIRST = (
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "apiservices.apiregistration.k8s.io",
    "namespaces",
)
"""What could refuse or repeat the rest, so it goes before: webhooks, policies, and namespaces begin to end."""
OWNERS = (
    "cronjobs.batch",
    "jobs.batch",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "replicasets.apps",
    "replicationcontrollers",
    "horizontalpodautoscalers.autoscaling",
    "services",
)
LAST = ("customresourcedefinitions.apiextensions.k8s.io",)

Wanted = dict[str, Any]


def wanted(obj: Obj) -> Wanted:
    """The part of an object that users decide: labels, annotations, and all but the status."""
    metadata = obj["metadata"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in MANAGED}
    rest = {key: value for key, value in obj.items() if key not in ("metadata", "status", "kind", "apiVersion")}
    return {"labels": metadata.get("labels") or {}, "annotations": annotations, "rest": rest}


def key_of(obj: Obj) -> str:
    metadata = obj["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])


@dataclass(slots=True)
class Base:
    """How it was: collection → key → the whole object."""

    objects: dict[str, dict[str, Obj]] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)
    """What the cluster has made since of objects of the base, by uid: as good as there before."""

    late: dict[str, set[str]] = field(default_factory=dict)
    """Collection → keys of what the API server makes some seconds after its start: of the base, whenever it comes."""

    def adopt(self, collection: str, objects: Iterable[Obj]) -> None:
        """Take what came late into the base."""
        kept, keys = self.objects.setdefault(collection, {}), self.late.get(collection, set())
        for obj in objects:
            if (key := key_of(obj)) in keys:
                keys.discard(key)
                kept.setdefault(key, obj)

    def uids(self) -> set[str]:
        return self.derived | {obj["metadata"]["uid"] for kept in self.objects.values() for obj in kept.values()}


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do in one collection."""

    collection: str
    delete: tuple[Obj, ...] = ()
    restore: tuple[tuple[Obj, Obj], ...] = ()
    """(as it is, as it was)"""
    create: tuple[Obj, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.delete or self.restore or self.create)


def steps(base: Base, now: Mapping[str, Iterable[Obj]]) -> list[Steps]:
    """For the collections that may have changed, each with all its objects, in the order in which it can be done."""
    current = {name: list(objects) for name, objects in now.items()}
    for name, objects in current.items():
        base.adopt(name, objects)
    base.derived |= _derived(base.uids(), current)
    ours = base.uids()
    services = base.objects.get("services", {})
    found = []
    for name, objects in current.items():
        before = base.objects.get(name, {})
        keys = {key_of(obj) for obj in objects}
        new = [
            obj
            for obj in objects
            if key_of(obj) not in before
            and obj["metadata"]["uid"] not in ours
            and not (name == "endpoints" and key_of(obj) in services)
        ]
        changed = [
            (obj, before[key_of(obj)])
            for obj in objects
            if key_of(obj) in before and not _owned(obj) and wanted(obj) != wanted(before[key_of(obj)])
        ]
        lost = [obj for key, obj in before.items() if key not in keys and not _owned(obj)]
        found.append(Steps(name, tuple(new), tuple(changed), tuple(lost)))
    return sorted((one for one in found if one), key=_rank)


def _rank(one: Steps) -> int:
    for rank, names in enumerate((FIRST, OWNERS)):
        if one.collection in names:
            return rank
    return 3 if one.collection in LAST else 2


def rank(one: Steps) -> int:
    """Steps of one rank can be done together."""
    return _rank(one)


def _owned(obj: Obj) -> bool:
    """Whether a controller makes it: then it is that controller's to put right."""
    if (obj["metadata"].get("labels") or {}).get(ENDPOINTS_MANAGED_BY):
        return True
    return any(owner.get("controller") for owner in obj["metadata"].get("ownerReferences") or ())


def _derived(uids: set[str], current: Mapping[str, list[Obj]]) -> set[str]:
    """The objects that descend from those of the base, by their owners."""
    owners = {
        obj["metadata"]["uid"]: [owner["uid"] for owner in obj["metadata"].get("ownerReferences") or ()]
        for objects in current.values()
        for obj in objects
    }
    found: set[str] = set()
    grown = True
    while grown:
        fresh = {uid for uid, above in owners.items() if uid not in found and any(o in uids | found for o in above)}
        grown = bool(fresh)
        found |= fresh
    return found
