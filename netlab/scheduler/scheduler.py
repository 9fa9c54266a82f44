"""The scheduling loop: take a pod, decide, assume, and write the binding while the next pod is decided on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from netlab.api import labels as labelling
from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.labels import Selector
from netlab.api.measuring import Gauge, Measure
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.events import EventRecorder
from netlab.client.informer import Informer
from netlab.client.kinds import (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICES,
    STORAGE_CLASSES,
)
from netlab.client.leaderelection import run_as_leader
from netlab.client.measured import leading
from netlab.client.requested import counted
from netlab.client.workqueue import OUTAGE_MOST
from netlab.scheduler.cache import Cache
from netlab.scheduler.cycle import Failure, Placement, schedule
from netlab.scheduler.measured import Measured, resources
from netlab.scheduler.model import PodInfo
from netlab.scheduler.prebind import VolumeBinder
from netlab.scheduler.preemption import Preemption, preempt
from netlab.scheduler.queue import Entry, SchedulingQueue
from netlab.scheduler.volumes import BindingError, Bindings, Storage, wanted

if TYPE_CHECKING:
    from netlab.scheduler import SchedulerConfig

log = logging.getLogger(__name__)

FINISHED = ("Succeeded", "Failed")
SPREAD_OWNERS = ("ReplicaSet", "ReplicationController", "StatefulSet")
NOT_SPREAD_BY = ("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "controller-revision-hash")
AFTER_POD_GONE = frozenset(
    {"NodeResourcesFit", "NodePorts", "VolumeRestrictions", "PodTopologySpread", "InterPodAffinity"}
)
AFTER_POD_PLACED = frozenset({"PodTopologySpread", "InterPodAffinity"})


class _Selectors:
    """What default spreading counts for a pod: those of its Services that select it, and its owner's.

    A ReplicaSet's selector with its template hash chooses the same pods as all of the pod's labels do, so owners need
    not be watched.
    """

    def __init__(self, services: Informer) -> None:
        self._services = services
        services.add_index("namespace", lambda service: [meta.namespace(service)])

    def of(self, pod: PodInfo) -> Selector | None:
        owner = meta.controller_of(pod.obj)
        if owner is not None and owner["kind"] in SPREAD_OWNERS:
            chosen = {k: v for k, v in pod.labels.items() if k not in NOT_SPREAD_BY}
            return labelling.from_map(chosen) if chosen else None
        chosen = {}
        for service in self._services.by_index("namespace", pod.namespace):
            selector = (service.get("spec") or {}).get("selector")
            if selector and selector.items() <= pod.labels.items():
                chosen.update(selector)
        return labelling.from_map(chosen) if chosen else None


NAME = "kube-scheduler"


class _Stopwatch:
    """Notes how long each extension point took."""

    def __init__(self, measured: Measured) -> None:
        self._measured, self._last = measured, time.perf_counter()

    def passed(self, point: str) -> None:
        now = time.perf_counter()
        self._measured.points.observe(now - self._last, point, self._measured.profile, "Success")
        self._last = now


class Scheduler:
    """One scheduler by name."""

    def __init__(self, client: Client, config: SchedulerConfig) -> None:
        self.client, self.config, timing = client, config, config.timing
        self.cache = Cache()
        loop = asyncio.get_running_loop()
        self.measured = Measured(config.scheduler_name)
        waits = (timing.scheduler_backoff_min, timing.scheduler_backoff_max)
        self.queue = SchedulingQueue(*waits, loop.time, self.measured.incoming)
        self.events = EventRecorder(client, config.scheduler_name, modern=True)
        self.pods = Informer(client, PODS, timing=timing)
        self.nodes = Informer(client, NODES, timing=timing)
        self.namespaces = Informer(client, NAMESPACES, timing=timing)
        self.services = Informer(client, SERVICES, timing=timing)
        self.cache.selectors = _Selectors(self.services)
        kinds = (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES)
        self.storage = claims, volumes, classes = tuple(Informer(client, kind, timing=timing) for kind in kinds)
        self.cache.storage = Storage(claims.store, volumes.store, classes.store)
        self.binder = VolumeBinder(client, self.cache, claims, volumes)
        self.nominated: dict[str, tuple[str, PodInfo]] = {}
        self._slots = asyncio.Semaphore(config.bind_concurrency)
        self._writes: set[asyncio.Task[None]] = set()
        self._start = 0
        self.nodes.add_handler(self._node_added, self._node_updated, self._node_deleted)
        self.pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)
        self.namespaces.add_handler(self._namespace, lambda old, new: self._namespace(new))
        claims.add_handler(
            lambda claim: self._claim(claim, "PersistentVolumeClaimAdd"),
            lambda old, new: self._claim(new, "PersistentVolumeClaimUpdate"),
        )
        for informer, kind in ((volumes, "PersistentVolume"), (classes, "StorageClass")):
            informer.add_handler(partial(self._storage, f"{kind}Add"), partial(self._storage, f"{kind}Update"))

    async def run(self) -> None:
        """Until cancelled."""
        self.services.start()
        try:
            await asyncio.gather(*(i.wait_synced() for i in (self.nodes, self.namespaces, self.pods)))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._flush())
                group.create_task(self._loop())
        finally:
            for task in self._writes:
                task.cancel()
            await self.events.close()
            informers = (self.pods, self.nodes, self.namespaces, self.services, *self.storage)
            await asyncio.gather(*(informer.stop() for informer in informers))

    async def _loop(self) -> None:
        while True:
            await self._slots.acquire()
            entry = await self.queue.pop()
            if entry.pod.claims:
                # most clusters have no claims: the first pod with one starts the watches
                await asyncio.gather(*(informer.wait_synced() for informer in self.storage))
            try:
                write = self._decide(entry)
            except Exception:
                log.exception("scheduling %s failed", entry.pod.key)
                self.queue.again(entry)
                self._slots.release()
                continue
            task = asyncio.create_task(write)
            self._writes.add(task)
            task.add_done_callback(self._written)
            await asyncio.sleep(0)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            log.error("scheduler write failed", exc_info=task.exception())

    async def _flush(self) -> None:
        period = self.config.timing.scheduler_unschedulable_flush
        while True:
            await asyncio.sleep(period)
            self.queue.wake_older_than(period)

    def _decide(self, entry: Entry) -> Coroutine[Any, Any, None]:
        """Decide, and assume what was decided; returns the coroutine that writes it."""
        pod = entry.pod
        nominations = self._nominations()
        begun, watch = time.perf_counter(), _Stopwatch(self.measured)
        try:
            result = schedule(pod, self.cache, start=self._start, nominations=nominations, passed=watch.passed)
        except Exception:
            self.measured.attempted("error", time.perf_counter() - begun)
            raise
        self._start = (self._start + 1) % max(1, len(self.cache.nodes))
        if isinstance(result, Placement):
            self.nominated.pop(pod.uid, None)
            needed = wanted(pod, self.cache.storage, self.cache.by_name[result.node])
            self.cache.assume(pod, result.node)
            return (
                self._bind(entry, result.node, begun) if needed is None else self._volumes_first(entry, needed, begun)
            )
        attempt = preempt(pod, result, self.cache, nominations) if result.total else ""
        watch.passed("PostFilter")
        self.measured.attempted("unschedulable", time.perf_counter() - begun)
        self.queue.unschedulable(entry, result.plugins)
        if isinstance(attempt, Preemption):
            self.nominated[pod.uid] = (attempt.node, pod)
            self.measured.preemptions.add()
            self.measured.victims.observe(len(attempt.victims))
            return self._preempt(pod, result, attempt)
        return self._unschedulable(pod, result.message(attempt))

    def _nominations(self) -> dict[str, list[PodInfo]]:
        found: dict[str, list[PodInfo]] = {}
        for node, pod in self.nominated.values():
            found.setdefault(node, []).append(pod)
        return found

    # writes

    async def _volumes_first(self, entry: Entry, needed: Bindings, begun: float) -> None:
        """Bind the volumes, then the pod, beside the loop: making a volume takes as long as it takes."""
        self.binder.assume(needed)
        task = asyncio.create_task(self._prebind(entry, needed, begun))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _prebind(self, entry: Entry, needed: Bindings, begun: float) -> None:
        pod = entry.pod
        try:
            await self.binder.bind(needed, pod.uid)
        except (BindingError, StatusError, OSError) as error:
            self.cache.forget(pod.uid)
            self.measured.attempted("error", time.perf_counter() - begun)
            if pod.key in self.pods.store:
                self.queue.again(entry)
                await self._unschedulable(
                    pod, f'running PreBind plugin "VolumeBinding": {error}', reason="SchedulerError"
                )
            return
        finally:
            self.binder.forget(needed)
        await self._bind(entry, needed.node, begun)

    async def _bind(self, entry: Entry, node: str, begun: float) -> None:
        """`begun`: when the attempt began, by time.perf_counter()."""
        pod, binding = entry.pod, time.perf_counter()
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self.client.subresource(PODS, pod.name, "binding", pod.namespace, body=body)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.cache.forget(pod.uid)
            if isinstance(error, StatusError) and error.code == 404:
                return
            if not isinstance(error, StatusError):
                log.info("binding %s to %s: %s", pod.key, node, error)
                self.queue.again(entry, OUTAGE_MOST)
                return
            self.measured.attempted("error", time.perf_counter() - begun)
            log.warning("binding %s to %s: %s", pod.key, node, error)
            self.queue.again(entry)
            self.events.event(pod.obj, "Warning", "FailedScheduling", f"Binding rejected: {error}", action="Scheduling")
            return
        self.queue.remove(pod.uid)
        now, measured = time.perf_counter(), self.measured
        measured.points.observe(now - binding, "Bind", measured.profile, "Success")
        measured.attempted("scheduled", now - begun)
        measured.tries.observe(entry.attempts)
        waited = asyncio.get_running_loop().time() - entry.since
        measured.sli.observe(waited, str(entry.attempts) if entry.attempts < 15 else "15+")
        text = f"Successfully assigned {pod.key} to {node}"
        self.events.event(pod.obj, "Normal", "Scheduled", text, action="Binding")

    async def _unschedulable(
        self, pod: PodInfo, message: str, node: str | None = None, reason: str = "Unschedulable"
    ) -> None:
        self.events.event(pod.obj, "Warning", "FailedScheduling", message, action="Scheduling")
        condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        old = meta.condition(pod.obj, "PodScheduled") or {}
        if node is None and all(old.get(key) == value for key, value in condition.items()):
            return
        moved = old.get("lastTransitionTime") if old.get("status") == "False" else None
        status: Obj = {"conditions": [condition | {"lastTransitionTime": moved or meta.now_rfc3339()}]}
        if node is not None:
            status["nominatedNodeName"] = node
        try:
            await self.client.patch_status(PODS, pod.name, {"status": status}, pod.namespace)
        except (OSError, StatusError) as error:
            log.info("condition of %s: %s", pod.key, error)

    async def _preempt(self, pod: PodInfo, failure: Failure, attempt: Preemption) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{self.config.scheduler_name}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": meta.now_rfc3339(),
        }
        for victim in attempt.victims:
            try:
                await self.client.patch_status(
                    PODS, victim.name, {"status": {"conditions": [condition]}}, victim.namespace
                )
                await self.client.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
            except (OSError, StatusError) as error:
                log.info("preempting %s: %s", victim.key, error)
                continue
            text = f"Preempted by pod {pod.uid} on node {attempt.node}"
            self.events.event(victim.obj, "Normal", "Preempted", text, action="Preempting")
        await self._unschedulable(pod, failure.message(), attempt.node)

    # what informers say

    def _node_added(self, node: Obj) -> None:
        self.cache.set_node(node)
        self.queue.wake(lambda entry: True, "NodeAdd")

    def _node_updated(self, old: Obj, new: Obj) -> None:
        if _seen_by_scheduler(old) == _seen_by_scheduler(new):
            return
        self.cache.set_node(new)
        self.queue.wake(lambda entry: True, "NodeUpdate")

    def _node_deleted(self, node: Obj) -> None:
        self.cache.remove_node(meta.name(node))

    def _namespace(self, namespace: Obj) -> None:
        self.cache.namespace_labels[meta.name(namespace)] = meta.labels(namespace)

    def _claim(self, claim: Obj, event: str) -> None:
        self.binder.moved()
        namespace, name = meta.namespace(claim), meta.name(claim)

        def named(entry: Entry) -> bool:
            return entry.pod.namespace == namespace and any(name == one for one, _ in entry.pod.claims)

        self.queue.wake(lambda entry: "VolumeBinding" in entry.plugins and named(entry), event)

    def _storage(self, event: str, *_: Obj) -> None:
        self.binder.moved()
        self.queue.wake(lambda entry: "VolumeBinding" in entry.plugins, event)

    def _pod_added(self, pod: Obj) -> None:
        spec, uid = pod.get("spec") or {}, meta.uid(pod)
        if (pod.get("status") or {}).get("phase") in FINISHED:
            self._gone(uid)
        elif spec.get("nodeName"):
            known = self.cache.has(uid)
            self.queue.remove(uid)
            self.nominated.pop(uid, None)
            self.cache.set_pod(pod)
            if not known:
                self.queue.wake(lambda entry: not AFTER_POD_PLACED.isdisjoint(entry.plugins), "AssignedPodAdd")
        elif spec.get("schedulerName", self.config.scheduler_name) == self.config.scheduler_name:
            if meta.deleting(pod):
                self._gone(uid)
            elif not self.cache.assumed(uid):
                self.queue.put(PodInfo(pod))

    def _pod_updated(self, old: Obj, new: Obj) -> None:
        self._pod_added(new)

    def _pod_deleted(self, pod: Obj) -> None:
        self._gone(meta.uid(pod))

    def _gone(self, uid: str) -> None:
        self.queue.remove(uid)
        self.nominated.pop(uid, None)
        if self.cache.remove_pod(uid) is not None:
            self.queue.wake(lambda entry: not AFTER_POD_GONE.isdisjoint(entry.plugins), "AssignedPodDelete")


def _seen_by_scheduler(node: Obj) -> tuple[object, ...]:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    return (meta.labels(node), spec.get("taints"), spec.get("unschedulable"), status.get("allocatable"))


async def run(client: Client, config: SchedulerConfig) -> None:
    """Schedule until cancelled, while leading."""
    scheduler, leads = Scheduler(client, config), leading(NAME)

    async def lead() -> None:
        leads.set(1.0, NAME)
        await scheduler.run()

    door = asyncio.create_task(_door(scheduler, leads)) if config.secure_port else None
    try:
        await run_as_leader(client, NAME, config.identity, lead, timing=config.timing, adopt=not config.elect)
    finally:
        if door is not None:
            door.cancel()


async def _door(scheduler: Scheduler, leads: Gauge) -> None:
    """Health and metrics of this process, on its own port."""
    from netlab.client.door import Door

    informers = (scheduler.nodes, scheduler.pods, scheduler.namespaces)
    checks: dict[str, Callable[[], bool]] = {
        "leaderElection": lambda: True,
        "sched-handler-sync": lambda: all(one.synced for one in informers),
    }
    asked = counted(scheduler.client.transport)
    pages: dict[str, Callable[[], Iterable[Measure]]] = {
        "/metrics": lambda: [leads, *asked, *scheduler.measured.all(scheduler.queue.lengths())],
        "/metrics/resources": lambda: resources(scheduler.pods.store.values()),
    }
    await Door(scheduler.client, NAME, checks, pages).serve(scheduler.config.secure_port)
