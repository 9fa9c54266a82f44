"""PURE. Which pods of a StatefulSet to create and delete next (upstream pkg/controller/statefulset)."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.types import Obj
from netlab.controllers import pods as podlib
from netlab.controllers.history import HASH_LABEL

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"
_ORDINAL = re.compile(r"^(.*)-([0-9]+)$")


@dataclass
class Plan:
    """Ordinals to create, each with whether it is of the update revision; pods to delete; status counts."""

    create: list[tuple[int, bool]] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)
    status: Obj = field(default_factory=dict)


def ordinal(pod: Obj) -> int:
    """The number at the end of a pod's name, -1 where there is none."""
    match = _ORDINAL.match(meta.name(pod))
    return int(match.group(2)) if match else -1


def in_range(owner: Obj, number: int) -> bool:
    """Whether the set wants a pod of that ordinal."""
    first = int(meta.get(owner, "spec", "ordinals", "start", default=0))
    return first <= number < first + int(owner["spec"].get("replicas", 1))


def claim_name(template: Obj, owner: Obj, number: int) -> str:
    return f"{meta.name(template)}-{meta.name(owner)}-{number}"


def pod(owner: Obj, template: Obj, number: int, revision: str) -> Obj:
    """The pod of an ordinal, with its name, hostname, labels and volume claims."""
    made = podlib.from_template(copy.deepcopy(template), owner, "")
    name = f"{meta.name(owner)}-{number}"
    del made["metadata"]["generateName"]
    made["metadata"]["name"] = name
    labels = {POD_NAME: name, POD_INDEX: str(number), HASH_LABEL: revision}
    made["metadata"]["labels"] = {**meta.labels(made), **labels}
    spec = made["spec"]
    spec["hostname"] = name
    if owner["spec"].get("serviceName"):
        spec["subdomain"] = owner["spec"]["serviceName"]
    templates = owner["spec"].get("volumeClaimTemplates") or ()
    names = {meta.name(t) for t in templates}
    volumes = [volume for volume in spec.get("volumes") or () if volume["name"] not in names]
    volumes += [
        {"name": meta.name(t), "persistentVolumeClaim": {"claimName": claim_name(t, owner, number)}} for t in templates
    ]
    if volumes:
        spec["volumes"] = volumes
    return made


def claims(owner: Obj, number: int) -> list[Obj]:
    """The PersistentVolumeClaims of an ordinal; they outlive the pod."""
    selector = meta.get(owner, "spec", "selector", "matchLabels", default={})
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": claim_name(t, owner, number),
                "namespace": meta.namespace(owner),
                "labels": {**meta.labels(t), **selector},
            },
            "spec": t.get("spec") or {},
        }
        for t in owner["spec"].get("volumeClaimTemplates") or ()
    ]


def plan(owner: Obj, pods: Sequence[Obj], current: str, update: str, now: float) -> Plan:
    """`current` and `update` are the names of the revisions that ran so far and of the present template.

    Unlike other pods', the revision label of these is the revision's whole name.
    """
    spec, result = owner["spec"], Plan()
    wanted, first = int(spec.get("replicas", 1)), int(meta.get(spec, "ordinals", "start", default=0))
    parallel = spec.get("podManagementPolicy") == "Parallel"
    rolling = meta.get(spec, "updateStrategy", "type", default="RollingUpdate") == "RollingUpdate"
    partition = int(meta.get(spec, "updateStrategy", "rollingUpdate", "partition", default=0))
    by_number = {ordinal(p): p for p in pods}
    numbers = range(first, first + wanted)
    extra = sorted((n for n in by_number if n not in numbers), reverse=True)
    least = int(spec.get("minReadySeconds") or 0)
    result.status = _status(owner, list(by_number.values()), current, update, now)

    def good(one: Obj | None) -> bool:
        return one is not None and not meta.deleting(one) and podlib.is_available(one, least, now)

    for number in numbers:
        one = by_number.get(number)
        if one is None:
            result.create.append((number, not rolling or number >= first + partition or current == update))
        elif podlib.phase(one) in podlib.TERMINAL and not meta.deleting(one):
            result.delete.append(one)
        if not parallel and not good(one):
            return result  # each waits for the one before it
    unhealthy = min((n for n, one in by_number.items() if not good(one)), default=None)
    for number in extra:
        one = by_number[number]
        halted = not parallel and not good(one) and number != unhealthy  # an unhealthy one before it goes first
        if not meta.deleting(one) and not halted:
            result.delete.append(one)
        if not parallel:
            return result
    if not rolling or result.create or result.delete:
        return result
    for number in reversed(range(first + partition, first + wanted)):
        one = by_number[number]
        if meta.labels(one).get(HASH_LABEL) != update and not meta.deleting(one):
            result.delete.append(one)
            return result
        if not good(one):
            return result
    return result


def _status(owner: Obj, pods: Sequence[Obj], current: str, update: str, now: float) -> Obj:
    least = int(owner["spec"].get("minReadySeconds") or 0)
    live = [p for p in pods if not meta.deleting(p)]

    def of(revision: str) -> int:
        return sum(meta.labels(p).get(HASH_LABEL) == revision for p in live)

    done = of(update) == len(pods) == int(owner["spec"].get("replicas", 1))
    if done and all(podlib.is_ready(p) for p in live):
        current = update
    return {
        "replicas": len(pods),
        "readyReplicas": sum(podlib.is_ready(p) for p in pods),
        "availableReplicas": sum(podlib.is_available(p, least, now) for p in pods),
        "currentReplicas": of(current),
        "updatedReplicas": of(update),
        "currentRevision": current,
        "updateRevision": update,
        "observedGeneration": meta.generation(owner),
    }
