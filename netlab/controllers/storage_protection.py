"""Protection of volumes and claims in use: their finalizers come, and go when the object is deleted and nobody uses it.

Upstream: pkg/controller/volume/pvcprotection and pvprotection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.client.kinds import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from netlab.controllers.context import Context

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"
BY_CLAIM = "namespace/claim of scheduled pods"


def claims(pod: Obj) -> Sequence[str]:
    """PURE. Keys of the claims that a pod uses; a pod that is on no node cannot be started with a deleted claim."""
    spec = pod.get("spec") or {}
    if not spec.get("nodeName"):
        return ()
    where, found = meta.namespace(pod), []
    for volume in spec.get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            found.append(f"{where}/{volume['persistentVolumeClaim'].get('claimName', '')}")
        elif "ephemeral" in volume and meta.get(pod, "status", "phase") not in ("Succeeded", "Failed"):
            found.append(f"{where}/{meta.name(pod)}-{volume['name']}")
    return found


def finalizers(obj: Obj, own: str, used: bool) -> list[str] | None:
    """PURE. What the object's finalizers shall be; None where they are right."""
    present = list(obj["metadata"].get("finalizers") or ())
    if meta.deleting(obj):
        return [name for name in present if name != own] if own in present and not used else None
    return None if own in present else [*present, own]


class _Protection:
    """A key is an object of the protected kind."""

    name, finalizer = "", ""

    def __init__(self, context: Context, objects: Informer) -> None:
        self.context, self.client, self.objects = context, context.client, objects
        self.queue = context.queue(self.name)
        objects.add_handler(self._enqueue, lambda old, new: self._enqueue(new))

    def used(self, key: str, obj: Obj) -> bool:
        raise NotImplementedError

    def informers(self) -> Iterable[Informer]:
        return (self.objects,)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(*self.informers())
        await self.queue.run(self.reconcile, workers=2)

    async def reconcile(self, key: str) -> None:
        """Put the finalizer there, or take it away."""
        obj = self.objects.store.get(key)
        if obj is None:
            return
        wanted = finalizers(obj, self.finalizer, self.used(key, obj))
        if wanted is None:
            return
        metadata = {"finalizers": wanted, "resourceVersion": obj["metadata"]["resourceVersion"]}
        try:
            await self.client.patch(
                self.objects.resource,
                meta.name(obj),
                {"metadata": metadata},
                meta.namespace(obj) or None,
                patch_type="merge",
            )
        except StatusError as error:
            if error.code != 404:
                raise

    def _enqueue(self, obj: Obj) -> None:
        self.queue.add(meta.key(obj))


class ClaimProtection(_Protection):
    """PersistentVolumeClaims, used by pods."""

    name, finalizer = "pvc-protection-controller", CLAIM_FINALIZER

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.informer(PERSISTENT_VOLUME_CLAIMS))
        self.pods = context.informer(PODS)
        self.pods.add_index(BY_CLAIM, claims)
        self.pods.add_handler(None, lambda old, new: self._pod(old), self._pod)

    def informers(self) -> Iterable[Informer]:
        return self.objects, self.pods

    def used(self, key: str, obj: Obj) -> bool:
        return bool(self.pods.by_index(BY_CLAIM, key))

    def _pod(self, pod: Obj) -> None:
        for key in claims(pod):
            self.queue.add(key)


class VolumeProtection(_Protection):
    """PersistentVolumes, used while they are bound."""

    name, finalizer = "pv-protection-controller", VOLUME_FINALIZER

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.informer(PERSISTENT_VOLUMES))

    def used(self, key: str, obj: Obj) -> bool:
        return bool(meta.get(obj, "status", "phase") == "Bound")
