"""Claims for the generic ephemeral volumes of pods: one each, owned by the pod and gone with it.

Source followed: pkg/controller/volume/ephemeral, component-helpers storage/ephemeral.
"""

from __future__ import annotations

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from netlab.client.kinds import PODS
from netlab.controllers.context import Context


def wanted(pod: Obj) -> list[Obj]:
    """PURE. The claims of a pod's ephemeral volumes."""
    found = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is None:
            continue
        given = template.get("metadata") or {}
        owner = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": meta.name(pod),
            "uid": meta.uid(pod),
            "controller": True,
            "blockOwnerDeletion": True,
        }
        metadata: Obj = {
            "name": f"{meta.name(pod)}-{volume['name']}",
            "namespace": meta.namespace(pod),
            "ownerReferences": [owner],
            **{field: dict(given[field]) for field in ("labels", "annotations") if given.get(field)},
        }
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]}
        found.append(claim)
    return found


class EphemeralVolumeController:
    """A key is a pod with ephemeral volumes."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("ephemeral_volume")
        self.pods, self.claims = context.informer(PODS), context.informer(CLAIMS)
        self.pods.add_handler(self._pod, lambda old, new: self._pod(new), None)
        self.claims.add_handler(None, None, self._claim_gone)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.pods, self.claims)
        await self.queue.run(self.reconcile, workers=2)

    async def reconcile(self, key: str) -> None:
        """Make what a pod's volumes need. Raises where a claim of that name is somebody else's."""
        pod = self.pods.store.get(key)
        if pod is None or meta.deleting(pod):
            return
        for claim in wanted(pod):
            there = self.claims.store.get(meta.key(claim))
            if there is not None:
                if not meta.controlled_by(there, pod):
                    what = f'PVC "{meta.key(claim)}" was not created for pod "{key}" (pod is not owner)'
                    raise OSError(what)
                continue
            try:
                self.claims.observe(await self.client.create(CLAIMS, claim))
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise

    def _pod(self, pod: Obj) -> None:
        if any("ephemeral" in volume for volume in (pod.get("spec") or {}).get("volumes") or ()):
            self.queue.add(meta.key(pod))

    def _claim_gone(self, claim: Obj) -> None:
        owner = meta.controller_of(claim)
        if owner is not None and owner["kind"] == "Pod":
            self.queue.add(f"{meta.namespace(claim)}/{owner['name']}")
