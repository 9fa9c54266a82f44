"""PodDisruptionBudgets: how many pods may be evicted now (upstream pkg/controller/disruption).

The eviction subresource spends `disruptionsAllowed` and notes the pod in `disruptedPods`; here it is counted anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.labels import from_label_selector
from netlab.api.types import Obj
from netlab.client.kinds import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from netlab.controllers.context import BY_NAMESPACE, Context, by_namespace
from netlab.controllers.pods import TERMINAL, is_ready, phase

DISRUPTED_FOR = 120.0
"""Seconds after which an evicted pod that is still there counts as staying (upstream's DeletionTimeout)."""

SCALED = {
    "Deployment": DEPLOYMENTS,
    "ReplicaSet": REPLICA_SETS,
    "ReplicationController": REPLICATION_CONTROLLERS,
    "StatefulSet": STATEFUL_SETS,
}


class NoScaleError(Exception):
    """A percentage, or maxUnavailable, of pods whose controller has no scale."""


@dataclass(frozen=True)
class Scale:
    """A controller of pods: its uid, and how many it wants."""

    uid: str
    replicas: int


ScaleOf = Callable[[Obj], Scale | None]
"""The scale of the controller of a pod; None where the pod has none. Raises NoScaleError."""


def status(budget: Obj, pods: Iterable[Obj], scale_of: ScaleOf, now: float) -> tuple[Obj, float | None]:
    """PURE. (the new status, in how many seconds to look again). `pods` are those that the budget selects."""
    counted = [pod for pod in pods if phase(pod) not in TERMINAL]
    try:
        expected, desired = _wanted(budget["spec"], counted, scale_of)
    except NoScaleError as error:
        old = dict(budget.get("status") or {})
        old |= {"disruptionsAllowed": 0, "observedGeneration": meta.generation(budget)}
        old["conditions"] = [_condition(budget, "False", "SyncFailed", str(error), now)]
        return old, None
    disrupted, recheck = _disrupted(budget, counted, now)
    healthy = sum(is_ready(p) and not meta.deleting(p) and meta.name(p) not in disrupted for p in counted)
    allowed = max(0, healthy - desired) if expected else 0
    verdict = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    new: Obj = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": meta.generation(budget),
        "conditions": [_condition(budget, *verdict, "", now)],
    }
    return new | ({"disruptedPods": disrupted} if disrupted else {}), recheck


def _wanted(spec: Obj, pods: Sequence[Obj], scale_of: ScaleOf) -> tuple[int, int]:
    """(expected, desired healthy)."""
    if "maxUnavailable" in spec:
        expected = _scales(pods, scale_of)
        return expected, max(0, expected - _part(spec["maxUnavailable"], expected))
    least = spec.get("minAvailable", 1)
    if isinstance(least, int):
        return len(pods), least
    expected = _scales(pods, scale_of)
    return expected, _part(least, expected)


def _part(value: int | str, total: int) -> int:
    """A number, or a percentage of `total` rounded up."""
    return value if isinstance(value, int) else ceil(int(value.rstrip("%")) * total / 100)


def _scales(pods: Iterable[Obj], scale_of: ScaleOf) -> int:
    """What the controllers of these pods want together, each counted once."""
    found = {scale.uid: scale.replicas for pod in pods if (scale := scale_of(pod)) is not None}
    return sum(found.values())


def _disrupted(budget: Obj, pods: Iterable[Obj], now: float) -> tuple[dict[str, str], float | None]:
    """Pods that were evicted but not yet seen leaving, and when the first of them is believed no more."""
    noted: dict[str, str] = meta.get(budget, "status", "disruptedPods", default={})
    kept: dict[str, str] = {}
    waits: list[float] = []
    for pod in pods:
        since = noted.get(meta.name(pod))
        if since is None or meta.deleting(pod):
            continue
        left = meta.parse_time(since) + DISRUPTED_FOR - now
        if left > 0:
            kept[meta.name(pod)] = since
            waits.append(left)
    return kept, min(waits, default=None)


def _condition(budget: Obj, value: str, reason: str, message: str, now: float) -> Obj:
    old = meta.condition(budget, "DisruptionAllowed")
    since = old["lastTransitionTime"] if old is not None and old["status"] == value else meta.rfc3339(now)
    return {
        "type": "DisruptionAllowed",
        "status": value,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
        "observedGeneration": meta.generation(budget),
    }


class DisruptionController:
    """A key is a PodDisruptionBudget."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("disruption")
        self.budgets, self.pods = context.informer(POD_DISRUPTION_BUDGETS), context.informer(PODS)
        self.scaled = {kind: context.informer(resource) for kind, resource in SCALED.items()}
        self.budgets.add_index(BY_NAMESPACE, by_namespace)
        self.pods.add_index(BY_NAMESPACE, by_namespace)
        self.budgets.add_handler(self._enqueue, lambda old, new: self._enqueue(new), None)
        self.pods.add_handler(self._pod_changed, self._pod_updated, self._pod_changed)
        for informer in self.scaled.values():
            informer.add_handler(self._scale_changed, self._scale_updated, None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.budgets, self.pods, *self.scaled.values())
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: str) -> None:
        """Count one budget anew."""
        budget = self.budgets.store.get(key)
        if budget is None or meta.deleting(budget):
            return
        selector = from_label_selector(meta.get(budget, "spec", "selector"))
        around = self.pods.by_index(BY_NAMESPACE, meta.namespace(budget))
        chosen = [pod for pod in around if selector.matches(meta.labels(pod))]
        new, recheck = status(budget, chosen, self._scale_of, time.time())
        if new != (budget.get("status") or {}):
            try:
                # with the resourceVersion: an eviction in between is not forgotten, this is done again
                self.budgets.observe(await self.client.update_status(POD_DISRUPTION_BUDGETS, {**budget, "status": new}))
            except StatusError as error:
                if error.code != 404:
                    raise
        if recheck is not None:
            self.queue.add_after(key, recheck)

    def _scale_of(self, pod: Obj) -> Scale | None:
        ref = meta.controller_of(pod)
        owner = self._owner(pod, ref)
        if ref is None:
            return None
        above = meta.controller_of(owner) if owner is not None and ref["kind"] == "ReplicaSet" else None
        if above is not None and above["kind"] == "Deployment":
            ref, owner = above, self._owner(pod, above)
        if ref["kind"] not in self.scaled:
            raise NoScaleError(f"{ref['kind'].lower()}s {ref['name']!r} does not implement the scale subresource")
        return Scale(ref["uid"], int(owner["spec"].get("replicas", 1))) if owner is not None else None

    def _owner(self, pod: Obj, ref: Obj | None) -> Obj | None:
        if ref is None or ref["kind"] not in self.scaled:
            return None
        found = self.scaled[ref["kind"]].store.get(meta.join_key(meta.namespace(pod), ref["name"]))
        return found if found is not None and meta.uid(found) == ref["uid"] else None

    def _enqueue(self, budget: Obj) -> None:
        self.queue.add(meta.key(budget))

    def _pod_changed(self, pod: Obj) -> None:
        for budget in self.budgets.by_index(BY_NAMESPACE, meta.namespace(pod)):
            if from_label_selector(meta.get(budget, "spec", "selector")).matches(meta.labels(pod)):
                self._enqueue(budget)

    def _pod_updated(self, old: Obj, new: Obj) -> None:
        self._pod_changed(new)
        if meta.labels(old) != meta.labels(new):
            self._pod_changed(old)

    def _scale_changed(self, owner: Obj) -> None:
        for budget in self.budgets.by_index(BY_NAMESPACE, meta.namespace(owner)):
            self._enqueue(budget)

    def _scale_updated(self, old: Obj, new: Obj) -> None:
        if old["spec"].get("replicas") != new["spec"].get("replicas"):
            self._scale_changed(new)
