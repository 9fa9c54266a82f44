"""One node's kubelet: follows the pods bound to the node, keeps a worker for each, hands them the runtime's events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.client.kinds import PODS
from netlab.node.kubelet.admission import Admission
from netlab.node.kubelet.backoff import Backoff
from netlab.node.kubelet.containerconfig import POD_UID_LABEL
from netlab.node.kubelet.eventtext import PodEvents
from netlab.node.kubelet.imagecache import ImageCache
from netlab.node.kubelet.ipam import Ranges
from netlab.node.kubelet.podspec import uid
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.shared import Shared
from netlab.node.kubelet.sources import ObjectSource
from netlab.node.kubelet.worker import TERMINAL, PodWorker
from netlab.runtime.contract import ContainerError, ContainerEvent, ContainerStatus, SandboxStatus

log = logging.getLogger(__name__)

RELIST = 10.0
"""Seconds between looks at everything the runtime has: a safety net under its events."""


class Kubelet:
    """`workers` by pod uid. `nodes` is an informer that has at least this node's Node object."""

    def __init__(self, context: NodeContext, nodes: Informer) -> None:
        self.context = context
        self.workers: dict[str, PodWorker] = {}
        self._nodes = nodes
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._own: list[asyncio.Task[None]] = []
        timing = context.timing
        self.source = ObjectSource(context.client, self._objects_changed)
        self.shared = Shared(
            context=context,
            source=self.source,
            events=PodEvents(context.recorder),
            backoff=Backoff(timing.crash_loop_min, timing.crash_loop_max, timing.crash_loop_reset),
            image_backoff=Backoff(timing.image_backoff_min, timing.image_backoff_max, timing.crash_loop_reset),
            slots=asyncio.Semaphore(max(2, context.agent.start_concurrency // max(1, len(context.agent.nodes)))),
            allocatable=context.config.resources(),
            on_gone=self._gone,
            images=ImageCache(context.runtime.images),
            node_hosts=_read("/etc/hosts"),
            node_resolver=_read("/etc/resolv.conf") if context.agent.resolv_conf is None else context.agent.resolv_conf,
        )
        self.admission = Admission(self.shared.allocatable)
        self.pods = Informer(context.client, PODS, field_selector=f"spec.nodeName={context.name}", timing=timing)
        self._sandboxes: dict[str, SandboxStatus] = {}
        self._containers: dict[str, list[ContainerStatus]] = {}

    async def start(self) -> None:
        """Read what the runtime has, then follow the API. Returns once the runtime was read."""
        loop = asyncio.get_running_loop()
        self._own.append(loop.create_task(self._follow_runtime()))
        await asyncio.sleep(0)
        await self._read_runtime()
        self.pods.add_handler(self._on_add, self._on_update, self._on_delete)
        self.pods.start()
        self._own.append(loop.create_task(self._remove_orphans()))

    def network_ready(self, pod_cidrs: Sequence[str]) -> None:
        """The node has its pod network: pods may get addresses. Only after `start`."""
        ipam = Ranges(pod_cidrs)
        for pod_uid, sandbox in self._sandboxes.items():
            if sandbox.config.host_network:
                continue
            ipam.reserve(sandbox.config.ips, pod_uid)
        self.shared.ipam = ipam
        self.shared.network_up.set()

    def adopted(self) -> list[tuple[str, tuple[str, ...]]]:
        """(uid, addresses) of the pods that ran before this kubelet and are on the pod network."""
        return [
            (pod_uid, tuple(sandbox.config.ips))
            for pod_uid, sandbox in self._sandboxes.items()
            if sandbox.config.ips and not sandbox.config.host_network
        ]

    def running_pods(self) -> list[Obj]:
        """The pods that the kubelet knows, as API objects (for its /pods)."""
        return [worker.pod for worker in self.workers.values()]

    def find(self, namespace: str, name: str, pod_uid: str = "") -> PodWorker | None:
        """The worker of a pod by name (and uid where two of one name overlap); the newest one."""
        for worker in reversed(list(self.workers.values())):
            meta = worker.pod["metadata"]
            if meta["name"] == name and meta["namespace"] == namespace and pod_uid in ("", worker.uid):
                return worker
        return None

    # The API's side

    def _on_add(self, pod: Obj) -> None:
        pod_uid = uid(pod)
        worker = self.workers.get(pod_uid)
        if worker is not None:
            worker.update(pod)
            return
        worker = PodWorker(self.shared, pod)
        self.workers[pod_uid] = worker
        sandbox = self._sandboxes.get(pod_uid)
        if sandbox is not None:
            worker.adopt(sandbox, self._containers.pop(pod_uid, ()))
        self._admit(worker, adopted=sandbox is not None)
        self._tasks[pod_uid] = asyncio.get_running_loop().create_task(
            worker.run(), name=f"pod {pod['metadata']['name']}"
        )

    def _admit(self, worker: PodWorker, *, adopted: bool) -> None:
        pod = worker.pod
        if (pod.get("status") or {}).get("phase") in TERMINAL or pod["metadata"].get("deletionTimestamp"):
            return
        if adopted:
            self.admission.add(pod)
            return
        node = self._nodes.store.get(self.context.name)
        rejection = self.admission.admit(pod, node)
        if rejection is not None:
            self.shared.events.pod(pod, rejection.reason, rejection.message)
            worker.reject(rejection.reason, f"Pod was rejected: {rejection.message}")

    def _on_update(self, old: Obj, pod: Obj) -> None:
        if uid(old) != uid(pod):  # deleted and made again while we did not look
            self._on_delete(old)
            self._on_add(pod)
            return
        if (pod.get("status") or {}).get("phase") in TERMINAL:
            self.admission.remove(uid(pod))
        worker = self.workers.get(uid(pod))
        if worker is None:
            self._on_add(pod)
        else:
            worker.update(pod)

    def _on_delete(self, pod: Obj) -> None:
        # As upstream's podManager: the next pod may be bound because this one is gone from the API.
        self.admission.remove(uid(pod))
        worker = self.workers.get(uid(pod))
        if worker is not None:
            worker.removed(pod)

    def _gone(self, pod_uid: str) -> None:
        self.workers.pop(pod_uid, None)
        self._tasks.pop(pod_uid, None)
        self._sandboxes.pop(pod_uid, None)
        self.admission.remove(pod_uid)

    def _objects_changed(self, uids: set[str]) -> None:
        for pod_uid in uids:
            worker = self.workers.get(pod_uid)
            if worker is not None:
                worker.objects_changed()

    # The runtime's side

    async def _read_runtime(self) -> None:
        runtime, name = self.context.runtime, self.context.name
        for sandbox in await runtime.list_sandboxes(name):
            known = self._sandboxes.get(sandbox.config.uid)
            if known is None or known.config.attempt < sandbox.config.attempt:
                self._sandboxes[sandbox.config.uid] = sandbox
        for container in await runtime.list_containers(name):
            self._containers.setdefault(container.labels.get(POD_UID_LABEL, ""), []).append(container)

    async def _follow_runtime(self) -> None:
        while True:
            try:
                async for event in self.context.runtime.events(self.context.name):
                    await self._runtime_event(event)
            except (ContainerError, OSError) as problem:
                log.warning("runtime events of %s: %s", self.context.name, problem)
            await asyncio.sleep(0.5)
            await self._relist()

    async def _runtime_event(self, event: ContainerEvent) -> None:
        if event.kind == "sandbox_exited":
            for worker in self.workers.values():
                worker.sandbox_exited(event.sandbox_id)
        elif event.kind == "exited":
            try:
                status = await self.context.runtime.container_status(event.container_id)
            except ContainerError:
                return
            self._container_changed(status)

    def _container_changed(self, status: ContainerStatus) -> None:
        worker = self.workers.get(status.labels.get(POD_UID_LABEL, ""))
        if worker is not None:
            worker.container_changed(status)

    async def _relist(self) -> None:
        for status in await self.context.runtime.list_containers(self.context.name):
            self._container_changed(status)

    async def _remove_orphans(self) -> None:
        """Sandboxes whose pods are not in the API (any more): deleted while no kubelet looked. Then relist for ever."""
        await self.pods.wait_synced()
        for pod_uid, sandbox in list(self._sandboxes.items()):
            if pod_uid not in self.workers:
                await self._remove_orphan(pod_uid, sandbox)
        self._containers.clear()
        while True:
            await asyncio.sleep(RELIST)
            try:
                await self._relist()
            except (ContainerError, OSError) as problem:
                log.warning("relisting %s: %s", self.context.name, problem)

    async def _remove_orphan(self, pod_uid: str, sandbox: SandboxStatus) -> None:
        log.info("removing orphan pod %s/%s", sandbox.config.namespace, sandbox.config.name)
        try:
            await self.context.runtime.remove_sandbox(sandbox.id)
            if not sandbox.config.host_network:
                await self.context.wiring.detach(pod_uid)
        except (ContainerError, OSError) as problem:
            log.warning("orphan pod %s: %s", sandbox.config.name, problem)
            return
        if self.shared.ipam is not None:
            self.shared.ipam.release(pod_uid)
        self._sandboxes.pop(pod_uid, None)

    async def close(self) -> None:
        """Stop following; the pods go on."""
        tasks = [*self._own, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        for worker in list(self.workers.values()):
            worker.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.pods.stop()
        await self.source.close()


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
