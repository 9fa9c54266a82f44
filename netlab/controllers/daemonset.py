"""The DaemonSet controller (upstream pkg/controller/daemon)."""

from __future__ import annotations

import time

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import DAEMON_SETS, NODES, PODS
from netlab.controllers import daemonset_plan as planning
from netlab.controllers import history
from netlab.controllers import pods as podlib
from netlab.controllers.context import BY_OWNER, Context, slow_start
from netlab.controllers.pod_owner import PodOwner, terminating


class DaemonSetController(PodOwner):
    """A key is a DaemonSet; a node's change concerns them all."""

    resource, kind, component = DAEMON_SETS, "DaemonSet", "daemonset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.nodes = context.informer(NODES)
        self.nodes.add_handler(self._node, self._node_updated, self._node)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.owners, self.pods, self.nodes, self.revisions)
        await self.queue.run(self.reconcile, workers=2)

    async def reconcile(self, key: str) -> None:
        """Bring one DaemonSet nearer to what it wants."""
        owner = self.owners.store.get(key)
        if owner is None or meta.deleting(owner):
            return
        mine = await self.claimed(owner)
        revisions = self.revisions.by_index(BY_OWNER, meta.uid(owner))
        past = await history.sync(self.client, self.revisions, owner, revisions)
        todo = planning.plan(owner, list(self.nodes.store.values()), mine, past.hash, time.time())
        for pod in todo.failed:
            name = meta.get(pod, "spec", "nodeName", default="")
            text = f"Found failed daemon pod {meta.key(pod)} on node {name}, will try to kill it"
            self.events.event(owner, "Warning", "FailedDaemonPod", text)
        for pod in [*todo.failed, *todo.delete]:
            if await self.remove(pod):
                self.events.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name(pod)}")
        made = planning.template(owner, past.hash)
        _, error = await slow_start(len(todo.create), lambda n: self._create(owner, made, todo.create[n]))
        await self.write_status(owner, todo.status)
        if error is not None:
            raise error
        used = [meta.labels(pod).get(history.HASH_LABEL, "") for pod in mine]
        await history.prune(self.client, self.revisions, past, used, int(owner["spec"].get("revisionHistoryLimit", 10)))
        least = int(owner["spec"].get("minReadySeconds") or 0)
        if least and todo.status["numberAvailable"] < todo.status["numberReady"]:
            self.queue.add_after(key, least)

    async def _create(self, owner: Obj, made: Obj, node: str) -> None:
        pod = podlib.from_template(planning.for_node(made, node), owner, f"{meta.name(owner)}-")
        try:
            created = await self.client.create(PODS, pod)
        except StatusError as error:
            if terminating(error):
                return
            self.events.event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self.pods.observe(created)
        self.events.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {meta.name(created)}")

    def _node(self, node: Obj) -> None:
        for key in self.owners.store:
            self.queue.add(key)

    def _node_updated(self, old: Obj, new: Obj) -> None:
        same_taints = meta.get(old, "spec", "taints") == meta.get(new, "spec", "taints")
        if not same_taints or meta.labels(old) != meta.labels(new):
            self._node(new)
