"""ServiceCIDRs: they are said to be ready, and do not go while addresses need them.

Source followed: pkg/controller/servicecidrs.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Mapping

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.kinds import IP_ADDRESSES, SERVICE_CIDRS
from netlab.controllers.context import Context

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGER = "service-cidr-controller"
GRACE = 10.0
"""Seconds from the deletion until the finalizer goes: an allocator may not have heard of it."""
READY = ("True", "", "Kubernetes Service CIDR is ready")
TERMINATING = (
    "False",
    "Terminating",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
)


def contains(cidrs: Iterable[str], address: str) -> bool:
    """PURE. Whether an address is in one of the ranges."""
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in map(ipaddress.ip_network, cidrs) if network.version == parsed.version)


def needed(cidr: Obj, others: Iterable[Obj], addresses: Iterable[str]) -> bool:
    """PURE. Whether there is an address of this ServiceCIDR that no other one covers."""
    rest = [one for other in others if not meta.deleting(other) for one in other["spec"].get("cidrs") or ()]
    own = cidr["spec"].get("cidrs") or ()
    return any(contains(own, one) and not contains(rest, one) for one in addresses)


class ServiceCidrController:
    """A key is a ServiceCIDR."""

    def __init__(self, context: Context) -> None:
        self.context, self.client = context, context.client
        self.queue = context.queue("ipaddresses")
        self.cidrs, self.addresses = context.informer(SERVICE_CIDRS), context.informer(IP_ADDRESSES)
        self.cidrs.add_handler(self._all, self._all, self._all)
        self.addresses.add_handler(None, None, self._all)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.cidrs, self.addresses)
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, key: str) -> None:
        """Finalizer and condition of one ServiceCIDR."""
        cidr = self.cidrs.store.get(key)
        if cidr is None:
            return
        kept = FINALIZER in meta.finalizers(cidr)
        if not meta.deleting(cidr):
            if not kept:
                cidr = await self._finalizers(cidr, [*meta.finalizers(cidr), FINALIZER])
            await self._condition(cidr, READY)
            return
        if not kept:
            return
        others = [one for name, one in self.cidrs.store.items() if name != key]
        if needed(cidr, others, map(meta.name, self.addresses.store.values())):
            await self._condition(cidr, TERMINATING)
            return
        left = meta.parse_time(cidr["metadata"]["deletionTimestamp"]) + GRACE - time.time()
        if left > 0:
            self.queue.add_after(key, left)
            return
        await self._finalizers(cidr, [one for one in meta.finalizers(cidr) if one != FINALIZER])

    async def _finalizers(self, cidr: Obj, wanted: list[str]) -> Obj:
        metadata = {"finalizers": wanted, "resourceVersion": meta.resource_version(cidr)}
        written = await self.client.patch(SERVICE_CIDRS, meta.name(cidr), {"metadata": metadata}, patch_type="merge")
        if wanted or not meta.deleting(cidr):
            self.cidrs.observe(written)
        return written

    async def _condition(self, cidr: Obj, verdict: tuple[str, str, str]) -> None:
        status, reason, message = verdict
        old: Mapping[str, str] = meta.condition(cidr, "Ready") or {}
        if (old.get("status"), old.get("reason", "")) == (status, reason):
            return
        condition = {"type": "Ready", "status": status, "reason": reason, "message": message}
        condition["lastTransitionTime"] = meta.now_rfc3339()
        wanted = {
            "apiVersion": cidr["apiVersion"],
            "kind": cidr["kind"],
            "metadata": {"name": meta.name(cidr)},
            "status": {"conditions": [condition]},
        }
        patch = self.client.patch(
            SERVICE_CIDRS,
            meta.name(cidr),
            wanted,
            patch_type="apply",
            subresource="status",
            field_manager=MANAGER,
            force=True,
        )
        self.cidrs.observe(await patch)

    def _all(self, *_: Obj) -> None:
        """One may cover what another leaves: all are looked at."""
        for key in self.cidrs.store:
            self.queue.add(key)
