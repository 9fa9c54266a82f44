"""Eviction of pods that do not tolerate a NoExecute taint, or no longer (upstream pkg/controller/tainteviction)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import NODES, PODS
from netlab.controllers.context import BY_NODE, Context, pod_node


def tolerated_for(pod: Obj, taints: Sequence[Obj]) -> float | None:
    """PURE. Seconds that a pod may stay beside these NoExecute taints: 0 none, None for ever."""
    tolerations: list[Obj] = meta.get(pod, "spec", "tolerations", default=[])
    used = []
    for taint in taints:
        fitting = [t for t in tolerations if tolerates(t, taint)]
        if not fitting:
            return 0.0
        used.append(fitting[0])
    limits = [float(t["tolerationSeconds"]) for t in used if t.get("tolerationSeconds") is not None]
    return max(0.0, min(limits)) if limits else None


def tolerates(toleration: Obj, taint: Obj) -> bool:
    """PURE. core/v1 toleration.go."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


@dataclass
class _Planned:
    since: float
    timer: asyncio.TimerHandle


class TaintEvictionController:
    """Keys are pods; a node's change queues all its pods."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.nodes, self.pods = context.informer(NODES), context.informer(PODS)
        self.queue = context.queue("taint-eviction-controller")
        self.events = context.recorder("taint-eviction-controller")
        self._planned: dict[str, _Planned] = {}
        self._due: set[str] = set()
        self.pods.add_index(BY_NODE, pod_node)
        self.nodes.add_handler(self._node, self._node_updated)
        self.pods.add_handler(self._pod, self._pod_updated, self._pod_deleted)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.nodes, self.pods)
        try:
            await self.queue.run(self.reconcile, workers=8)
        finally:
            for planned in self._planned.values():
                planned.timer.cancel()

    async def reconcile(self, key: str) -> None:
        """Evict a pod, now or later, or let it stay."""
        pod = self.pods.store.get(key)
        if pod is None or meta.deleting(pod):
            self._cancel(key)
            return
        node = self.nodes.store.get(meta.get(pod, "spec", "nodeName", default=""))
        taints = _no_execute(node)
        allowed = tolerated_for(pod, taints) if taints else None
        loop = asyncio.get_running_loop()
        if allowed is None:
            if self._cancel(key):
                text = f"Cancelling deletion of Pod {key}"
                self.events.event(pod, "Normal", "TaintManagerEviction", text)
            return
        planned = self._planned.get(key)
        since = planned.since if planned else loop.time()
        wait = since + allowed - loop.time()
        if wait > 0:
            if planned is not None:
                planned.timer.cancel()
            self._planned[key] = _Planned(since, loop.call_later(wait, self.queue.add, key))
            return
        await self._evict(key, pod)

    async def _evict(self, key: str, pod: Obj) -> None:
        self._cancel(key)
        self.events.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}")
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": meta.now_rfc3339(),
        }
        name, namespace = meta.name(pod), meta.namespace(pod)
        try:
            await self.client.patch_status(PODS, name, {"status": {"conditions": [condition]}}, namespace)
            deleted = await self.client.delete(PODS, name, namespace, uid=meta.uid(pod))
        except StatusError as error:
            if error.code != 404:
                raise
            return
        if meta.deleting(deleted):
            self.pods.observe(deleted)

    def _cancel(self, key: str) -> bool:
        planned = self._planned.pop(key, None)
        if planned is not None:
            planned.timer.cancel()
        return planned is not None

    def _node(self, node: Obj) -> None:
        if _no_execute(node):
            for pod in self.pods.by_index(BY_NODE, meta.name(node)):
                self.queue.add(meta.key(pod))

    def _node_updated(self, old: Obj, new: Obj) -> None:
        if _no_execute(old) != _no_execute(new):
            for pod in self.pods.by_index(BY_NODE, meta.name(new)):
                self.queue.add(meta.key(pod))

    def _pod(self, pod: Obj) -> None:
        node = self.nodes.store.get(meta.get(pod, "spec", "nodeName", default=""))
        if node is not None and _no_execute(node):
            self.queue.add(meta.key(pod))

    def _pod_updated(self, old: Obj, new: Obj) -> None:
        before, after = old.get("spec") or {}, new.get("spec") or {}
        if any(before.get(f) != after.get(f) for f in ("nodeName", "tolerations")) or meta.deleting(new):
            if meta.key(new) in self._planned and meta.deleting(new):
                self._cancel(meta.key(new))
                return
            self._pod(new)

    def _pod_deleted(self, pod: Obj) -> None:
        self._cancel(meta.key(pod))


def _no_execute(node: Obj | None) -> list[Obj]:
    taints: list[Obj] = meta.get(node, "spec", "taints", default=[])
    return [taint for taint in taints if taint.get("effect") == "NoExecute"]
