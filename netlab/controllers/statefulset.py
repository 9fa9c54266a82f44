"""The StatefulSet controller (upstream pkg/controller/statefulset)."""

from __future__ import annotations

import time

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from netlab.controllers import history
from netlab.controllers import statefulset_claims as owning
from netlab.controllers import statefulset_plan as planning
from netlab.controllers.context import BY_OWNER, Context
from netlab.controllers.pod_owner import PodOwner, terminating


class StatefulSetController(PodOwner):
    """A key is a StatefulSet."""

    resource, kind, component = STATEFUL_SETS, "StatefulSet", "statefulset-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.volume_claims = context.informer(PERSISTENT_VOLUME_CLAIMS)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.owners, self.pods, self.revisions, self.volume_claims)
        await self.queue.run(self.reconcile, workers=2)

    async def reconcile(self, key: str) -> None:
        """Bring one StatefulSet nearer to what it wants."""
        owner = self.owners.store.get(key)
        if owner is None or meta.deleting(owner):
            return
        mine = await self.claimed(owner)
        revisions = self.revisions.by_index(BY_OWNER, meta.uid(owner))
        past = await history.sync(self.client, self.revisions, owner, revisions)
        running = str(meta.get(owner, "status", "currentRevision", default="")) or meta.name(past.current)
        before = next((one for one in past.old if meta.name(one) == running), past.current)
        current = meta.name(before)
        todo = planning.plan(owner, mine, current, meta.name(past.current), time.time())
        for pod in mine:
            await self._own_claims(owner, pod)
        for number, updated in todo.create:
            revision = past.current if updated else before
            if self._stale_claim(owner, number):
                self.queue.add_after(key, _STALE_SECONDS)
            else:
                await self._create(owner, revision, number)
        for pod in todo.delete:
            if await self.remove(pod):
                text = f"delete Pod {meta.name(pod)} in StatefulSet {meta.name(owner)} successful"
                self.events.event(owner, "Normal", "SuccessfulDelete", text)
        await self.write_status(owner, todo.status)
        used = [*(meta.labels(pod).get(history.HASH_LABEL, "") for pod in mine), current]
        await history.prune(self.client, self.revisions, past, used, int(owner["spec"].get("revisionHistoryLimit", 10)))
        least = int(owner["spec"].get("minReadySeconds") or 0)
        if least and todo.status["availableReplicas"] < todo.status["readyReplicas"]:
            self.queue.add_after(key, least)

    async def _create(self, owner: Obj, revision: Obj, number: int) -> None:
        for claim in planning.claims(owner, number):
            await self._ensure_claim(owner, claim, number)
        template = {k: v for k, v in revision["data"]["spec"]["template"].items() if k != "$patch"}
        pod = planning.pod(owner, template, number, meta.name(revision))
        name = f"Pod {meta.name(pod)} in StatefulSet {meta.name(owner)}"
        try:
            created = await self.client.create(PODS, pod)
        except StatusError as error:
            if error.reason == "AlreadyExists" or terminating(error):
                return  # the old one is still going; its deletion wakes us
            self.events.event(owner, "Warning", "FailedCreate", f"create {name} failed error: {error}")
            raise
        self.pods.observe(created)
        self.events.event(owner, "Normal", "SuccessfulCreate", f"create {name} successful")

    def _stale_claim(self, owner: Obj, number: int) -> bool:
        """A claim of that pod goes with an earlier pod of its name."""
        found = (self.volume_claims.store.get(meta.key(claim)) for claim in planning.claims(owner, number))
        pod = f"{meta.name(owner)}-{number}"
        return any(owning.stale(claim, pod) for claim in found if claim is not None)

    async def _own_claims(self, owner: Obj, pod: Obj) -> None:
        """Bring the owners of a pod's claims to what the set's retention policy says."""
        number = planning.ordinal(pod)
        away = not planning.in_range(owner, number)
        for template in planning.claims(owner, number):
            claim = self.volume_claims.store.get(meta.key(template))
            if claim is None or owning.matches(claim, owner, pod, scaled_away=away):
                continue
            wanted = owning.references(claim, owner, pod, scaled_away=away)
            metadata = {"ownerReferences": wanted or None, "resourceVersion": meta.resource_version(claim)}
            written = await self.client.patch(
                PERSISTENT_VOLUME_CLAIMS,
                meta.name(claim),
                {"metadata": metadata},
                meta.namespace(claim),
                patch_type="merge",
            )
            self.volume_claims.observe(written)

    async def _ensure_claim(self, owner: Obj, claim: Obj, number: int) -> None:
        if meta.key(claim) in self.volume_claims.store:
            return
        deleted, _ = owning.policy(owner)
        if deleted:
            claim["metadata"]["ownerReferences"] = [meta.owner_reference(owner)]
        try:
            self.volume_claims.observe(await self.client.create(PERSISTENT_VOLUME_CLAIMS, claim))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            return
        pod = f"{meta.name(owner)}-{number}"
        text = f"create Claim {meta.name(claim)} Pod {pod} in StatefulSet {meta.name(owner)} success"
        self.events.event(owner, "Normal", "SuccessfulCreate", text)


_STALE_SECONDS = 0.5
"""Until a claim that goes with an earlier pod is looked for again."""
