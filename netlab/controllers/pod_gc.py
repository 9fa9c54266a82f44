"""Pods that nobody will ever finish: of removed nodes, never bound but deleted, out of service, too many finished.

Upstream: pkg/controller/podgc.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import NODES, PODS
from netlab.controllers.context import Context
from netlab.controllers.pods import TERMINAL, phase

log = logging.getLogger(__name__)

THRESHOLD = 12_500
"""--terminated-pod-gc-threshold."""

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@dataclass(frozen=True)
class Doomed:
    """A pod to delete with no grace; `message` is its DisruptionTarget's, "" for none (it was finished anyway)."""

    pod: Obj
    message: str = ""


def plan(
    pods: Iterable[Obj], nodes: Mapping[str, Obj], gone: Collection[str], threshold: int = THRESHOLD
) -> list[Doomed]:
    """PURE. `gone` are nodes known to be gone for good (missing for the quarantine time)."""
    doomed: list[Doomed] = []
    finished: list[Obj] = []
    for pod in pods:
        node = meta.get(pod, "spec", "nodeName")
        deleting = meta.deleting(pod)
        if phase(pod) in TERMINAL and not deleting:
            finished.append(pod)
        if not node:
            if deleting:
                doomed.append(Doomed(pod))
        elif node in gone:
            doomed.append(Doomed(pod, "PodGC: node no longer exists"))
        elif deleting and _out_of_service(nodes.get(node)):
            doomed.append(Doomed(pod))
    excess = len(finished) - threshold
    if excess > 0:
        finished.sort(key=lambda pod: pod["metadata"].get("creationTimestamp", ""))
        doomed.extend(Doomed(pod) for pod in finished[:excess])
    return doomed


def _out_of_service(node: Obj | None) -> bool:
    ready = meta.condition_true(node, "Ready") if node else True
    return not ready and any(t["key"] == OUT_OF_SERVICE for t in meta.get(node, "spec", "taints", default=[]))


class PodGcController:
    """A periodic look."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.nodes, self.pods = context.informer(NODES), context.informer(PODS)
        self._missing: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.nodes, self.pods)
        while True:
            await asyncio.sleep(self.context.timing.pod_gc_period)
            try:
                await self._sweep(time.monotonic())
            except (OSError, StatusError) as error:
                log.info("pod garbage collection: %s", error)

    async def _sweep(self, now: float) -> None:
        named = {node for pod in self.pods.store.values() if (node := meta.get(pod, "spec", "nodeName"))}
        missing = {name for name in named if name not in self.nodes.store}
        self._missing = {name: self._missing.get(name, now) for name in missing}
        old = [n for n, since in self._missing.items() if now - since >= self.context.timing.pod_gc_quarantine]
        gone = [name for name in old if await self._really_gone(name)]
        for doomed in plan(self.pods.store.values(), self.nodes.store, gone):
            await self._remove(doomed)

    async def _really_gone(self, name: str) -> bool:
        try:
            await self.client.get(NODES, name)
        except StatusError as error:
            return error.code == 404
        return False

    async def _remove(self, doomed: Doomed) -> None:
        pod = doomed.pod
        name, namespace = meta.name(pod), meta.namespace(pod)
        status: Obj = {}
        if phase(pod) not in TERMINAL:
            status["phase"] = "Failed"
            if doomed.message:
                status["conditions"] = [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByPodGC",
                        "message": doomed.message,
                        "lastTransitionTime": meta.now_rfc3339(),
                    }
                ]
        try:
            if status:
                await self.client.patch_status(PODS, name, {"status": status}, namespace)
            await self.client.delete(PODS, name, namespace, uid=meta.uid(pod), grace_period=0)
        except StatusError as error:
            if error.code not in (404, 409):
                raise
