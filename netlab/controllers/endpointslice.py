"""The EndpointSlice controller (upstream pkg/controller/endpointslice)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import ENDPOINT_SLICES, NODES
from netlab.controllers import endpointslice_plan as planning
from netlab.controllers import topology_hints
from netlab.controllers.context import Context
from netlab.controllers.pacing import Pacer
from netlab.controllers.service_watch import ServiceWatch, selected_pods

BY_SERVICE = "service"


def slice_service(one: Obj) -> tuple[str, ...]:
    """Index: the Service whose slice this is, if it is ours."""
    labels = meta.labels(one)
    if labels.get(planning.MANAGED_BY) != planning.MANAGER or planning.SERVICE_NAME not in labels:
        return ()
    return (meta.join_key(meta.namespace(one), labels[planning.SERVICE_NAME]),)


class EndpointSliceController:
    """A key is a Service."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("endpoint-slice-controller", context.timing.endpoints_backoff_min)
        self.pacer = Pacer(self.queue, context.timing.endpoints_batch)
        self.watch = ServiceWatch(context, self.pacer.add)
        self.slices, self.nodes = context.informer(ENDPOINT_SLICES), context.informer(NODES)
        self.events = context.recorder("endpoint-slice-controller")
        self._hinted: set[str] = set()
        """Services whose endpoints have zones allotted, as far as this process has seen."""
        self.slices.add_index(BY_SERVICE, slice_service)
        self.slices.add_handler(None, self._slice_updated, self._slice_deleted)
        self.nodes.add_handler(self._node, self._node_updated)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.watch.services, self.watch.pods, self.slices, self.nodes)
        await self.queue.run(self.reconcile, workers=5)

    async def reconcile(self, key: str) -> None:
        """Make one Service's slices true."""
        self.pacer.started(key)
        service = self.watch.services.store.get(key)
        slices = self.slices.by_index(BY_SERVICE, key)
        if service is None:
            self._hinted.discard(key)
            await asyncio.gather(*(self._delete(one) for one in slices))
            return
        if (
            not service["spec"].get("selector")
            or service["spec"].get("type") == "ExternalName"
            or meta.deleting(service)
        ):
            return
        zones = {
            meta.name(node): meta.labels(node)[planning.ZONE]
            for node in self.nodes.store.values()
            if planning.ZONE in meta.labels(node)
        }
        ratios = topology_hints.shares(self.nodes.store.values()) if topology_hints.wanted(service) else {}
        pods = selected_pods(self.watch.pods, service)
        changes = planning.plan(service, pods, slices, zones, meta.now_rfc3339(), ratios)
        self._tell_hints(service, changes)
        await asyncio.gather(
            *(self._create(service, one) for one in changes.create),
            *(self._update(one) for one in changes.update),
            *(self._delete(one) for one in changes.delete),
        )

    def _tell_hints(self, service: Obj, changes: planning.Changes) -> None:
        key = meta.key(service)
        for family, why in changes.refused.items():
            self.events.event(service, "Warning", topology_hints.DISABLED, f"{why}, addressType: {family}")
        if changes.hinted and key not in self._hinted:
            text = f"Topology Aware Hints has been enabled, addressType: {changes.hinted[0]}"
            self.events.event(service, "Normal", topology_hints.ENABLED, text)
        if changes.hinted:
            self._hinted.add(key)
        elif key in self._hinted:
            self._hinted.discard(key)
            if not changes.refused:
                self.events.event(service, "Normal", topology_hints.DISABLED, "Topology Aware Hints has been disabled")

    async def _create(self, service: Obj, one: Obj) -> None:
        try:
            self.slices.observe(await self.client.create(ENDPOINT_SLICES, one))
        except StatusError as error:
            if error.code == 404 or any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes):
                return
            text = f"Error updating Endpoint Slices for Service {meta.key(service)}: {error}"
            self.events.event(service, "Warning", "FailedToUpdateEndpointSlices", text)
            raise

    async def _update(self, one: Obj) -> None:
        self.slices.observe(await self.client.update(ENDPOINT_SLICES, one))

    async def _delete(self, one: Obj) -> None:
        try:
            await self.client.delete(ENDPOINT_SLICES, meta.name(one), meta.namespace(one), uid=meta.uid(one))
        except StatusError as error:
            if error.code != 404:
                raise
        self.slices.observe_deleted(one)

    def _slice_updated(self, old: Obj, new: Obj) -> None:
        """Somebody else changed it: look again (our own change compares equal and costs nothing more)."""
        for key in {*slice_service(old), *slice_service(new)}:
            self.pacer.add(key, len(new.get("endpoints") or ()))

    def _slice_deleted(self, one: Obj) -> None:
        for key in slice_service(one):
            self.pacer.add(key, len(one.get("endpoints") or ()))

    def _node(self, node: Obj) -> None:
        if planning.ZONE in meta.labels(node):
            self._all()

    def _node_updated(self, old: Obj, new: Obj) -> None:
        if meta.labels(old).get(planning.ZONE) != meta.labels(new).get(planning.ZONE):
            self._all()
        elif topology_hints.matters(old) != topology_hints.matters(new):
            self._all(topology_hints.wanted)

    def _all(self, which: Callable[[Obj], bool] = lambda _: True) -> None:
        for key, service in self.watch.services.store.items():
            if which(service):
                self.queue.add(key)
