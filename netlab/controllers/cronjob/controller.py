"""CronJobs to Jobs (upstream pkg/controller/cronjob). Thin: `plan` decides, here its changes are written."""

from __future__ import annotations

import time

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import CRON_JOBS, JOBS
from netlab.controllers.context import BY_OWNER, Context, controller_uid
from netlab.controllers.cronjob import plan as planning
from netlab.controllers.pod_owner import terminating


class CronJobController:
    """A key is a CronJob."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.cronjobs, self.jobs = context.informer(CRON_JOBS), context.informer(JOBS)
        self.queue = context.queue("cronjob")
        self.events = context.recorder("cronjob-controller")
        self.jobs.add_index(BY_OWNER, controller_uid)
        self.cronjobs.add_handler(self._changed, lambda old, new: self._changed(new), self._changed)
        self.jobs.add_handler(self._job, lambda old, new: self._job(new), self._job)

    def _changed(self, cronjob: Obj) -> None:
        self.queue.add(meta.key(cronjob))

    def _job(self, job: Obj) -> None:
        ref = meta.controller_of(job)
        if ref is not None and ref["kind"] == "CronJob":
            self.queue.add(meta.join_key(meta.namespace(job), ref["name"]))

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.cronjobs, self.jobs)
        await self.queue.run(self.reconcile, workers=5)

    async def reconcile(self, key: str) -> None:
        """Start what is due, note what ended, remove what is too old."""
        cronjob = self.cronjobs.store.get(key)
        if cronjob is None:
            return
        mine = self.jobs.by_index(BY_OWNER, meta.uid(cronjob))
        todo = planning.plan(cronjob, mine, await self._gone(cronjob, mine), time.time())
        for type_, reason, message in todo.events:
            self.events.event(cronjob, type_, reason, message)
        problem: Exception | None = None
        try:
            await self._start(cronjob, todo)
        except StatusError as error:
            problem = error
        for job in planning.surplus(cronjob, mine):
            await self._delete(cronjob, job, todo.status)
        await self._write(cronjob, todo.status)
        if problem is not None:
            raise problem
        if todo.recheck is not None:
            self.queue.add_after(key, max(planning.DELTA, todo.recheck))

    async def _gone(self, cronjob: Obj, mine: list[Obj]) -> frozenset[str]:
        """Active Jobs that neither the informer nor the API has."""
        known = {meta.uid(job) for job in mine}
        found = set()
        for ref in meta.get(cronjob, "status", "active", default=[]):
            if ref["uid"] in known:
                continue
            try:
                await self.client.get(JOBS, ref["name"], ref.get("namespace") or meta.namespace(cronjob))
            except StatusError as error:
                if error.code != 404:
                    raise
                found.add(ref["uid"])
        return frozenset(found)

    async def _start(self, cronjob: Obj, todo: planning.Plan) -> None:
        if todo.create is None:
            return
        for ref in todo.replace:
            try:
                job = await self.client.get(JOBS, ref["name"], meta.namespace(cronjob))
            except StatusError as error:
                self.events.event(cronjob, "Warning", "FailedGet", f"Get job: {error}")
                raise
            await self._delete(cronjob, job, todo.status, must=True)
        try:
            job = await self.client.create(JOBS, todo.create)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                if not terminating(error):
                    self.events.event(cronjob, "Warning", "FailedCreate", f"Error creating job: {error}")
                raise
            # made before a crash that came before the status was written, or by somebody else
            job = await self.client.get(JOBS, meta.name(todo.create), meta.namespace(cronjob))
            if not meta.controlled_by(job, cronjob):
                return
        else:
            self.events.event(cronjob, "Normal", "SuccessfulCreate", f"Created job {meta.name(job)}")
            self.context.measured.skew.observe(max(0.0, time.time() - todo.scheduled))
        self.jobs.observe(job)
        planning.started(todo.status, job, todo.scheduled)

    async def _delete(self, cronjob: Obj, job: Obj, status: Obj, *, must: bool = False) -> None:
        """Delete a Job with its pods; `must`: what stands in the way is raised."""
        try:
            await self.client.delete(JOBS, meta.name(job), meta.namespace(job), propagation="Background")
        except StatusError as error:
            self.events.event(cronjob, "Warning", "FailedDelete", f"Deleted job: {error}")
            if must:
                raise
            return
        self.jobs.observe_deleted(job)
        planning.stopped(status, meta.uid(job))
        self.events.event(cronjob, "Normal", "SuccessfulDelete", f"Deleted job {meta.name(job)}")

    async def _write(self, cronjob: Obj, status: Obj) -> None:
        if status == (cronjob.get("status") or {}):
            return
        cleared = {field: None for field in cronjob.get("status") or {} if field not in status}
        try:
            written = await self.client.patch_status(
                CRON_JOBS,
                meta.name(cronjob),
                {"status": {**cleared, **status}},
                meta.namespace(cronjob),
                patch_type="merge",
            )
        except StatusError as error:
            if error.code != 404:
                raise
            return
        self.cronjobs.observe(written)
