"""The node lifecycle controller: heartbeats to conditions, conditions to taints, lost nodes' pods to not ready.

Upstream: pkg/controller/nodelifecycle. Times are ours: a node's clock is not trusted, only that its stamps move.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import replace

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.client.kinds import LEASES, NODES, PODS
from netlab.controllers import node_health as health
from netlab.controllers.context import BY_NODE, Context, pod_node

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"


class NodeLifecycleController:
    """A monitor loop, and a queue of nodes whose taints may be wrong."""

    def __init__(self, context: Context) -> None:
        self.context, self.client, self.timing = context, context.client, context.timing
        self.nodes, self.pods = context.informer(NODES), context.informer(PODS)
        self.leases = Informer(context.client, LEASES, namespace=LEASE_NAMESPACE, timing=context.timing)
        context.informers["coordination.k8s.io/v1", "leases of nodes"] = self.leases
        self.queue = context.queue("node-lifecycle-controller")
        self.events = context.recorder("node-controller")
        self._beats: dict[str, health.Heartbeat] = {}
        self._known: set[str] = set()
        self._evicting: dict[str, float] = {}
        self._next_eviction = 0.0
        self.pods.add_index(BY_NODE, pod_node)
        self.nodes.add_handler(self._enqueue, self._updated, self._deleted)
        self.leases.add_handler(self._renewed, lambda old, new: self._renewed(new))

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.nodes, self.leases, self.pods)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._monitor(), name="node monitor")
            group.create_task(self.queue.run(self.reconcile, workers=8))

    async def _monitor(self) -> None:
        looked = time.monotonic()
        while True:
            started = time.monotonic()
            self._excuse(started - looked)
            looked = started
            results = await asyncio.gather(
                *(self._look(node) for node in list(self.nodes.store.values())), return_exceptions=True
            )
            for error in results:
                if isinstance(error, Exception):
                    log.info("node monitor: %s", error)
            await asyncio.sleep(max(0.05, self.timing.node_monitor_period - (time.monotonic() - started)))

    def _excuse(self, elapsed: float) -> None:
        connected = self.leases.connected and self.nodes.connected
        more = health.excuse(elapsed, self.timing.node_monitor_period, connected)
        if more > 0:
            self._beats = {name: replace(beat, at=beat.at + more) for name, beat in self._beats.items()}

    async def _look(self, node: Obj) -> None:
        """Judge one node's heartbeat."""
        name, now = meta.name(node), time.monotonic()
        if name not in self._known:
            self._known.add(name)
            text = f"Node {name} event: Registered Node {name} in Controller"
            self.events.event(_node_reference(node), "Normal", "RegisteredNode", text)
        self._beat(node, now)
        grace = self.timing.node_monitor_grace
        if not (meta.condition(node, "Ready") or {}).get("lastHeartbeatTime"):
            grace = self.timing.node_startup_grace
        if now - self._beats[name].at <= grace:
            return
        changed = health.silent_conditions(node, time.time())
        if changed and await self._lost(name, grace):
            written = await self.client.patch_status(NODES, name, {"status": {"conditions": changed}})
            self.nodes.observe(written)

    async def _lost(self, name: str, grace: float) -> bool:
        """Ask the API server itself: on a busy machine the watch, or the server, may be behind."""
        asked = time.monotonic()
        try:
            self.leases.observe(await self.client.get(LEASES, name, LEASE_NAMESPACE))
        except StatusError as error:
            if error.code != 404:
                raise
        return health.lost(asked - self._beats[name].at, grace, time.monotonic() - asked)

    def _beat(self, node: Obj, now: float) -> None:
        name = meta.name(node)
        lease = self.leases.store.get(f"{LEASE_NAMESPACE}/{name}")
        self._beats[name] = health.heartbeat(node, lease, self._beats.get(name), now)

    async def reconcile(self, name: str) -> None:
        """Make one node's taints follow its conditions; tell its pods when it is lost."""
        node = self.nodes.store.get(name)
        if node is None:
            return
        ready = health.ready_status(node) == "True"
        evict = not ready and not health.eviction_stopped(list(self.nodes.store.values())) and self._may_evict(name)
        if ready:
            self._evicting.pop(name, None)
        if not ready and meta.condition(node, "Ready") is not None:
            await self._mark_pods(name)
        wanted = health.taints(node, evict=evict, now=time.time())
        if wanted is None:
            return
        patch = {"spec": {"taints": wanted or None}, "metadata": {"resourceVersion": meta.resource_version(node)}}
        try:
            self.nodes.observe(await self.client.patch(NODES, name, patch, patch_type="merge"))
            if _evicting(wanted) and not _evicting(node["spec"].get("taints") or ()):
                self.context.measured.evictions.add(_zone(node))
        except StatusError as error:
            if error.code == 404:
                return
            raise

    def _may_evict(self, name: str) -> bool:
        """Spread NoExecute taints over time, so that a mistake does not empty the cluster at once."""
        now = time.monotonic()
        due = self._evicting.get(name)
        if due is None:
            due = self._evicting[name] = max(now, self._next_eviction)
            self._next_eviction = due + self.timing.node_eviction_interval
        if due > now:
            self.queue.add_after(name, due - now)
            return False
        return True

    async def _mark_pods(self, name: str) -> None:
        """Pods of a lost node are not ready any more: their endpoints go."""
        pods = [pod for pod in self.pods.by_index(BY_NODE, name) if meta.condition_true(pod, "Ready")]
        stamp = meta.now_rfc3339()

        async def mark(pod: Obj) -> None:
            condition = {"type": "Ready", "status": "False", "lastTransitionTime": stamp}
            patch = {"status": {"conditions": [condition]}}
            try:
                written = await self.client.patch_status(PODS, meta.name(pod), patch, meta.namespace(pod))
            except StatusError as error:
                if error.code != 404:
                    raise
                return
            self.pods.observe(written)
            self.events.event(pod, "Warning", "NodeNotReady", "Node is not ready")

        results = await asyncio.gather(*(mark(pod) for pod in pods), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error

    # what informers say

    def _enqueue(self, node: Obj) -> None:
        self.queue.add(meta.name(node))

    def _updated(self, old: Obj, new: Obj) -> None:
        if health.ready_status(old) != health.ready_status(new):
            if health.ready_status(new) != "True":
                name = meta.name(new)
                text = f"Node {name} status is now: NodeNotReady"
                self.events.event(_node_reference(new), "Normal", "NodeNotReady", text)
            for name in self.nodes.store:  # whether anybody may be evicted depends on all
                self.queue.add(name)
        self._enqueue(new)

    def _renewed(self, lease: Obj) -> None:
        node = self.nodes.store.get(meta.name(lease))
        if node is not None:
            self._beat(node, time.monotonic())

    def _deleted(self, node: Obj) -> None:
        name = meta.name(node)
        self._beats.pop(name, None)
        self._known.discard(name)
        self._evicting.pop(name, None)
        text = f"Node {name} event: Removing Node {name} from Controller"
        self.events.event(_node_reference(node), "Normal", "RemovingNode", text)


def _node_reference(node: Obj) -> Obj:
    """Events about nodes carry the uid, so that describe finds them."""
    return {"apiVersion": "v1", "kind": "Node", "name": meta.name(node), "uid": meta.uid(node)}


def _evicting(taints: Iterable[Obj]) -> bool:
    return any(taint.get("effect") == "NoExecute" and taint.get("key") in _LOST for taint in taints)


def _zone(node: Obj) -> str:
    """As upstream's GetZoneKey: region and zone; "" where neither is known."""
    region, zone = (meta.labels(node).get(f"topology.kubernetes.io/{what}", "") for what in ("region", "zone"))
    return f"{region}:\x00:{zone}" if region or zone else ""


_LOST = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})
