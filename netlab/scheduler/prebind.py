"""Writes what was decided about a pod's volumes and waits until they are bound (VolumeBinding's PreBind)."""

from __future__ import annotations

import asyncio

from netlab.api import meta
from netlab.api.storage import SELECTED_NODE, claim_reference
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.informer import Informer
from netlab.client.kinds import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from netlab.client.kinds import PERSISTENT_VOLUMES as VOLUMES
from netlab.scheduler.cache import Cache
from netlab.scheduler.volumes import BindingError, Bindings, progress

BIND_TIMEOUT = 600.0
"""Seconds, upstream's bindTimeoutSeconds."""


class VolumeBinder:
    """`moved` is to be called whenever a claim or a volume changed."""

    def __init__(self, client: Client, cache: Cache, claims: Informer, volumes: Informer) -> None:
        self.client, self.cache, self.claims, self.volumes = client, cache, claims, volumes
        self._moved = asyncio.Event()

    def moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def assume(self, wanted: Bindings) -> None:
        """Nobody else is to be promised these volumes, nor these claims another node."""
        storage = self.cache.storage
        storage.promised.update({meta.name(volume): meta.key(claim) for claim, volume in wanted.static})
        storage.placed.update({meta.key(claim): wanted.node for claim in wanted.provision})

    def forget(self, wanted: Bindings) -> None:
        """It is written, or will not be."""
        storage = self.cache.storage
        for _, volume in wanted.static:
            storage.promised.pop(meta.name(volume), None)
        for claim in wanted.provision:
            storage.placed.pop(meta.key(claim), None)

    async def bind(self, wanted: Bindings, pod_uid: str) -> None:
        """Raises BindingError, StatusError, OSError: the pod is to be scheduled anew."""
        for claim, volume in wanted.static:
            if meta.get(volume, "spec", "claimRef", "uid") != meta.uid(claim):
                patch = claim_reference(volume, claim)
                written = await self.client.patch(VOLUMES, meta.name(volume), patch, patch_type="merge")
                self.volumes.observe(written)
        for claim in wanted.provision:
            if meta.annotations(claim).get(SELECTED_NODE) != wanted.node:
                self.claims.observe(await self._select(claim, wanted.node))
        try:
            async with asyncio.timeout(BIND_TIMEOUT):
                await self._bound(wanted, pod_uid)
        except TimeoutError:
            raise BindingError("binding volumes: context deadline exceeded") from None
        except BindingError as error:
            raise BindingError(f"binding volumes: {error}") from None

    async def _select(self, claim: Obj, node: str) -> Obj:
        metadata = {"annotations": {SELECTED_NODE: node}, "resourceVersion": meta.resource_version(claim)}
        return await self.client.patch(
            CLAIMS, meta.name(claim), {"metadata": metadata}, meta.namespace(claim), patch_type="merge"
        )

    async def _bound(self, wanted: Bindings, pod_uid: str) -> None:
        while True:
            moved, node = self._moved, self.cache.by_name.get(wanted.node)
            if node is None or not node.known:
                raise BindingError(f'failed to get node "{wanted.node}": node "{wanted.node}" not found')
            if not self.cache.assumed(pod_uid):
                raise BindingError("pod does not exist any more")
            if progress(wanted, self.cache.storage, node.labels):
                return
            try:
                async with asyncio.timeout(_LOOK):
                    await moved.wait()
            except TimeoutError:
                continue


_LOOK = 1.0
"""Seconds between two looks while nothing moves: the node or the pod may be gone."""
