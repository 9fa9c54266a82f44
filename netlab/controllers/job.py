"""Jobs, and their clean-up after ttlSecondsAfterFinished (upstream pkg/controller/job, ttlafterfinished)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import JOBS, PODS
from netlab.controllers import job_plan as planning
from netlab.controllers.context import BY_OWNER, Context, slow_start
from netlab.controllers.pod_owner import PodOwner, terminating

MANAGER = "kubernetes.io/job-controller"


def _mode(job: Obj | None) -> str:
    return str(((job or {}).get("spec") or {}).get("completionMode") or "NonIndexed")


class JobController(PodOwner):
    """A key is a Job."""

    resource, kind, component = JOBS, "Job", "job-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.orphans = context.queue("job_orphan_pod")
        self.owners.add_handler(on_delete=self._left_behind)
        self.pods.add_handler(self._maybe_orphan, lambda old, new: self._maybe_orphan(new))

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.owners, self.pods)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(self.reconcile, workers=5))
            group.create_task(self.orphans.run(self._free_orphan))

    def _left_behind(self, job: Obj) -> None:
        for pod in self.pods.by_index(BY_OWNER, meta.uid(job)):
            self._maybe_orphan(pod)

    def _maybe_orphan(self, pod: Obj) -> None:
        if planning.FINALIZER in meta.finalizers(pod) and planning.orphaned(pod, self.owners.store):
            self.orphans.add(meta.key(pod))

    async def _free_orphan(self, key: str) -> None:
        """Nobody will count this pod any more: let it go (upstream's syncOrphanPod)."""
        pod = self.pods.store.get(key)
        if pod is not None and planning.orphaned(pod, self.owners.store):
            await self._release(pod)

    async def reconcile(self, key: str) -> None:
        """Bring one Job nearer to its end."""
        begun, action, result = time.perf_counter(), ["reconciling"], "error"
        try:
            await self._sync(key, action)
            result = "success"
        finally:
            job = self.owners.store.get(key)
            labels = (action[0], _mode(job), result)
            self.context.measured.job_sync.observe(time.perf_counter() - begun, *labels)
            self.context.measured.job_syncs.add(*labels)

    async def _sync(self, key: str, action: list[str]) -> None:
        """`action` is filled with upstream's name of what was done."""
        job = self.owners.store.get(key)
        if (
            job is None
            or job["spec"].get("managedBy", "kubernetes.io/job-controller") != "kubernetes.io/job-controller"
        ):
            return
        mine = await self.claimed(job)
        if meta.deleting(job):
            for pod in mine:
                await self._release(pod)
            return
        if planning.finished(job):
            await self._expire(key, job)
        timing = self.context.timing
        todo = planning.plan(job, mine, time.time(), (timing.crash_loop_min, timing.crash_loop_max))
        for pod in todo.delete:
            if await self.remove(pod):
                self.events.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name(pod)}")
        action[0] = "pods_created" if todo.create else "pods_deleted" if todo.delete else "tracking"
        await self.write_status(job, self._cleared(job, todo.status))
        self._count(job, todo.status)
        for type_, reason, message in todo.events:
            self.events.event(job, type_, reason, message)
        for pod in todo.release:
            await self._release(pod)
        _, error = await slow_start(len(todo.create), lambda n: self._create(job, todo.create[n], todo.before))
        if error is not None:
            raise error
        if todo.recheck is not None:
            self.queue.add_after(key, max(0.05, todo.recheck))

    def _count(self, job: Obj, new: Obj) -> None:
        """Pods and Jobs that ended with the status that was just written."""
        old, mode = job.get("status") or {}, _mode(job)
        for field in ("succeeded", "failed"):
            more = int(new.get(field) or 0) - int(old.get(field) or 0)
            if more > 0:
                self.context.measured.job_pods_finished.add(mode, field, by=more)
        if planning.finished(job) or not planning.finished({"status": new}):
            return
        failed = (
            meta.condition({"status": new}, "Failed") if not meta.condition_true({"status": new}, "Complete") else None
        )
        reason = str((failed or {}).get("reason", ""))
        self.context.measured.jobs_finished.add(mode, reason, "failed" if failed else "succeeded")

    @staticmethod
    def _cleared(job: Obj, new: Obj) -> Obj:
        """With nulls for what is no longer there: the status is written as a merge patch."""
        old: Obj = job.get("status") or {}
        pending = dict.fromkeys(old.get("uncountedTerminatedPods") or {})
        new = {**new, "uncountedTerminatedPods": {**pending, **new["uncountedTerminatedPods"]}}
        return {**{field: None for field in old if field not in new}, **new}

    async def _create(self, job: Obj, index: int | None, before: Mapping[int, tuple[int, int]]) -> None:
        try:
            retried = before.get(index, (0, 0)) if index is not None else (0, 0)
            made = await self.client.create(PODS, planning.pod(job, index, retried))
        except StatusError as error:
            if terminating(error):
                return
            self.events.event(job, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        self.pods.observe(made)
        self.events.event(job, "Normal", "SuccessfulCreate", f"Created pod: {meta.name(made)}")

    async def _release(self, pod: Obj) -> None:
        """Take our finalizer off a pod that is counted."""
        if planning.FINALIZER not in meta.finalizers(pod):
            return
        patch = {"metadata": {"uid": meta.uid(pod), "$deleteFromPrimitiveList/finalizers": [planning.FINALIZER]}}
        try:
            written = await self.client.patch(PODS, meta.name(pod), patch, meta.namespace(pod))
        except StatusError as error:
            if error.code != 404:
                raise
            self.pods.observe_deleted(pod)
            return
        if meta.deleting(written) and not meta.finalizers(written):
            self.queue.add(meta.join_key(meta.namespace(pod), (meta.controller_of(pod) or {}).get("name", "")))
        self.pods.observe(written)

    async def _expire(self, key: str, job: Obj) -> None:
        lifetime = job["spec"].get("ttlSecondsAfterFinished")
        if lifetime is None:
            return
        ends = [c for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed")]
        left = meta.parse_time(ends[0]["lastTransitionTime"]) + int(lifetime) - time.time()
        if left > 0:
            self.queue.add_after(key, left + 0.05)
            return
        try:
            await self.client.delete(
                JOBS, meta.name(job), meta.namespace(job), uid=meta.uid(job), propagation="Background"
            )
        except StatusError as error:
            if error.code != 404:
                raise
