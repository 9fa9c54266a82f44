"""Binds claims to volumes and keeps the phases of both. Thin: `volume_plan` decides, here it is written.

A binding is written volume first, then claim, each step only where it is missing, so that it can be gone on with after
a crash between any two. Source followed: pkg/controller/volume/persistentvolume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from netlab.api import meta, storage
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from netlab.client.kinds import PERSISTENT_VOLUMES as VOLUMES
from netlab.client.kinds import PODS, STORAGE_CLASSES
from netlab.controllers import volume_plan as planning
from netlab.controllers.context import Context
from netlab.controllers.volume_reclaim import Reclaimer

_CLAIM, _VOLUME = "claim:", "volume:"
_BY_CLAIM = "namespace/claim of pods"
RESYNC = 15.0
"""Seconds after which what waits is said again, as upstream's --pvclaimbinder-sync-period."""


def _used(pod: Obj) -> Sequence[str]:
    """Index: keys of the claims that a pod names."""
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    names = [one["persistentVolumeClaim"].get("claimName", "") for one in volumes if one.get("persistentVolumeClaim")]
    names += [f"{meta.name(pod)}-{one['name']}" for one in volumes if one.get("ephemeral")]
    return [f"{meta.namespace(pod)}/{name}" for name in names]


class VolumeBinder:
    """A key is a claim or a volume, and says which. One worker: a volume is given away once."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("volumes")
        self.events = context.recorder("persistentvolume-controller")
        self.claims, self.volumes = context.informer(CLAIMS), context.informer(VOLUMES)
        self.classes, self.pods = context.informer(STORAGE_CLASSES), context.informer(PODS)
        self.pods.add_index(_BY_CLAIM, _used)
        self.reclaimer = Reclaimer(self.client, self.pods, self.events)
        self.claims.add_handler(self._claim, lambda old, new: self._claim(new), self._claim_gone)
        self.volumes.add_handler(self._volume, lambda old, new: self._volume(new), self._volume_gone)
        self.classes.add_handler(self._waiting, lambda old, new: self._waiting(new), None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.claims, self.volumes, self.classes, self.pods)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(self.reconcile, workers=1))
            group.create_task(self._resync())
            group.create_task(self.reclaimer.run())

    async def reconcile(self, key: str) -> None:
        """Bring one claim or volume further."""
        try:
            if key.startswith(_CLAIM):
                await self._settle_claim(key.removeprefix(_CLAIM))
            else:
                await self._settle_volume(key.removeprefix(_VOLUME))
        except StatusError as error:
            if error.code != 404:
                raise

    async def _settle_claim(self, key: str) -> None:
        claim = self.claims.store.get(key)
        if claim is None:
            return
        step = planning.claim_step(claim, self.volumes.store, self.classes.store, self.pods.by_index(_BY_CLAIM, key))
        if step.bind is not None:
            await self._bind(step.bind, claim)
            return
        if step.assign:
            await self._patch_claim(claim, {"spec": {"storageClassName": step.assign}})
            return
        missing = {k: v for k, v in step.annotations.items() if meta.annotations(claim).get(k) != v}
        if missing:
            claim = await self._patch_claim(claim, {"metadata": {"annotations": missing}})
        if step.phase and meta.get(claim, "status", "phase") != step.phase:
            status: Obj = {"phase": step.phase}
            if step.phase == "Lost":
                status |= {"accessModes": None, "capacity": None}
            await self._status(claim, status)
        if step.event is not None:
            self.events.event(claim, *step.event)

    async def _bind(self, volume: Obj, claim: Obj) -> None:
        """The four steps of upstream's bind, each where it is still to do."""
        volume = await self._claim_ref(volume, claim)
        if meta.get(volume, "status", "phase") != "Bound":
            patch = {"status": {"phase": "Bound"}}
            volume = await self.client.patch_status(VOLUMES, meta.name(volume), patch, patch_type="merge")
            self.volumes.observe(volume)
        annotations = {} if storage.COMPLETED in meta.annotations(claim) else {storage.COMPLETED: "yes"}
        changes: Obj = {"metadata": {"resourceVersion": meta.resource_version(claim)}}
        if claim["spec"].get("volumeName") != meta.name(volume):
            annotations[storage.BOUND_BY] = "yes"
            changes["spec"] = {"volumeName": meta.name(volume)}
        if annotations:
            changes["metadata"]["annotations"] = annotations
            claim = await self._patch_claim(claim, changes)
        wanted = {
            "phase": "Bound",
            "accessModes": volume["spec"].get("accessModes"),
            "capacity": volume["spec"].get("capacity"),
        }
        now = claim.get("status") or {}
        if any(now.get(name) != value for name, value in wanted.items()):
            await self._status(claim, wanted)

    async def _claim_ref(self, volume: Obj, claim: Obj) -> Obj:
        """The volume, with a reference to the claim and its uid. Raises StatusError 409 where it changed meanwhile."""
        reference = volume["spec"].get("claimRef") or {}
        if reference.get("uid") == meta.uid(claim):
            return volume
        patch = storage.claim_reference(volume, claim)
        written = await self.client.patch(VOLUMES, meta.name(volume), patch, patch_type="merge")
        self.volumes.observe(written)
        return written

    async def _settle_volume(self, name: str) -> None:
        volume = self.volumes.store.get(name)
        if volume is None or (meta.deleting(volume) and not volume["spec"].get("claimRef")):
            return
        reference = volume["spec"].get("claimRef") or {}
        key = f"{reference.get('namespace', '')}/{reference.get('name', '')}"
        claim = self.claims.store.get(key)
        fate = planning.volume_fate(volume, claim)
        if fate.free or fate.loosen:
            gone: Obj = {"claimRef": None} if fate.free else {"claimRef": {"uid": None, "resourceVersion": None}}
            metadata: Obj = {"resourceVersion": meta.resource_version(volume)}
            if fate.free:
                metadata["annotations"] = {storage.BOUND_BY: None}
            patch = {"metadata": metadata, "spec": gone}
            volume = await self.client.patch(VOLUMES, name, patch, patch_type="merge")
            self.volumes.observe(volume)
        if fate.phase and meta.get(volume, "status", "phase") != fate.phase:
            status: Obj = {"phase": fate.phase, "message": fate.event[2] if fate.event else None}
            written = await self.client.patch_status(VOLUMES, name, {"status": status}, patch_type="merge")
            self.volumes.observe(written)
            self.queue.add(_VOLUME + name)
            if fate.phase == "Available":
                self._waiting(written)
        if fate.event is not None:
            self.events.event(volume, *fate.event)
        if fate.recycle or fate.delete:
            self.reclaimer.take(volume, recycle=fate.recycle)
        if fate.wake and claim is not None:
            self.queue.add(_CLAIM + key)

    async def _patch_claim(self, claim: Obj, patch: Obj) -> Obj:
        written = await self.client.patch(CLAIMS, meta.name(claim), patch, meta.namespace(claim), patch_type="merge")
        self.claims.observe(written)
        return written

    async def _status(self, claim: Obj, status: Obj) -> None:
        written = await self.client.patch_status(
            CLAIMS, meta.name(claim), {"status": status}, meta.namespace(claim), patch_type="merge"
        )
        self.claims.observe(written)

    def _claim(self, claim: Obj) -> None:
        self.queue.add(_CLAIM + meta.key(claim))

    def _claim_gone(self, claim: Obj) -> None:
        name = claim["spec"].get("volumeName")
        if name:
            self.queue.add(_VOLUME + name)

    def _volume(self, volume: Obj) -> None:
        self.queue.add(_VOLUME + meta.name(volume))

    def _volume_gone(self, volume: Obj) -> None:
        reference = volume["spec"].get("claimRef")
        if reference:
            self.queue.add(f"{_CLAIM}{reference.get('namespace', '')}/{reference.get('name', '')}")

    def _waiting(self, _: Obj) -> None:
        """A volume or a class is new: it may be what a claim waits for."""
        for claim in self.claims.store.values():
            if meta.get(claim, "status", "phase", default="Pending") == "Pending":
                self._claim(claim)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC)
            self._waiting({})
