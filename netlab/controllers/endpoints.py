"""The Endpoints controller (upstream pkg/controller/endpoint): one object per Service, ready and not ready apart."""

from __future__ import annotations

import json
from collections.abc import Sequence

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import ENDPOINTS
from netlab.controllers import endpoint_addresses as addresses
from netlab.controllers.context import Context
from netlab.controllers.pacing import Pacer
from netlab.controllers.pods import is_ready
from netlab.controllers.service_watch import ServiceWatch, selected_pods

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MOST = 1000


def subsets(service: Obj, pods: Sequence[Obj]) -> tuple[list[Obj], bool]:
    """PURE. (subsets, whether addresses had to be left out). Pods with the same ports share a subset."""
    published = addresses.publishes_not_ready(service)
    family = addresses.families(service)[0]
    groups: dict[str, tuple[list[Obj], list[Obj], list[Obj]]] = {}
    for pod in pods:
        address = addresses.pod_address(pod, family)
        if address is None or not addresses.eligible(pod, terminating=published):
            continue
        ports = addresses.ports_of(service, pod)
        for port in ports:
            if not port["name"]:
                del port["name"]
        if not ports and not addresses.is_headless(service):
            continue
        entry: Obj = {"ip": address, "targetRef": addresses.target_ref(pod)}
        node, name = meta.get(pod, "spec", "nodeName"), addresses.hostname(service, pod)
        entry |= ({"nodeName": node} if node else {}) | ({"hostname": name} if name else {})
        _, ready, waiting = groups.setdefault(json.dumps(ports, sort_keys=True), (ports, [], []))
        (ready if published or is_ready(pod) else waiting).append(entry)
    return _pack(groups)


def _pack(groups: dict[str, tuple[list[Obj], list[Obj], list[Obj]]]) -> tuple[list[Obj], bool]:
    result, room, over = [], MOST, False
    for key in sorted(groups):
        ports, ready, waiting = groups[key]
        subset: Obj = {}
        for field, found in (("addresses", ready), ("notReadyAddresses", waiting)):
            found.sort(key=lambda entry: (entry["ip"], entry["targetRef"]["uid"]))
            over = over or len(found) > room
            if found[:room]:
                subset[field] = found[:room]
            room -= len(found[:room])
        if ports:
            subset["ports"] = sorted(ports, key=lambda p: (p.get("name", ""), p["port"], p["protocol"]))
        if "addresses" in subset or "notReadyAddresses" in subset:
            result.append(subset)
    return result, over


def labels(service: Obj) -> dict[str, str]:
    """PURE. The Service's labels, and who manages the object."""
    result = {k: v for k, v in meta.labels(service).items() if k != addresses.HEADLESS}
    if addresses.is_headless(service):
        result[addresses.HEADLESS] = ""
    return result | {MANAGED_BY: "endpoint-controller"}


def plan(service: Obj, pods: Sequence[Obj], current: Obj | None, trigger_time: str) -> Obj | None:
    """PURE. The object to write; None where the current one says the same."""
    wanted, over = subsets(service, pods)
    notes = {k: v for k, v in meta.annotations(current or {}).items() if k != OVER_CAPACITY}
    if over:
        notes[OVER_CAPACITY] = "truncated"
    if current is not None:
        same = (current.get("subsets") or []) == wanted and meta.labels(current) == labels(service)
        if same and (OVER_CAPACITY in meta.annotations(current)) == over:
            return None
    data = dict(current["metadata"]) if current else {"name": meta.name(service), "namespace": meta.namespace(service)}
    data |= {"labels": labels(service), "annotations": {**notes, addresses.TRIGGER_TIME: trigger_time}}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": data, "subsets": wanted}


class EndpointsController:
    """A key is a Service."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("endpoint-controller", context.timing.endpoints_backoff_min)
        self.pacer = Pacer(self.queue, context.timing.endpoints_batch * 4)
        self.watch = ServiceWatch(context, self.pacer.add)
        self.endpoints = context.informer(ENDPOINTS)
        self.events = context.recorder("endpoint-controller")
        self.endpoints.add_handler(None, lambda old, new: self._changed(new), self._changed)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.watch.services, self.watch.pods, self.endpoints)
        for endpoints in self.endpoints.store.values():
            self._changed(endpoints)
        await self.queue.run(self.reconcile, workers=5)

    async def reconcile(self, key: str) -> None:
        """Make one Service's Endpoints true."""
        self.pacer.started(key)
        service, current = self.watch.services.store.get(key), self.endpoints.store.get(key)
        if service is None:
            if current is not None and meta.labels(current).get(MANAGED_BY) == "endpoint-controller":
                await self._delete(current)
            return
        if (
            not service["spec"].get("selector")
            or service["spec"].get("type") == "ExternalName"
            or meta.deleting(service)
        ):
            return
        wanted = plan(service, selected_pods(self.watch.pods, service), current, meta.now_rfc3339())
        if wanted is not None:
            await self._write(service, wanted, create=current is None)

    async def _write(self, service: Obj, wanted: Obj, *, create: bool) -> None:
        try:
            write = self.client.create if create else self.client.update
            self.endpoints.observe(await write(ENDPOINTS, wanted))
        except StatusError as error:
            if any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes):
                return
            verb, reason = ("create", "FailedToCreateEndpoint") if create else ("update", "FailedToUpdateEndpoint")
            text = f"Failed to {verb} endpoint for service {meta.key(service)}: {error}"
            self.events.event(wanted, "Warning", reason, text)
            raise

    async def _delete(self, current: Obj) -> None:
        try:
            await self.client.delete(ENDPOINTS, meta.name(current), meta.namespace(current), uid=meta.uid(current))
        except StatusError as error:
            if error.code != 404:
                raise
        self.endpoints.observe_deleted(current)

    def _changed(self, endpoints: Obj) -> None:
        size = sum(len(subset.get("addresses") or ()) for subset in endpoints.get("subsets") or ())
        self.pacer.add(meta.key(endpoints), size)
