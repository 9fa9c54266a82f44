"""EndpointSlices for Endpoints that somebody wrote by hand (upstream pkg/controller/endpointslicemirroring).

Proxies read only slices; a Service without a selector gets its endpoints this way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from netlab.controllers.context import Context
from netlab.controllers.endpoint_addresses import TRIGGER_TIME
from netlab.controllers.endpoints import MANAGED_BY as ENDPOINTS_MANAGED_BY
from netlab.controllers.endpointslice_plan import MANAGED_BY, MAX_ENDPOINTS, SERVICE_NAME, Changes

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
BY_MIRRORED = "mirrored endpoints"


def should_mirror(endpoints: Obj, service: Obj | None) -> bool:
    """PURE. Whether these Endpoints are somebody's own."""
    if service is None or service["spec"].get("selector") or meta.deleting(endpoints):
        return False
    labels = meta.labels(endpoints)
    if labels.get(SKIP) == "true" or labels.get(ENDPOINTS_MANAGED_BY) == "endpoint-controller":
        return False
    return LEADER not in meta.annotations(endpoints)


def _endpoints(subset: Obj, family: str) -> Iterator[Obj]:
    for field, ready in (("addresses", True), ("notReadyAddresses", False)):
        for entry in subset.get(field) or ():
            if (":" in entry["ip"]) != (family == "IPv6"):
                continue
            made: Obj = {"addresses": [entry["ip"]], "conditions": {"ready": ready}}
            yield made | {key: entry[key] for key in ("hostname", "nodeName", "targetRef") if entry.get(key)}


def mirrored(endpoints: Obj) -> list[Obj]:
    """PURE. The slices that say what the Endpoints say."""
    labels = {k: v for k, v in meta.labels(endpoints).items() if k not in (MANAGED_BY, SERVICE_NAME)}
    notes = {k: v for k, v in meta.annotations(endpoints).items() if k not in (LAST_APPLIED, TRIGGER_TIME)}
    result = []
    for subset in endpoints.get("subsets") or ():
        ports = [{"name": "", "protocol": "TCP", **port} for port in subset.get("ports") or ()]
        for family in ("IPv4", "IPv6"):
            found = list(_endpoints(subset, family))
            for start in range(0, len(found), MAX_ENDPOINTS):
                metadata: Obj = {
                    "generateName": f"{meta.name(endpoints)}-",
                    "namespace": meta.namespace(endpoints),
                    "labels": {**labels, SERVICE_NAME: meta.name(endpoints), MANAGED_BY: MANAGER},
                    "ownerReferences": [meta.owner_reference(endpoints)],
                }
                if notes:
                    metadata["annotations"] = notes
                result.append(
                    {
                        "apiVersion": "discovery.k8s.io/v1",
                        "kind": "EndpointSlice",
                        "metadata": metadata,
                        "addressType": family,
                        "endpoints": found[start : start + MAX_ENDPOINTS],
                        "ports": ports or None,
                    }
                )
    return result


def plan(wanted: Sequence[Obj], slices: Sequence[Obj]) -> Changes:
    """PURE. Keep what is right, rewrite what has the same family, delete the rest."""
    changes = Changes()
    left = list(slices)
    missing = []
    for one in wanted:
        same = next((s for s in left if _content(s) == _content(one)), None)
        if same is not None:
            left.remove(same)
        else:
            missing.append(one)
    for one in missing:
        old = next((s for s in left if s["addressType"] == one["addressType"]), None)
        if old is None:
            changes.create.append(one)
            continue
        left.remove(old)
        metadata = {**old["metadata"], "labels": meta.labels(one), "annotations": meta.annotations(one)}
        changes.update.append({**old, "metadata": metadata, "endpoints": one["endpoints"], "ports": one["ports"]})
    changes.delete = left
    return changes


def _content(one: Obj) -> tuple[object, ...]:
    return (one["addressType"], one.get("endpoints") or [], one.get("ports") or [], meta.labels(one))


class MirroringController:
    """A key is an Endpoints object."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("endpointslice-mirroring-controller", context.timing.endpoints_backoff_min)
        self.endpoints, self.services = context.informer(ENDPOINTS), context.informer(SERVICES)
        self.slices = context.informer(ENDPOINT_SLICES)
        self.slices.add_index(BY_MIRRORED, _source)
        self.endpoints.add_handler(self._enqueue, lambda old, new: self._enqueue(new), self._enqueue)
        self.services.add_handler(self._enqueue, self._service_updated, self._enqueue)
        self.slices.add_handler(None, lambda old, new: self._slice(new), self._slice)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.endpoints, self.services, self.slices)
        await self.queue.run(self.reconcile, workers=2)

    async def reconcile(self, key: str) -> None:
        """Make the slices of one Endpoints object true."""
        endpoints = self.endpoints.store.get(key)
        mirror = endpoints is not None and should_mirror(endpoints, self.services.store.get(key))
        slices = self.slices.by_index(BY_MIRRORED, key)
        if not mirror and not slices:
            return
        changes = plan(mirrored(endpoints) if mirror and endpoints is not None else [], slices)
        await asyncio.gather(
            *(self._write(one) for one in (*changes.create, *changes.update)),
            *(self._delete(one) for one in changes.delete),
        )

    async def _write(self, one: Obj) -> None:
        write = self.client.update if meta.name(one) else self.client.create
        self.slices.observe(await write(ENDPOINT_SLICES, one))

    async def _delete(self, one: Obj) -> None:
        try:
            await self.client.delete(ENDPOINT_SLICES, meta.name(one), meta.namespace(one), uid=meta.uid(one))
        except StatusError as error:
            if error.code != 404:
                raise
        self.slices.observe_deleted(one)

    def _enqueue(self, obj: Obj) -> None:
        self.queue.add(meta.key(obj))

    def _service_updated(self, old: Obj, new: Obj) -> None:
        if bool(old["spec"].get("selector")) != bool(new["spec"].get("selector")):
            self._enqueue(new)

    def _slice(self, one: Obj) -> None:
        for key in _source(one):
            self.queue.add(key)


def _source(one: Obj) -> tuple[str, ...]:
    """Index: the Endpoints object that a mirrored slice comes from."""
    labels = meta.labels(one)
    if labels.get(MANAGED_BY) != MANAGER or SERVICE_NAME not in labels:
        return ()
    return (meta.join_key(meta.namespace(one), labels[SERVICE_NAME]),)
