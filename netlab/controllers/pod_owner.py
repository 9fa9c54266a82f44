"""What controllers that own pods one by one share: whom a pod's change concerns, claiming, deleting, the status."""

from __future__ import annotations

from netlab.api import labels, meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.events import EventRecorder
from netlab.client.kinds import CONTROLLER_REVISIONS, PODS
from netlab.controllers.context import BY_ORPHAN, BY_OWNER, Context, controller_uid, orphan_namespace
from netlab.controllers.ownership import claim, claims


class PodOwner:
    """A controller whose keys are objects that own pods. Subclasses say `resource`, `kind` and `reconcile`."""

    resource: tuple[str, str]
    kind: str
    component: str

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.owners, self.pods = context.informer(self.resource), context.informer(PODS)
        self.revisions = context.informer(CONTROLLER_REVISIONS)
        self.queue = context.queue(self.component)
        self.events: EventRecorder = context.recorder(self.component)
        for informer in (self.pods, self.revisions):
            informer.add_index(BY_OWNER, controller_uid)
            informer.add_index(BY_ORPHAN, orphan_namespace)
        self.owners.add_handler(self.enqueue, lambda old, new: self.enqueue(new), self.enqueue)
        self.pods.add_handler(self._pod, lambda old, new: self._pod(new), self._pod)

    def enqueue(self, owner: Obj) -> None:
        self.queue.add(meta.key(owner))

    def _pod(self, pod: Obj) -> None:
        ref = meta.controller_of(pod)
        if ref is not None:
            if ref["kind"] == self.kind:
                self.queue.add(meta.join_key(meta.namespace(pod), ref["name"]))
            return
        for owner in self.owners.store.values():
            if meta.namespace(owner) == meta.namespace(pod):
                selector = labels.from_label_selector(owner["spec"].get("selector"))
                if selector.matches(meta.labels(pod)):
                    self.enqueue(owner)

    async def claimed(self, owner: Obj) -> list[Obj]:
        """The owner's pods, after adopting and releasing."""
        found = claims(
            owner,
            self.pods.by_index(BY_OWNER, meta.uid(owner)),
            self.pods.by_index(BY_ORPHAN, meta.namespace(owner)),
            labels.from_label_selector(owner["spec"].get("selector")),
        )
        return await claim(self.client, self.pods, self.resource, owner, found)

    async def write_status(self, owner: Obj, new: Obj) -> None:
        """Write the status where it changed."""
        old = owner.get("status") or {}
        if all(old.get(key, 0) == value for key, value in new.items()):
            return
        try:
            written = await self.client.patch_status(
                self.resource, meta.name(owner), {"status": new}, meta.namespace(owner), patch_type="merge"
            )
        except StatusError as error:
            if error.code == 404:
                return
            raise
        self.owners.observe(written)

    async def remove(self, pod: Obj) -> bool:
        """Delete a pod; False where it was gone."""
        try:
            gone = await self.client.delete(PODS, meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
        except StatusError as error:
            if error.code != 404:
                raise
            self.pods.observe_deleted(pod)
            return False
        if meta.deleting(gone):
            self.pods.observe(gone)
        else:
            self.pods.observe_deleted(pod)
        return True


def terminating(error: StatusError) -> bool:
    """Whether a create was refused because its namespace is going away."""
    return any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes)
