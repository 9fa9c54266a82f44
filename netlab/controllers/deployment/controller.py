"""The Deployment controller: reads the snapshot, has it planned, writes the steps."""

from __future__ import annotations

import time

from netlab.api import labels, meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import DEPLOYMENTS, PODS, REPLICA_SETS
from netlab.controllers.context import BY_ORPHAN, BY_OWNER, Context, controller_uid, orphan_namespace
from netlab.controllers.deployment import sizes, status
from netlab.controllers.deployment.plan import Create, Delete, Patch, Plan, plan
from netlab.controllers.deployment.template import same_template
from netlab.controllers.ownership import claim, claims
from netlab.controllers.pods import TERMINAL, phase


class DeploymentController:
    """Level-based: a key in, one pass of `plan` out."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.deployments = context.informer(DEPLOYMENTS)
        self.sets = context.informer(REPLICA_SETS)
        self.pods = context.informer(PODS)
        self.queue = context.queue("deployment-controller")
        self.events = context.recorder("deployment-controller")
        self.sets.add_index(BY_OWNER, controller_uid)
        self.sets.add_index(BY_ORPHAN, orphan_namespace)
        self.pods.add_index(BY_OWNER, controller_uid)
        self.deployments.add_handler(self._enqueue, lambda old, new: self._enqueue(new), self._enqueue)
        self.sets.add_handler(self._set_changed, self._set_updated, self._set_changed)
        self.pods.add_handler(on_delete=self._pod_deleted)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.deployments, self.sets, self.pods)
        await self.queue.run(self.reconcile, workers=5)

    async def reconcile(self, key: str) -> None:
        """One pass."""
        deployment = self.deployments.store.get(key)
        if deployment is None:
            return
        selector = labels.from_label_selector(deployment["spec"].get("selector"))
        if selector.empty:
            text = "This deployment is selecting all pods. A non-empty selector is required."
            self.events.event(deployment, "Warning", "SelectingAll", text)
            return
        found = claims(
            deployment,
            self.sets.by_index(BY_OWNER, meta.uid(deployment)),
            self.sets.by_index(BY_ORPHAN, meta.namespace(deployment)),
            selector,
        )
        mine = await claim(self.client, self.sets, DEPLOYMENTS, deployment, found)
        now = time.time()
        todo = plan(deployment, mine, self._old_pods_run(deployment, mine), now)
        await self._execute(deployment, todo)
        await self._write_status(deployment, todo)
        if todo.recheck is not None:
            self.queue.add_after(key, todo.recheck)

    def _old_pods_run(self, deployment: Obj, mine: list[Obj]) -> bool:
        if sizes.is_rolling(deployment):
            return False
        template = deployment["spec"]["template"]
        old = [one for one in mine if not same_template(one["spec"]["template"], template)]
        return any(phase(pod) not in TERMINAL for one in old for pod in self.pods.by_index(BY_OWNER, meta.uid(one)))

    async def _execute(self, deployment: Obj, todo: Plan) -> None:
        for step in todo.steps:
            if isinstance(step, Create):
                await self._create(deployment, step.replica_set, todo)
            elif isinstance(step, Patch):
                await self._patch(deployment, step)
            else:
                await self._delete(step)

    async def _create(self, deployment: Obj, made: Obj, todo: Plan) -> None:
        try:
            created = await self.client.create(REPLICA_SETS, made)
        except StatusError as error:
            if error.reason == "AlreadyExists" and await self._taken(deployment, made):
                return
            if any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes):
                return
            text = f'Failed to create new replica set "{meta.name(made)}": {error}'
            if todo.status is not None and status.deadline(deployment) is not None:
                conditions = todo.status["conditions"]
                status.set_condition(conditions, "Progressing", "False", "ReplicaSetCreateError", text, time.time())
                await self._write_status(deployment, todo)
            self.events.event(deployment, "Warning", "ReplicaSetCreateError", text)
            raise
        self.sets.observe(created)
        if sizes.replicas(made):
            self._scaled(deployment, made, 0, sizes.replicas(made))

    async def _taken(self, deployment: Obj, made: Obj) -> bool:
        """The name exists: ours from before (fine), or another template's with the same hash (count the collision)."""
        there = await self.client.get(REPLICA_SETS, meta.name(made), meta.namespace(made))
        same = same_template(there["spec"]["template"], made["spec"]["template"])
        if meta.controlled_by(there, deployment) and same:
            self.sets.observe(there)
            return True
        count = int((deployment.get("status") or {}).get("collisionCount") or 0) + 1
        patch = {"status": {"collisionCount": count}}
        name, where = meta.name(deployment), meta.namespace(deployment)
        written = await self.client.patch_status(DEPLOYMENTS, name, patch, where, patch_type="merge")
        self.deployments.observe(written)
        return False

    async def _patch(self, deployment: Obj, step: Patch) -> None:
        patch: Obj = {"metadata": {"uid": meta.uid(step.replica_set)}}
        if step.annotations:
            patch["metadata"]["annotations"] = step.annotations
        if step.spec:
            patch["spec"] = step.spec
        name, where = meta.name(step.replica_set), meta.namespace(step.replica_set)
        written = await self.client.patch(REPLICA_SETS, name, patch, where, patch_type="merge")
        self.sets.observe(written)
        if step.scaled is not None:
            self._scaled(deployment, step.replica_set, *step.scaled)

    def _scaled(self, deployment: Obj, one: Obj, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        text = f"Scaled {way} replica set {meta.name(one)} from {before} to {after}"
        self.events.event(deployment, "Normal", "ScalingReplicaSet", text)

    async def _delete(self, step: Delete) -> None:
        one = step.replica_set
        try:
            await self.client.delete(REPLICA_SETS, meta.name(one), meta.namespace(one), uid=meta.uid(one))
        except StatusError as error:
            if error.code != 404:
                raise
        self.sets.observe_deleted(one)

    async def _write_status(self, deployment: Obj, todo: Plan) -> None:
        if todo.status is None:
            return
        old = deployment.get("status") or {}
        new = {k: v for k, v in todo.status.items() if v or k == "observedGeneration"}
        patch: Obj = {}
        if _tidy(old) != _tidy(new):
            patch["status"] = {**{k: None for k in old if k not in new}, **new}
        if todo.revision and meta.annotations(deployment).get(sizes.REVISION) != todo.revision:
            patch["metadata"] = {"annotations": {sizes.REVISION: todo.revision}}
        if not patch:
            return
        name, where = meta.name(deployment), meta.namespace(deployment)
        try:
            written = await self.client.patch_status(DEPLOYMENTS, name, patch, where, patch_type="merge")
        except StatusError as error:
            if error.code == 404:
                return
            raise
        if "metadata" in patch and meta.annotations(written).get(sizes.REVISION) != todo.revision:
            written = await self.client.patch(  # a server whose status endpoint leaves metadata alone
                DEPLOYMENTS, name, {"metadata": patch["metadata"]}, where, patch_type="merge"
            )
        self.deployments.observe(written)

    # what wakes it

    def _enqueue(self, deployment: Obj) -> None:
        self.queue.add(meta.key(deployment))

    def _set_updated(self, old: Obj, new: Obj) -> None:
        before, after = meta.controller_of(old), meta.controller_of(new)
        if before is not None and (after is None or after["uid"] != before["uid"]):
            self._set_changed(old)
        self._set_changed(new)

    def _set_changed(self, one: Obj) -> None:
        ref = meta.controller_of(one)
        if ref is not None:
            if ref["kind"] == "Deployment":
                self.queue.add(meta.join_key(meta.namespace(one), ref["name"]))
            return
        for deployment in self.deployments.store.values():
            if meta.namespace(deployment) == meta.namespace(one):
                selector = labels.from_label_selector(deployment["spec"].get("selector"))
                if selector.matches(meta.labels(one)):
                    self._enqueue(deployment)

    def _pod_deleted(self, pod: Obj) -> None:
        """Recreate waits for the last old pod."""
        ref = meta.controller_of(pod)
        if ref is None or ref["kind"] != "ReplicaSet":
            return
        one = self.sets.store.get(meta.join_key(meta.namespace(pod), ref["name"]))
        owner = meta.controller_of(one) if one is not None else None
        if owner is None:
            return
        deployment = self.deployments.store.get(meta.join_key(meta.namespace(pod), owner["name"]))
        if deployment is not None and not sizes.is_rolling(deployment):
            self._enqueue(deployment)


def _tidy(status_: Obj) -> Obj:
    """Without order of conditions and without zeros."""
    result = {k: v for k, v in status_.items() if v}
    result["conditions"] = {c["type"]: c for c in status_.get("conditions") or ()}
    return result
