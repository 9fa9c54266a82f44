"""Announces load balancers' addresses on the underlay: what MetalLB's speaker does in layer-2 mode.

Every node watches LoadBalancer Services and Nodes, and as soon as one has an address, EndpointSlices; it computes by
itself which addresses are its own to answer for (netlab.dataplane.loadbalancers) and does so by ARP and NDP. A node
that takes an address over tells its neighbours, several times, as a first message may be lost or ignored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.events import EventRecorder
from netlab.client.informer import Informer
from netlab.client.kinds import ENDPOINT_SLICES, SERVICES
from netlab.dataplane.loadbalancers import EXCLUDE, announced_by, usable, vip_addresses
from netlab.dataplane.services import SELECTOR
from netlab.kernel.arp import ArpResponder
from netlab.kernel.ndp import NdpResponder
from netlab.kernel.netns import NetNs
from netlab.topology.pool import AddressRange

log = logging.getLogger(__name__)

REPEAT, REPEATS = 1.1, 5
"""Gratuitous messages of a take-over: seconds between two, and how many."""
REOPEN = 0.5
BY_SERVICE = "service"

Responder = ArpResponder | NdpResponder


def _slice_service(one: Obj) -> Sequence[str]:
    name = (one["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
    return (f"{one['metadata']['namespace']}/{name}",) if name else ()


class Segments:
    """Which interfaces of which nodes are where an address of the pool is. `pools` as in AgentConfig."""

    def __init__(self, pools: Sequence[Obj]) -> None:
        self._pools = [(AddressRange.parse(one["range"]), dict(one["interfaces"])) for one in pools]

    def interfaces(self, address: str) -> dict[str, str]:
        """Node → interface; nothing for an address outside of every range."""
        wanted = ip_address(address)
        return next((found for entry, found in self._pools if wanted in entry), {})


class Responders:
    """The open sockets of one node, by interface and family; they answer for the addresses that were told."""

    def __init__(self, ns: NetNs, node: str) -> None:
        self._ns, self._node = ns, node
        self._open: dict[tuple[str, int], tuple[Responder, set[str]]] = {}
        self._repeats: dict[str, asyncio.Task[None]] = {}

    def add(self, address: str, interface: str) -> None:
        """Answer for the address from now on, and say so. OSError where that cannot be."""
        version = ip_address(address).version
        found = self._open.get((interface, version))
        if found is None:
            addresses: set[str] = set()
            make = ArpResponder if version == 4 else NdpResponder
            found = self._open[interface, version] = (make(self._ns, interface, addresses), addresses)
            asyncio.get_running_loop().add_reader(found[0].fileno(), self._read, interface, version)
        responder, addresses = found
        addresses.add(address)
        if isinstance(responder, NdpResponder):
            responder.join(address)
        self._repeats[address] = asyncio.create_task(self._announce(responder, address))

    def drop(self, address: str, interface: str) -> None:
        """Answer for it no more."""
        repeating = self._repeats.pop(address, None)
        if repeating is not None:
            repeating.cancel()
        key = interface, ip_address(address).version
        if key not in self._open:
            return
        responder, addresses = self._open[key]
        if isinstance(responder, NdpResponder):
            responder.leave(address)
        addresses.discard(address)
        if not addresses:
            self._close(key)

    def close(self) -> None:
        for task in self._repeats.values():
            task.cancel()
        for key in list(self._open):
            self._close(key)

    def _close(self, key: tuple[str, int]) -> None:
        responder, _ = self._open.pop(key)
        asyncio.get_running_loop().remove_reader(responder.fileno())
        responder.close()

    def _read(self, interface: str, version: int) -> None:
        try:
            self._open[interface, version][0].read()
        except OSError as error:  # a cable that was cut; the socket goes on when the interface is up again
            log.info("%s: %s: %s", self._node, interface, error)

    async def _announce(self, responder: Responder, address: str) -> None:
        for _ in range(REPEATS):
            try:
                responder.announce(address)
            except OSError as error:
                log.info("%s: cannot announce %s: %s", self._node, address, error)
            await asyncio.sleep(REPEAT)


class Announcer:
    """One node's. `nodes` is an informer of all Nodes that somebody else has started."""

    def __init__(
        self, node: str, pools: Sequence[Obj], client: Client, nodes: Informer, open_namespace: Callable[[], NetNs]
    ) -> None:
        self._node, self._nodes, self._client, self._open_namespace = node, nodes, client, open_namespace
        self._segments = Segments(pools)
        self._services = Informer(client, SERVICES, field_selector="spec.type=LoadBalancer")
        self._slices = Informer(client, ENDPOINT_SLICES, label_selector=SELECTOR)
        self._slices.add_index(BY_SERVICE, _slice_service)
        self._watching_slices = False
        self._events = EventRecorder(client, "metallb-speaker", host=node)
        self._wake = asyncio.Event()
        self.announced: dict[str, str] = {}
        """Address → interface."""

    async def run(self) -> None:
        """Until cancelled."""
        self._nodes.add_handler(self._changed, self._node_updated, self._changed)
        self._services.add_handler(self._changed, lambda _, new: self._changed(new), self._changed)
        self._slices.add_handler(self._changed, lambda _, new: self._changed(new), self._changed)
        self._services.start()
        ns = self._open_namespace()
        responders = Responders(ns, self._node)
        try:
            await self._services.wait_synced()
            await self._nodes.wait_synced()
            while True:
                again = await self._settle(responders)
                try:
                    async with asyncio.timeout(REOPEN if again else None):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
        finally:
            responders.close()
            ns.close()
            for informer in (self._services, self._slices):
                await informer.stop()
            await self._events.close()

    def _changed(self, _: Obj) -> None:
        self._wake.set()

    def _node_updated(self, old: Obj, new: Obj) -> None:
        """Most events of Nodes are heartbeats."""
        labels = [EXCLUDE in (one["metadata"].get("labels") or {}) for one in (old, new)]
        if usable(old) != usable(new) or labels[0] != labels[1]:
            self._wake.set()

    async def _settle(self, responders: Responders) -> bool:
        """Announce what is ours, and no more. True where something could not be done yet."""
        wanted = await self._wanted()
        for address in set(self.announced) - set(wanted):
            responders.drop(address, self.announced.pop(address))
            log.info("%s: withdraws %s", self._node, address)
        failed = False
        for address, key in wanted.items():
            if address in self.announced:
                continue
            interface = self._segments.interfaces(address)[self._node]
            try:
                responders.add(address, interface)
            except OSError as error:
                log.warning("%s: cannot answer for %s on %s: %s", self._node, address, interface, error)
                failed = True
                continue
            self.announced[address] = interface
            text = f'announcing from node "{self._node}" with protocol "layer2"'
            log.info("%s: %s %s", key, address, text)
            self._events.event(self._services.store[key], "Normal", "nodeAssigned", text)
        return failed

    async def _wanted(self) -> dict[str, str]:
        services = list(self._services.store.values())
        members: dict[str, list[Obj]] = {}
        for service in services:
            for address in vip_addresses(service):
                near = self._segments.interfaces(address)
                members[address] = [self._nodes.store[name] for name in near if name in self._nodes.store]
        if not members:
            return {}
        if not self._watching_slices:
            self._watching_slices = True
            self._slices.start()
        await self._slices.wait_synced()
        slices = {key: self._slices.by_index(BY_SERVICE, key) for key in self._services.store}
        return announced_by(self._node, services, slices, members)
