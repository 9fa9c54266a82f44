"""Pod CIDRs for nodes (upstream pkg/controller/nodeipam, range allocator).

What is taken is read from the Nodes themselves each time, so that nothing is given twice after a crash.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.kinds import NODES
from netlab.controllers.context import Context

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def taken(nodes: Iterable[Obj]) -> set[str]:
    """PURE. All ranges that nodes hold."""
    found: set[str] = set()
    for node in nodes:
        spec = node.get("spec") or {}
        found.update(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else ()))
    return found


def next_free(cluster: str, mask: int, used: Iterable[str], wish: int = 0) -> str | None:
    """PURE. The range number `wish` of the cluster, or the lowest, that overlaps none in use; None when none is left.

    `used` may hold ranges of any size, put there by hand.
    """
    whole = ipaddress.ip_network(cluster)
    size = 2 ** (whole.max_prefixlen - mask)
    base = int(whole.network_address)
    blocked: set[int] = set()
    for text in used:
        other = ipaddress.ip_network(text, strict=False)
        if other.version != whole.version:
            continue
        first = max(0, (int(other.network_address) - base) // size)
        last = (int(other.broadcast_address) - base) // size
        blocked.update(range(first, min(last, 2 ** (mask - whole.prefixlen) - 1) + 1))
    number_of_ranges = 2 ** (mask - whole.prefixlen)
    for number in (wish, *range(number_of_ranges)):
        if number < number_of_ranges and number not in blocked:
            return str(ipaddress.ip_network((base + number * size, mask)))
    return None


class NodeIpamController:
    """One worker: two nodes never race for a range."""

    def __init__(self, context: Context) -> None:
        self.context, self.client, self.config = context, context.client, context.config
        self.nodes = context.informer(NODES)
        self.places = {name: place for place, name in enumerate(self.config.node_order)}
        self.queue = context.queue("node-ipam-controller")
        self.events = context.recorder("cidrAllocator")
        self.nodes.add_handler(self._enqueue, lambda old, new: self._enqueue(new), self._deleted)

    async def run(self) -> None:
        """Until cancelled."""
        await self.context.synced(self.nodes)
        await self.queue.run(self.reconcile, workers=1)

    async def reconcile(self, name: str) -> None:
        """Give a node its range."""
        node = self.nodes.store.get(name)
        if node is None or meta.get(node, "spec", "podCIDR"):
            return
        used, ranges = taken(self.nodes.store.values()), list[str]()
        for cluster in self.config.cluster_cidr.split(","):
            mask = self.config.node_mask6 if ":" in cluster else self.config.node_mask
            free = next_free(cluster, mask, used, self.places.get(name, 0))
            if free is None:
                text = f"Node {name} status is now: CIDRNotAvailable"
                self.events.event(node, "Normal", "CIDRNotAvailable", text)
                raise OSError(f"no free /{mask} left in {cluster}")
            ranges.append(free)
        patch = {"spec": {"podCIDR": ranges[0], "podCIDRs": ranges}, "metadata": {"uid": meta.uid(node)}}
        self.nodes.observe(await self.client.patch(NODES, name, patch, patch_type="merge"))

    def _enqueue(self, node: Obj) -> None:
        if not meta.get(node, "spec", "podCIDR"):
            self.queue.add(meta.name(node))

    def _deleted(self, node: Obj) -> None:
        """A range came free: nodes that had none may try at once."""
        for other in self.nodes.store.values():
            self._enqueue(other)
