"""Deletion of a namespace's contents (upstream pkg/controller/namespace/deletion)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import NAMESPACES
from netlab.controllers.context import Context
from netlab.controllers.kinds import CRDS, Stored, built_in, custom

FINALIZER = "kubernetes"
AT_ONCE = 8


@dataclass
class Found:
    """What one pass found: how many objects of each resource are left, with which finalizers; what went wrong."""

    remaining: Counter[str] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


GOOD: Mapping[str, tuple[str, str]] = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}


def conditions(current: Sequence[Obj], found: Found, now: str) -> list[Obj]:
    """PURE. The namespace's conditions after a pass, as upstream words them."""
    bad: dict[str, tuple[str, str]] = {}
    if found.errors:
        text = "Failed to delete all resource types, {} remaining: {}".format(
            len(found.errors), ", ".join(sorted(found.errors))
        )
        bad["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", text)
    if found.remaining:
        parts = [f"{name} has {count} resource instances" for name, count in sorted(found.remaining.items())]
        bad["NamespaceContentRemaining"] = ("SomeResourcesRemain", f"Some resources are remaining: {', '.join(parts)}")
    if found.finalizers:
        parts = [f"{name} in {count} resource instances" for name, count in sorted(found.finalizers.items())]
        text = f"Some content in the namespace has finalizers remaining: {', '.join(parts)}"
        bad["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", text)
    result = [dict(c) for c in current]
    for kind, (reason, message) in GOOD.items():
        status = "True" if kind in bad else "False"
        reason, message = bad.get(kind, (reason, message))
        meta.set_condition(result, {"type": kind, "status": status, "reason": reason, "message": message}, now)
    return result


class NamespaceController:
    """A key is a namespace that is being deleted."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.namespaces = context.informer(NAMESPACES)
        self.queue = context.queue("namespace-controller")
        self._tries: Counter[str] = Counter()
        self.namespaces.add_handler(self._enqueue, lambda old, new: self._enqueue(new))

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.namespaces)
        await self.queue.run(self.reconcile, workers=4)

    async def reconcile(self, name: str) -> None:
        """Delete what is in a namespace; let it go when it is empty."""
        namespace = self.namespaces.store.get(name)
        if namespace is None or not meta.deleting(namespace):
            return
        finalizers: list[str] = meta.get(namespace, "spec", "finalizers", default=[])
        if FINALIZER not in finalizers:
            return
        found = await self._empty(name)
        if await self._report(namespace, found):
            return
        if found.remaining or found.errors:
            self._tries[name] += 1
            self.queue.add_after(name, min(2.0, 0.1 * 1.5 ** self._tries[name]))
            return
        del self._tries[name]
        body = {**namespace, "spec": {"finalizers": [f for f in finalizers if f != FINALIZER]}}
        body["metadata"] = {k: v for k, v in namespace["metadata"].items() if k != "resourceVersion"}
        try:
            await self.client.subresource(NAMESPACES, name, "finalize", method="PUT", body=body)
        except StatusError as error:
            if error.code != 404:
                raise

    async def _report(self, namespace: Obj, found: Found) -> bool:
        """Write the conditions where they changed; True where the namespace is gone meanwhile."""
        current: list[Obj] = meta.get(namespace, "status", "conditions", default=[])
        if not current and not found.remaining and not found.errors:
            return False  # gone at the first pass: nobody will read it
        new = conditions(current, found, meta.now_rfc3339())
        if new == current:
            return False
        try:
            written = await self.client.patch_status(NAMESPACES, meta.name(namespace), {"status": {"conditions": new}})
        except StatusError as error:
            if error.code == 404:
                return True
            raise
        self.namespaces.observe(written)
        return False

    async def _empty(self, name: str) -> Found:
        found, limit = Found(), asyncio.Semaphore(AT_ONCE)

        async def one(resource: Stored) -> None:
            async with limit:
                try:
                    await self._empty_resource(name, resource, found)
                except StatusError as error:
                    if error.code not in (404, 405):
                        found.errors.append(str(error))

        await asyncio.gather(*(one(resource) for resource in await self._resources()))
        return found

    async def _empty_resource(self, name: str, resource: Stored, found: Found) -> None:
        ref = (resource.api_version, resource.plural)
        deleted = await self.client.delete_collection(ref, name)
        if not deleted.get("items", True):
            return
        left = (await self.client.list(ref, name))["items"]
        if left:
            found.remaining[resource.group_resource] += len(left)
        found.finalizers.update(_finalizers(left))

    async def _resources(self) -> list[Stored]:
        definitions: list[Obj] = []
        try:
            definitions = (await self.client.list(CRDS))["items"]
        except StatusError as error:
            if error.code not in (403, 404):
                raise
        return [r for r in (*built_in(), *custom(definitions)) if r.namespaced]

    def _enqueue(self, namespace: Obj) -> None:
        if meta.deleting(namespace):
            self.queue.add(meta.name(namespace))


def _finalizers(left: Iterable[Obj]) -> Iterable[str]:
    return (finalizer for obj in left for finalizer in meta.finalizers(obj))
