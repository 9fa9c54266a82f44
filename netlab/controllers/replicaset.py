"""ReplicaSets and ReplicationControllers: keep so many pods of one template (upstream pkg/controller/replicaset)."""

from __future__ import annotations

import time
from dataclasses import dataclass

from netlab.api import labels, meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from netlab.controllers import pods as podlib
from netlab.controllers.context import BY_ORPHAN, BY_OWNER, Context, controller_uid, orphan_namespace, slow_start
from netlab.controllers.ownership import claim, claims

BURST = 500
"""The most pods that one pass creates or deletes."""

CALM_ABOVE, CALM = 32, 0.05
"""With more pods than this, pod events of one set are gathered for so many seconds before it is looked at again."""


@dataclass(frozen=True)
class Flavour:
    """What differs between the two kinds."""

    resource: tuple[str, str]
    kind: str
    component: str

    def selector(self, owner: Obj) -> labels.Selector:
        selector = owner["spec"].get("selector")
        if self.kind == "ReplicationController":
            return labels.from_map(selector) if selector else labels.NOTHING
        return labels.from_label_selector(selector)


REPLICA_SET = Flavour(REPLICA_SETS, "ReplicaSet", "replicaset-controller")
REPLICATION_CONTROLLER = Flavour(REPLICATION_CONTROLLERS, "ReplicationController", "replication-controller")


@dataclass(frozen=True)
class Plan:
    """How many pods to create, which to delete; `recheck` is when a pod becomes available, in seconds."""

    create: int = 0
    delete: tuple[Obj, ...] = ()
    recheck: float | None = None


def plan(owner: Obj, mine: list[Obj], related: list[Obj], now: float) -> Plan:
    """PURE. `mine` are the owner's active pods, `related` those of its sibling sets (for spreading deletions)."""
    if meta.deleting(owner):
        return Plan()
    wanted = int(owner["spec"].get("replicas", 1))
    least = int(owner["spec"].get("minReadySeconds") or 0)
    recheck = None
    if least:
        waits = [since + least - now for pod in mine if (since := podlib.ready_since(pod)) and since + least > now]
        recheck = min(waits) + 0.01 if waits else None
    if len(mine) < wanted:
        return Plan(create=min(BURST, wanted - len(mine)), recheck=recheck)
    surplus = min(BURST, len(mine) - wanted)
    if not surplus:
        return Plan(recheck=recheck)
    order = podlib.deletion_order(mine, related, now)
    return Plan(delete=tuple(order[:surplus]), recheck=recheck)


def status(owner: Obj, mine: list[Obj], failure: tuple[str, str] | None, now: float) -> Obj:
    """PURE. The new status; `failure` is (reason, message) of this pass's creating or deleting."""
    template_labels = meta.get(owner, "spec", "template", "metadata", "labels", default={})
    least = int(owner["spec"].get("minReadySeconds") or 0)
    fully = ready = available = 0
    for pod in mine:
        if template_labels.items() <= meta.labels(pod).items():
            fully += 1
        if podlib.is_ready(pod):
            ready += 1
            if podlib.is_available(pod, least, now):
                available += 1
    new: Obj = {
        "replicas": len(mine),
        "fullyLabeledReplicas": fully,
        "readyReplicas": ready,
        "availableReplicas": available,
        "observedGeneration": meta.generation(owner),
    }
    conditions = [c for c in (owner.get("status") or {}).get("conditions") or () if c["type"] != "ReplicaFailure"]
    if failure is not None:
        old = meta.condition(owner, "ReplicaFailure")
        condition = {"type": "ReplicaFailure", "status": "True", "reason": failure[0], "message": failure[1]}
        condition["lastTransitionTime"] = old["lastTransitionTime"] if old else meta.rfc3339(now)
        conditions.append(condition)
    if conditions:
        new["conditions"] = conditions
    return {key: value for key, value in new.items() if value or key in ("replicas", "observedGeneration")}


class ReplicaSetController:
    """One instance per flavour."""

    def __init__(self, context: Context, flavour: Flavour = REPLICA_SET) -> None:
        self.context, self.flavour = context, flavour
        self.client = context.client
        self.owners = context.informer(flavour.resource)
        self.pods = context.informer(PODS)
        self.queue = context.queue(flavour.component)
        self.events = context.recorder(flavour.component)
        self.pods.add_index(BY_OWNER, controller_uid)
        self.pods.add_index(BY_ORPHAN, orphan_namespace)
        self.owners.add_index(BY_OWNER, controller_uid)
        self.owners.add_handler(self._enqueue, lambda old, new: self._enqueue(new), self._enqueue)
        self.pods.add_handler(self._pod_changed, self._pod_updated, self._pod_changed)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.owners, self.pods)
        await self.queue.run(self.reconcile, workers=5)

    async def reconcile(self, key: str) -> None:
        """Bring one set nearer to what it wants."""
        owner = self.owners.store.get(key)
        if owner is None:
            return
        now = time.time()
        selector = self.flavour.selector(owner)
        owned = self.pods.by_index(BY_OWNER, meta.uid(owner))
        orphans = self.pods.by_index(BY_ORPHAN, meta.namespace(owner))
        found = claims(owner, owned, orphans, selector)
        mine = await claim(self.client, self.pods, self.flavour.resource, owner, found)
        active = [pod for pod in mine if podlib.is_active(pod)]
        todo = plan(owner, active, self._related(owner) if len(active) > owner["spec"].get("replicas", 1) else [], now)
        failure, error = await self._execute(owner, todo)
        await self._write_status(owner, status(owner, active, failure, now))
        if error is not None:
            raise error
        if todo.recheck is not None:
            self.queue.add_after(key, todo.recheck)

    async def _execute(self, owner: Obj, todo: Plan) -> tuple[tuple[str, str] | None, Exception | None]:
        if todo.create:
            _, error = await slow_start(todo.create, lambda _: self._create(owner))
            if error is not None:
                return ("FailedCreate", str(error)), error
        if todo.delete:
            error = await self._delete_all(owner, todo.delete)
            if error is not None:
                return ("FailedDelete", str(error)), error
        return None, None

    async def _create(self, owner: Obj) -> None:
        pod = podlib.from_template(owner["spec"]["template"], owner, f"{meta.name(owner)}-")
        try:
            made = await self.client.create(PODS, pod)
        except StatusError as error:
            if any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes):
                return  # the namespace's end will take the owner too
            self.events.event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self.pods.observe(made)
        self.events.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {meta.name(made)}")

    async def _delete_all(self, owner: Obj, doomed: tuple[Obj, ...]) -> Exception | None:
        async def delete(number: int) -> None:
            pod = doomed[number]
            try:
                gone = await self.client.delete(PODS, meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
            except StatusError as error:
                if error.code == 404:
                    self.pods.observe_deleted(pod)
                    return
                self.events.event(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
                raise
            if meta.deleting(gone):
                self.pods.observe(gone)
            else:
                self.pods.observe_deleted(pod)
            self.events.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name(pod)}")

        _, error = await slow_start(len(doomed), delete)
        return error

    async def _write_status(self, owner: Obj, new: Obj) -> None:
        old = owner.get("status") or {}
        current = self.owners.store.get(meta.key(owner), owner)
        if old == new or meta.uid(current) != meta.uid(owner):
            return
        patch = {**{field: None for field in old if field not in new}, **new}
        try:
            name, where = meta.name(owner), meta.namespace(owner)
            written = await self.client.patch_status(
                self.flavour.resource, name, {"status": patch}, where, patch_type="merge"
            )
        except StatusError as error:
            if error.code == 404:
                return
            raise
        self.owners.observe(written)

    def _related(self, owner: Obj) -> list[Obj]:
        """Pods of all sets that share this set's controller (the ReplicaSets of one Deployment)."""
        ref = meta.controller_of(owner)
        siblings = self.owners.by_index(BY_OWNER, ref["uid"]) if ref else [owner]
        return [pod for one in siblings for pod in self.pods.by_index(BY_OWNER, meta.uid(one))]

    def _enqueue(self, owner: Obj) -> None:
        self.queue.add(meta.key(owner))

    def _pod_updated(self, old: Obj, new: Obj) -> None:
        before, after = meta.controller_of(old), meta.controller_of(new)
        if before is not None and (after is None or after["uid"] != before["uid"]):
            self._enqueue_owner(old, before)
        self._pod_changed(new)

    def _pod_changed(self, pod: Obj) -> None:
        ref = meta.controller_of(pod)
        if ref is not None:
            self._enqueue_owner(pod, ref)
            return
        if meta.deleting(pod):
            return
        for owner in self.owners.store.values():
            if meta.namespace(owner) == meta.namespace(pod) and self.flavour.selector(owner).matches(meta.labels(pod)):
                self._enqueue(owner)

    def _enqueue_owner(self, pod: Obj, ref: Obj) -> None:
        if ref["kind"] != self.flavour.kind:
            return
        key = meta.join_key(meta.namespace(pod), ref["name"])
        owner = self.owners.store.get(key)
        if owner is None or meta.uid(owner) != ref["uid"]:
            return
        busy = int(owner["spec"].get("replicas", 1)) > CALM_ABOVE
        self.queue.add_after(key, CALM if busy else 0)


class ReplicationControllerController(ReplicaSetController):
    """The same for ReplicationControllers."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, REPLICATION_CONTROLLER)
