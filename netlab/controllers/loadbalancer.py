"""Assigns addresses of the topology's pool to LoadBalancer Services: what MetalLB's controller does.

Under the name of upstream's controller whose place it takes. Who answers for an address is the nodes' own business
(netlab.node.loadbalancer).
"""

from __future__ import annotations

import logging

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import SERVICES
from netlab.controllers.context import Context
from netlab.controllers.loadbalancer_plan import (
    FINALIZER,
    AllocationError,
    allocate,
    assigned,
    decide,
    holders,
    ingress,
    ours,
)
from netlab.topology.pool import AddressRange

log = logging.getLogger(__name__)


class LoadBalancerController:
    """A key is a Service. One worker: two Services never look for a free address at once."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.pool = tuple(AddressRange.parse(text) for text in context.config.load_balancer_pool)
        self.queue = context.queue("service-lb-controller")
        self.services = context.informer(SERVICES)
        self.events = context.recorder("metallb-controller")
        self.services.add_handler(self._added, self._updated, self._deleted)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.services)
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: str) -> None:
        """Finalizer before address, address gone before finalizer."""
        service = self.services.store.get(key)
        if service is None:
            return
        decision = decide(service, holders(self.services.store.values()), self.pool)
        try:
            if decision.finalizer:
                service = await self._finalize(service, True)
            if decision.addresses is not None:
                await self._assign(service, decision.addresses)
                log.info("service %s: addresses %s", key, ", ".join(decision.addresses) or "released")
            if decision.finalizer is False:
                await self._finalize(service, False)
        except StatusError as error:
            if error.code != 404:
                raise
            return
        if decision.event is not None:
            self.events.event(service, *decision.event)
        if decision.addresses == ():
            self._retry_pending()

    async def _assign(self, service: Obj, addresses: tuple[str, ...]) -> None:
        patch: Obj = {"status": {"loadBalancer": {"ingress": ingress(addresses) or None}}}
        name, namespace = meta.name(service), meta.namespace(service)
        self.services.observe(await self.client.patch_status(SERVICES, name, patch, namespace, patch_type="merge"))

    async def _finalize(self, service: Obj, present: bool) -> Obj:
        """Read, change and write with the version that was read, so that nobody else's finalizer is lost."""
        name, namespace = meta.name(service), meta.namespace(service)
        current = await self.client.get(SERVICES, name, namespace)
        others = [one for one in current["metadata"].get("finalizers") or () if one != FINALIZER]
        patch = {
            "metadata": {
                "finalizers": [*others, FINALIZER] if present else others,
                "resourceVersion": current["metadata"]["resourceVersion"],
            }
        }
        answer = await self.client.patch(SERVICES, name, patch, namespace, patch_type="merge")
        if present or others or not meta.deleting(current):
            self.services.observe(answer)
        return answer

    def _added(self, service: Obj) -> None:
        self._updated({}, service)

    def _updated(self, old: Obj, new: Obj) -> None:
        marked = FINALIZER in (new["metadata"].get("finalizers") or ())
        if marked or ours(new) or (old and ours(old)):
            self.queue.add(meta.key(new))
            if old and assigned(old) != assigned(new):
                self._retry_pending()

    def _deleted(self, service: Obj) -> None:
        if assigned(service):
            self._retry_pending()

    def _retry_pending(self) -> None:
        """An address may have become free."""
        holding = holders(self.services.store.values())
        for key, service in self.services.store.items():
            if ours(service) and not meta.deleting(service) and not assigned(service) and self.pool:
                try:
                    allocate(service, holding, self.pool)
                except AllocationError:
                    continue  # not for this one: nothing new to say about it
                self.queue.add(key)
