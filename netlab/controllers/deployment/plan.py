"""PURE. From a Deployment, its ReplicaSets and whether old pods still run, to the next steps.

One pass does what one of upstream's syncs does: it creates or adjusts the new ReplicaSet, or scales, or cleans up, and
sets the status. The steps' effects come back as events and cause the next pass.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.types import Obj
from netlab.controllers.deployment import sizes, status
from netlab.controllers.deployment.sizes import DESIRED, MAX_REPLICAS, REVISION, REVISION_HISTORY
from netlab.controllers.deployment.template import HASH_LABEL, same_template, template_hash

NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)
HISTORY_LENGTH = 2000
NO_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Create:
    """Create this ReplicaSet."""

    replica_set: Obj


@dataclass(frozen=True)
class Patch:
    """Change a ReplicaSet: annotations to set, and spec fields. `scaled` is (from, to) where its size changes."""

    replica_set: Obj
    annotations: dict[str, str]
    spec: dict[str, int]
    scaled: tuple[int, int] | None = None


@dataclass(frozen=True)
class Delete:
    """Delete an old ReplicaSet: the revision history is full."""

    replica_set: Obj


Step = Create | Patch | Delete


@dataclass
class Plan:
    """`status` None: write none. `revision` is the Deployment's revision annotation; `recheck` is in seconds."""

    steps: list[Step] = field(default_factory=list)
    status: Obj | None = None
    revision: str = ""
    recheck: float | None = None


@dataclass
class _View:
    """The working copy of a pass: sizes change in it as the steps are decided."""

    deployment: Obj
    sets: list[Obj]
    now: float
    steps: list[Step] = field(default_factory=list)
    conditions: list[Obj] = field(default_factory=list)
    revision: str = ""
    new: Obj | None = None
    adjusted: bool = False

    @property
    def old(self) -> list[Obj]:
        return [one for one in self.sets if one is not self.new]

    def active(self, sets: Sequence[Obj]) -> list[Obj]:
        return [one for one in sets if sizes.replicas(one) > 0]

    def scale(self, one: Obj, size: int) -> bool:
        """Give a set a size, and the annotations that say what the whole was then; True where the size changed."""
        before = sizes.replicas(one)
        wanted = sizes.replicas(self.deployment)
        notes = {DESIRED: str(wanted), MAX_REPLICAS: str(wanted + sizes.max_surge(self.deployment))}
        if before == size and notes.items() <= meta.annotations(one).items():
            return False
        moved = before != size
        snapshot = copy.copy(one)
        self.steps.append(
            Patch(snapshot, notes, {"replicas": size} if moved else {}, (before, size) if moved else None)
        )
        one["spec"] = {**one["spec"], "replicas": size}
        one["metadata"] = {**one["metadata"], "annotations": {**meta.annotations(one), **notes}}
        return moved


def plan(deployment: Obj, sets: Sequence[Obj], old_pods_run: bool, now: float) -> Plan:
    """The next steps. `old_pods_run`: a pod of an old ReplicaSet is not finished yet (matters to Recreate)."""
    view = _View(deployment, sizes.by_creation({**one} for one in sets), now)
    view.conditions = [dict(c) for c in (deployment.get("status") or {}).get("conditions") or ()]
    view.revision = meta.annotations(deployment).get(REVISION, "")
    view.new = next(
        (s for s in view.sets if same_template(s["spec"]["template"], deployment["spec"]["template"])), None
    )
    if meta.deleting(deployment):
        return _finish(view, rollout=False)
    status.pause_condition(deployment, view.conditions, now)
    if deployment["spec"].get("paused"):
        _revise(view, create=False)
        _scale(view)
        _clean_up(view)
        return _finish(view, rollout=False)
    if any(_desired_differs(view, one) for one in view.active(view.sets)):
        _revise(view, create=False)
        _scale(view)
        return _finish(view, rollout=False)
    if sizes.is_rolling(deployment):
        _roll(view)
    else:
        _recreate(view, old_pods_run)
    return _finish(view, rollout=True)


def _finish(view: _View, *, rollout: bool) -> Plan:
    d = view.deployment
    if rollout:
        new_status = status.rollout(d, view.sets, view.new, view.conditions, view.now)
    else:
        new_status = status.counts(d, view.sets, view.new, view.now)
        kept = [c for c in new_status["conditions"] if c["type"] == "Available"]
        new_status["conditions"] = [*kept, *(c for c in view.conditions if c["type"] != "Available")]
    return Plan(view.steps, new_status, view.revision, status.recheck(d, new_status, view.now) if rollout else None)


def _desired_differs(view: _View, one: Obj) -> bool:
    desired = sizes.annotated_desired(one)
    return desired is not None and desired != sizes.replicas(view.deployment)


# the new ReplicaSet and its revision


def _revise(view: _View, *, create: bool) -> None:
    """Give the new ReplicaSet its revision and annotations; create it where there is none and `create` says so."""
    newest = max((sizes.revision(one) for one in view.old), default=0) + 1
    if view.new is None:
        if create:
            _create(view, newest)
        return
    notes = _annotations(view, view.new, newest)
    spec = {}
    least = int(view.deployment["spec"].get("minReadySeconds") or 0)
    if int(view.new["spec"].get("minReadySeconds") or 0) != least:
        spec["minReadySeconds"] = least
    if notes or spec:
        view.steps.append(Patch(copy.copy(view.new), notes, spec))
        view.new["metadata"] = {**view.new["metadata"], "annotations": {**meta.annotations(view.new), **notes}}
        view.new["spec"] = {**view.new["spec"], **spec}
        view.adjusted = True
    view.revision = meta.annotations(view.new).get(REVISION, view.revision)
    if status.deadline(view.deployment) is not None and status.find(view.conditions, "Progressing") is None:
        sentence = f'Found new replica set "{meta.name(view.new)}"'
        status.set_condition(view.conditions, "Progressing", "True", "FoundNewReplicaSet", sentence, view.now)


def _annotations(view: _View, one: Obj, newest: int) -> dict[str, str]:
    """What is missing on an existing new ReplicaSet: the Deployment's annotations, a raised revision, its history."""
    have = meta.annotations(one)
    copied = {k: v for k, v in meta.annotations(view.deployment).items() if k not in NOT_COPIED and have.get(k) != v}
    if sizes.revision(one) < newest:
        copied[REVISION] = str(newest)
        if have.get(REVISION):
            history = [entry for entry in have.get(REVISION_HISTORY, "").split(",") if entry] + [have[REVISION]]
            while len(",".join(history)) > HISTORY_LENGTH:
                history.pop(0)
            copied[REVISION_HISTORY] = ",".join(history)
    return copied


def _create(view: _View, newest: int) -> None:
    d = view.deployment
    collisions = (d.get("status") or {}).get("collisionCount")
    label = template_hash(d["spec"]["template"], collisions)
    template = copy.deepcopy(d["spec"]["template"])
    meta.set_label(template, HASH_LABEL, label)
    selector = copy.deepcopy(d["spec"]["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: label}
    wanted = sizes.replicas(d)
    size = sizes.new_set_size(d, view.sets, 0)
    notes = {k: v for k, v in meta.annotations(d).items() if k not in NOT_COPIED}
    notes |= {REVISION: str(newest), DESIRED: str(wanted), MAX_REPLICAS: str(wanted + sizes.max_surge(d))}
    spec = {"replicas": size, "selector": selector, "template": template}
    if d["spec"].get("minReadySeconds"):
        spec["minReadySeconds"] = d["spec"]["minReadySeconds"]
    made = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta.name(d)}-{label}",
            "namespace": meta.namespace(d),
            "labels": meta.labels(template),
            "annotations": notes,
            "ownerReferences": [meta.owner_reference(d)],
        },
        "spec": spec,
    }
    view.steps.append(Create(made))
    view.new = made
    view.sets.append(made)
    view.revision = str(newest)
    if status.deadline(d) is not None:
        sentence = f'Created new replica set "{meta.name(made)}"'
        status.set_condition(view.conditions, "Progressing", "True", "NewReplicaSetCreated", sentence, view.now)


# scaling outside of a rollout


def _scale(view: _View) -> None:
    """Follow a change of spec.replicas: the only set with pods takes it all, several share it in proportion."""
    d, wanted = view.deployment, sizes.replicas(view.deployment)
    active = view.active(view.sets)
    if len(active) <= 1:
        only = active[0] if active else view.new or (view.old[-1] if view.old else None)
        if only is not None:
            view.scale(only, wanted)
        return
    if sizes.is_saturated(d, view.new):
        for one in view.active(view.old):
            view.scale(one, 0)
        return
    if not sizes.is_rolling(d):
        return
    allowed = wanted + sizes.max_surge(d) if wanted > 0 else 0
    to_add = allowed - sizes.total(active)
    ordered = sizes.by_size(active, newer_first=to_add > 0)
    added, planned = 0, {}
    for one in ordered:
        share = sizes.proportion(one, d, to_add, added) if to_add else 0
        planned[meta.name(one)] = sizes.replicas(one) + share
        added += share
    for position, one in enumerate(ordered):
        size = planned[meta.name(one)]
        if position == 0 and to_add:
            size = max(0, size + to_add - added)
        view.scale(one, size)


# the two strategies


def _roll(view: _View) -> None:
    _revise(view, create=True)
    if view.new is None or (view.steps and isinstance(view.steps[-1], Create)):
        return
    d, wanted = view.deployment, sizes.replicas(view.deployment)
    size = sizes.replicas(view.new)
    if size != wanted:
        target = wanted if size > wanted else sizes.new_set_size(d, view.sets, size)
        if view.scale(view.new, target):
            return
    else:
        view.scale(view.new, size)
    if _shrink_old(view):
        return
    if status.complete(d, d.get("status") or {}):
        _clean_up(view)


def _shrink_old(view: _View) -> bool:
    """Scale old sets down: unhealthy pods first, then as many as availability allows."""
    old = view.active(view.old)
    if not old or view.new is None:
        return False
    least = sizes.replicas(view.deployment) - sizes.max_unavailable(view.deployment)
    missing = sizes.replicas(view.new) - sizes.stat(view.new, "availableReplicas")
    most = sizes.total(view.sets) - least - missing
    if most <= 0:
        return False
    changed = False
    for one in old:
        unhealthy = sizes.replicas(one) - sizes.stat(one, "availableReplicas")
        count = min(most, unhealthy)
        if count > 0:
            most -= count
            changed |= view.scale(one, sizes.replicas(one) - count)
    spare = sizes.available(view.sets) - least
    for one in old:
        count = min(spare, sizes.replicas(one))
        if count > 0:
            spare -= count
            changed |= view.scale(one, sizes.replicas(one) - count)
    return changed


def _recreate(view: _View, old_pods_run: bool) -> None:
    _revise(view, create=False)
    active = view.active(view.old)
    if active:
        for one in active:
            view.scale(one, 0)
        return
    if old_pods_run:
        return
    if view.new is None:
        _revise(view, create=True)
        return
    view.scale(view.new, sizes.replicas(view.deployment))
    if status.complete(view.deployment, view.deployment.get("status") or {}):
        _clean_up(view)


def _clean_up(view: _View) -> None:
    """Delete old sets beyond revisionHistoryLimit, the oldest revisions first."""
    limit = view.deployment["spec"].get("revisionHistoryLimit", 10)
    if limit == NO_LIMIT:
        return
    old = [one for one in view.old if not meta.deleting(one)]
    excess = len(old) - int(limit)
    for one in sorted(old, key=sizes.revision)[: max(0, excess)]:
        settled = meta.generation(one) <= sizes.stat(one, "observedGeneration")
        if sizes.stat(one, "replicas") == 0 and sizes.replicas(one) == 0 and settled:
            view.steps.append(Delete(one))
