"""PURE. Where a DaemonSet's pods belong, and what to create and delete (upstream pkg/controller/daemon)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.labels import node_selector_matches
from netlab.api.types import Obj
from netlab.controllers import pods as podlib
from netlab.controllers.deployment.sizes import scaled
from netlab.controllers.history import HASH_LABEL
from netlab.controllers.taint_eviction import tolerates

TOLERATED: tuple[tuple[str, str], ...] = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
FIELD = "metadata.name"


def template(owner: Obj, digest: str) -> Obj:
    """The pod template with the tolerations of every daemon and the labels of this revision."""
    made: Obj = copy.deepcopy(owner["spec"]["template"])
    spec = made.setdefault("spec", {})
    wanted = list(TOLERATED)
    if spec.get("hostNetwork"):
        wanted.append(("node.kubernetes.io/network-unavailable", "NoSchedule"))
    tolerations = spec.setdefault("tolerations", [])
    for key, effect in wanted:
        one = {"key": key, "operator": "Exists", "effect": effect}
        if one not in tolerations:
            tolerations.append(one)
    meta.set_label(made, HASH_LABEL, digest)
    generation = meta.annotations(owner).get("deprecated.daemonset.template.generation", str(meta.generation(owner)))
    meta.set_label(made, "pod-template-generation", generation)
    return made


def for_node(made: Obj, node: str) -> Obj:
    """The template bound to a node by affinity, as upstream does, so that the scheduler places it."""
    made = copy.deepcopy(made)
    affinity = made["spec"].setdefault("affinity", {}).setdefault("nodeAffinity", {})
    term = {"matchFields": [{"key": FIELD, "operator": "In", "values": [node]}]}
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [{**old, **term} for old in terms]
    return made


def node_of(pod: Obj) -> str:
    """The node a daemon pod is on, or is meant for."""
    bound = meta.get(pod, "spec", "nodeName")
    if bound:
        return str(bound)
    path = ("spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    for term in meta.get(pod, *path, default=[]):
        for expression in term.get("matchFields") or ():
            if expression["key"] == FIELD and len(expression.get("values") or ()) == 1:
                return str(expression["values"][0])
    return ""


def belongs(made: Obj, node: Obj) -> tuple[bool, bool]:
    """(a pod should be started on the node, a pod that is there may stay)."""
    spec, labels = made["spec"], meta.labels(node)
    if spec.get("nodeName") and spec["nodeName"] != meta.name(node):
        return False, False
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False, False
    terms = meta.get(
        spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"
    )
    if terms is not None and not node_selector_matches(terms, labels, meta.name(node)):
        return False, False
    bad = {
        taint["effect"]
        for taint in meta.get(node, "spec", "taints", default=[])
        if taint["effect"] != "PreferNoSchedule" and not any(tolerates(t, taint) for t in spec["tolerations"])
    }
    return not bad, "NoExecute" not in bad


@dataclass
class Plan:
    """Nodes to start a pod on, pods to delete, pods that failed (deleted, and said so), and the status counts."""

    create: list[str] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)
    failed: list[Obj] = field(default_factory=list)
    status: Obj = field(default_factory=dict)


def plan(owner: Obj, nodes: Sequence[Obj], pods: Sequence[Obj], digest: str, now: float) -> Plan:
    """What to do now."""
    made, result = template(owner, digest), Plan()
    by_node: dict[str, list[Obj]] = {}
    for pod in pods:
        by_node.setdefault(node_of(pod), []).append(pod)
    settled: dict[str, list[Obj]] = {}
    desired = misplaced = current = 0
    for node in nodes:
        name, mine = meta.name(node), by_node.pop(meta.name(node), [])
        start, stay = belongs(made, node)
        desired += start
        current += start and bool(mine)
        misplaced += not start and bool(mine)
        live = [pod for pod in mine if not meta.deleting(pod)]
        if not stay:
            result.delete.extend(live)
            continue
        broken = [pod for pod in live if podlib.phase(pod) == "Failed"]
        result.failed.extend(broken)
        healthy = sorted((p for p in live if p not in broken), key=lambda p: (not podlib.is_ready(p), meta.name(p)))
        old = [p for p in healthy if meta.labels(p).get(HASH_LABEL) != digest]
        new = [p for p in healthy if p not in old]
        result.delete.extend(new[1:] + old[1:])
        settled[name] = new[:1] + old[:1]
        if not mine and start:
            result.create.append(name)
    result.delete.extend(pod for rest in by_node.values() for pod in rest if not meta.deleting(pod))
    if not meta.deleting(owner):
        _update(owner, settled, desired, digest, now, result)
    result.status = _status(owner, settled, (desired, current, misplaced), digest, now)
    return result


def _update(owner: Obj, settled: Mapping[str, list[Obj]], desired: int, digest: str, now: float, result: Plan) -> None:
    """RollingUpdate: replace old pods, as many at a time as may be missing (or, surging, are spare)."""
    strategy = owner["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return
    rolling = strategy.get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", 0), desired, up=True)
    missing = scaled(rolling.get("maxUnavailable", 1), desired, up=True)
    least = int(owner["spec"].get("minReadySeconds") or 0)
    unavailable = desired - sum(any(podlib.is_available(p, least, now) for p in mine) for mine in settled.values())
    room, surging = missing - max(0, unavailable), surge
    for name, mine in sorted(settled.items()):
        old = [p for p in mine if meta.labels(p).get(HASH_LABEL) != digest]
        new = [p for p in mine if p not in old]
        if not old:
            continue
        if new:
            if podlib.is_available(new[0], least, now):
                result.delete.extend(old)
            surging -= 1
        elif not podlib.is_available(old[0], least, now):
            result.delete.extend(old)
        elif surge:
            if surging > 0:
                surging -= 1
                result.create.append(name)
        elif room > 0:
            room -= 1
            result.delete.extend(old)


def _status(owner: Obj, settled: Mapping[str, list[Obj]], counts: tuple[int, int, int], digest: str, now: float) -> Obj:
    desired, current, misplaced = counts
    least = int(owner["spec"].get("minReadySeconds") or 0)
    newest = [mine[0] for mine in settled.values() if mine]
    available = sum(any(podlib.is_available(p, least, now) for p in mine) for mine in settled.values())
    return {
        "currentNumberScheduled": current,
        "numberMisscheduled": misplaced,
        "desiredNumberScheduled": desired,
        "numberReady": sum(any(podlib.is_ready(p) for p in mine) for mine in settled.values()),
        "updatedNumberScheduled": sum(meta.labels(p).get(HASH_LABEL) == digest for p in newest),
        "numberAvailable": available,
        "numberUnavailable": max(0, desired - available),
        "observedGeneration": meta.generation(owner),
    }
