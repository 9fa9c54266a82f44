"""What quotas are used up: counted when a quota is new or changed, and again when objects go (or come).

Informers say when to count; they exist only for the kinds that some quota limits, and keep of countable kinds their
names. A count from them may be a moment old, and the API server charges quotas as it admits. So a count that differs
from the status is made again from the server: the quota is read first, then the lists, and the status is written only
if nobody charged the quota in between. Upstream counts from its caches and lives with the race.
Source followed: pkg/controller/resourcequota.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.quota import Evaluator, equal, recount, tracked
from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.client.kinds import ResourceRef
from netlab.controllers.context import BY_NAMESPACE, Context, by_namespace
from netlab.controllers.kinds import CRDS, built_in, custom

QUOTAS = ("v1", "resourcequotas")
RESYNC = 300.0
_WHOLE = frozenset({"pods", "services", "persistentvolumeclaims"})
_PACE = 0.02
"""Changes that come together are counted together."""
_SECOND_LOOK = 0.2
"""A count that was right and now differs is mostly one of caches that are behind: look again before asking."""


def status_differs(quota: Obj, status: Obj) -> bool:
    """PURE. Whether the quota's status has to be written."""
    have = quota.get("status") or {}
    return not (equal(have.get("hard"), status["hard"]) and equal(have.get("used"), status["used"]))


def matters(old: Obj, new: Obj) -> bool:
    """PURE. Whether an update can change what an object uses."""
    if old.get("spec") != new.get("spec"):
        return True
    phase = meta.get(new, "status", "phase")
    ended = phase in ("Failed", "Succeeded") and meta.get(old, "status", "phase") != phase
    allocated = ("status", "allocatedResources")
    return ended or meta.deleting(old) != meta.deleting(new) or meta.get(old, *allocated) != meta.get(new, *allocated)


def _names_only(obj: Obj) -> Obj:
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion")
    return {"metadata": {key: metadata[key] for key in kept if key in metadata}}


class ResourceQuotaController:
    """A key is a ResourceQuota."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("resourcequota_primary")
        self.quotas = context.informer(QUOTAS)
        self.quotas.add_index(BY_NAMESPACE, by_namespace)
        self.quotas.add_handler(self._enqueue, self._changed, None)
        self.definitions = context.informer(CRDS)
        self._counted: dict[str, Informer] = {}
        self._refs: dict[str, ResourceRef] = {}
        self._doubted: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.quotas, self.definitions)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(self.reconcile, workers=2))
            group.create_task(self._resync())

    async def reconcile(self, key: str) -> None:
        """Count one quota."""
        quota = self.quotas.store.get(key)
        if quota is None:
            self._doubted.discard(key)
            return
        evaluators = [one for one in tracked(meta.get(quota, "spec", "hard", default={})) if self._known(one)]
        informers = {one.group_resource: self._informer(one) for one in evaluators}
        await self.context.synced(*informers.values())
        namespace = meta.namespace(quota)
        objects = {kind: found.by_index(BY_NAMESPACE, namespace) for kind, found in informers.items()}
        if not status_differs(quota, recount(quota, objects, time.time())):
            self._doubted.discard(key)
            return
        counted = equal(meta.get(quota, "status", "hard"), meta.get(quota, "spec", "hard"))
        if counted and key not in self._doubted:
            self._doubted.add(key)
            self.queue.add_after(key, _SECOND_LOOK)
            return
        self._doubted.discard(key)
        try:
            await self._write(key, list(informers))
        except StatusError as error:
            if error.code == 409:
                # somebody charged it meanwhile: count anew
                self.queue.add_after(key, _PACE)
            elif error.code != 404:
                raise

    async def _write(self, key: str, kinds: Iterable[str]) -> None:
        """Count from the server itself, in an order that makes the count no older than the quota."""
        namespace, name = meta.split_key(key)
        quota = await self.client.get(QUOTAS, name, namespace)
        lists = await asyncio.gather(*(self.client.list(self._refs[kind], namespace) for kind in kinds))
        objects = {kind: found["items"] for kind, found in zip(kinds, lists, strict=True)}
        status = recount(quota, objects, time.time())
        if status_differs(quota, status):
            quota = await self.client.update_status(QUOTAS, {**quota, "status": status})
        self.quotas.observe(quota)

    def _known(self, evaluator: Evaluator) -> bool:
        return evaluator.group_resource in self._refs or self._look_up(evaluator.group_resource)

    def _look_up(self, kind: str) -> bool:
        for found in (*built_in(), *custom(self.definitions.store.values())):
            if found.namespaced and found.group_resource.rstrip(".") == kind:
                self._refs[kind] = (found.api_version, found.plural)
                return True
        return False

    def _informer(self, evaluator: Evaluator) -> Informer:
        """The informer of a kind: the shared one where objects are needed whole, one of names where only counted."""
        kind = evaluator.group_resource
        known = self._counted.get(kind)
        if known is not None:
            return known
        ref = self._refs[kind]
        if kind in _WHOLE or kind == "resourcequotas":
            made = self.context.informer(ref)
        else:
            made = Informer(self.client, ref, transform=_names_only, timing=self.context.timing)
            self.context.informers[kind, "names, for quotas"] = made
        made.add_index(BY_NAMESPACE, by_namespace)
        self._counted[kind] = made
        made.add_handler(self._object, self._object_changed, self._object)
        return made

    def _object(self, obj: Obj) -> None:
        for quota in self.quotas.by_index(BY_NAMESPACE, meta.namespace(obj)):
            self.queue.add_after(meta.key(quota), _PACE)

    def _object_changed(self, old: Obj, new: Obj) -> None:
        if matters(old, new):
            self._object(new)

    def _enqueue(self, quota: Obj) -> None:
        self.queue.add(meta.key(quota))

    def _changed(self, old: Obj, new: Obj) -> None:
        if old.get("spec") != new.get("spec"):
            self._enqueue(new)
        elif old.get("status") != new.get("status"):
            self.queue.add_after(meta.key(new), _PACE)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC)
            for key in list(self.quotas.store):
                self.queue.add(key)
