"""Claims that ask for more than they have: said to wait for somebody outside, for no volume here has a size.

Source followed: pkg/controller/volume/expand/expand_controller.go.
"""

from __future__ import annotations

from netlab.api import meta
from netlab.api.storage import fully_bound, requested, size
from netlab.api.types import Obj
from netlab.client.kinds import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from netlab.controllers.context import Context

WAITING = ("Normal", "ExternalExpanding", "waiting for an external controller to expand this PVC")


def grows(claim: Obj) -> bool:
    """PURE. Whether a bound claim asks for more than its volume has."""
    return fully_bound(claim) and requested(claim) > size(meta.get(claim, "status", "capacity"))


class VolumeExpander:
    """A key is a claim."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.queue = context.queue("volume_expand")
        self.events = context.recorder("volume_expand")
        self.claims = context.informer(CLAIMS)
        self.claims.add_handler(None, self._changed, None)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.claims)
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: str) -> None:
        """Say it once for every wish."""
        claim = self.claims.store.get(key)
        if claim is not None and grows(claim):
            self.events.event(claim, *WAITING)

    def _changed(self, old: Obj, new: Obj) -> None:
        if requested(new) > requested(old):
            self.queue.add(meta.key(new))
