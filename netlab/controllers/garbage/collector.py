"""The garbage collector: watches all resources, feeds the graph, writes its verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.client.kinds import DEPLOYMENTS, PODS, REPLICA_SETS
from netlab.controllers.context import Context
from netlab.controllers.garbage.graph import Graph, Item, Presence, Verdict, item_of
from netlab.controllers.kinds import CRDS, Stored, built_in, custom

FIRST = (PODS, REPLICA_SETS, DEPLOYMENTS)
"""Watched from the start (they are watched anyway); the others one by one a little later, off a lab's start-up path."""

LATER, APART = 2.0, 0.02
IGNORED = frozenset({("v1", "events"), ("events.k8s.io/v1", "events"), ("coordination.k8s.io/v1", "leases")})
KEPT = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers", "deletionTimestamp")
WORKERS = 20


def thin(obj: Obj) -> Obj:
    """PURE. The metadata that the graph needs, for resources that nobody else here watches."""
    data = obj["metadata"]
    metadata = {field: data[field] for field in KEPT if field in data}
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": metadata}


class GarbageCollector:
    """Keys are uids."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("garbage-collector-controller")
        self.graph = Graph()
        self._kinds: dict[tuple[str, str], Stored] = {(r.api_version, r.kind): r for r in built_in()}
        self._watched: dict[tuple[str, str], Informer] = {}
        self._absent: dict[str, float] = {}
        for ref in FIRST:
            self._watch(ref)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(*self._watched.values())
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(self.reconcile, workers=WORKERS))
            group.create_task(self._watch_rest(), name="garbage collector watches")

    async def _watch_rest(self) -> None:
        await asyncio.sleep(LATER)
        for resource in built_in():
            ref = (resource.api_version, resource.plural)
            if ref not in self._watched and ref not in IGNORED:
                self._watch(ref)
                await asyncio.sleep(APART)
        definitions = self._watched.get(CRDS)
        if definitions is not None:
            definitions.add_handler(self._defined, lambda old, new: self._defined(new), self._undefined)

    def _watch(self, ref: tuple[str, str]) -> None:
        informer = self.context.informers.get(ref)
        if informer is None:
            transform = None if ref in FIRST or ref == CRDS else thin
            informer = Informer(self.client, ref, transform=transform, timing=self.context.timing)
            if transform is None:
                self.context.informers[ref] = informer
            else:
                self.context.informers[ref[0], f"{ref[1]} metadata"] = informer
        self._watched[ref] = informer
        put = partial(self._put, ref)
        informer.add_handler(put, lambda old, new: put(new), self._removed)
        informer.start()

    def _defined(self, definition: Obj) -> None:
        for resource in custom([definition]):
            self._learn(resource, definition)
            ref = (resource.api_version, resource.plural)
            if ref not in self._watched:
                self._watch(ref)

    def _learn(self, resource: Stored, definition: Obj) -> None:
        """References may name any served version; what was judged while the kind was unknown is judged again."""
        served = {
            (f"{resource.group}/{version['name']}", resource.kind)
            for version in definition["spec"]["versions"]
            if version.get("served")
        }
        new = served - self._kinds.keys()
        for api_version, kind in served:
            self._kinds[api_version, kind] = replace(resource, api_version=api_version)
        if new:
            owned = (
                item.uid
                for item in list(self.graph.items.values())
                if any((ref.get("apiVersion"), ref.get("kind")) in new for ref in item.owners)
            )
            self._add(owned)

    def _undefined(self, definition: Obj) -> None:
        for resource in custom([definition]):
            for version in definition["spec"]["versions"]:
                self._kinds.pop((f"{resource.group}/{version['name']}", resource.kind), None)
            informer = self._watched.pop((resource.api_version, resource.plural), None)
            if informer is not None:
                self._stopping = asyncio.ensure_future(informer.stop())

    def _put(self, ref: tuple[str, str], obj: Obj) -> None:
        self._add(self.graph.put(item_of(obj, ref)))

    def _removed(self, obj: Obj) -> None:
        uid = meta.uid(obj)
        self._absent[uid] = asyncio.get_running_loop().time() + self.context.timing.gc_absent_owner_ttl
        self._add(self.graph.remove(uid))

    def _add(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self.queue.add(uid)

    async def reconcile(self, uid: str) -> None:
        """Judge one object and do what follows."""
        item = self.graph.items.get(uid)
        if item is None:
            return
        owners: dict[str, Presence] = {}
        if not item.deleting:
            for ref in item.owners:
                owners[ref["uid"]] = await self._presence(ref, item)
        item = self.graph.items.get(uid, item)
        if any(ref["uid"] not in owners for ref in item.owners) and not item.deleting:
            self.queue.add(uid)  # the owners changed while they were asked about
            return
        await self._execute(item, self.graph.judge(item, owners))

    async def _presence(self, ref: Obj, item: Item) -> Presence:
        known = self.graph.presence(ref, item)
        if known is not None:
            return known
        now = asyncio.get_running_loop().time()
        if self._absent.get(ref["uid"], 0.0) > now:
            return "absent"
        resource = self._kinds.get((ref.get("apiVersion", ""), ref.get("kind", "")))
        if resource is None:
            return "solid"  # of a kind that is not served (yet): nothing can be said, so nothing is deleted
        namespace = item.namespace if resource.namespaced else None
        if resource.namespaced and not namespace:
            return "absent"  # a cluster-scoped object cannot have an owner in a namespace
        try:
            owner = await self.client.get((resource.api_version, resource.plural), ref["name"], namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            owner = {}
        if meta.uid(owner) == ref["uid"]:
            return "waiting" if item_of(owner, ("", "")).foreground else "solid"
        if len(self._absent) > 10_000:
            self._absent.clear()
        self._absent[ref["uid"]] = now + self.context.timing.gc_absent_owner_ttl
        return "absent"

    async def _execute(self, item: Item, verdict: Verdict) -> None:
        try:
            if verdict.drop:
                await self._drop_owners(item, set(verdict.drop))
            if verdict.unblock:
                owners = [{**ref, "blockOwnerDeletion": False} for ref in item.owners]
                await self._patch(item, {"ownerReferences": owners})
            for uid in verdict.orphan:
                dependent = self.graph.items.get(uid)
                if dependent is not None:
                    await self._drop_owners(dependent, {item.uid})
            if verdict.delete:
                await self.client.delete(
                    item.resource, item.name, item.namespace or None, uid=item.uid, propagation=verdict.delete
                )
            if verdict.remove_finalizer:
                left = [f for f in item.finalizers if f != verdict.remove_finalizer]
                await self._patch(item, {"finalizers": left})
        except StatusError as error:
            if error.code != 404:
                raise
        self._add(verdict.look_at)

    async def _drop_owners(self, item: Item, uids: set[str]) -> None:
        left = [ref for ref in item.owners if ref["uid"] not in uids]
        await self._patch(item, {"ownerReferences": left or None})

    async def _patch(self, item: Item, metadata: Obj) -> None:
        """Change metadata, unless the object changed since the graph saw it (409: judged again later)."""
        patch = {"metadata": {**metadata, "resourceVersion": item.version, "uid": item.uid}}
        written = await self.client.patch(item.resource, item.name, patch, item.namespace or None, patch_type="merge")
        self._watched[item.resource].observe(written)
