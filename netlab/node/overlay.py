"""The overlay agent of one node, in Flannel's words: what flanneld does with the kube subnet manager.

It publishes the node's VTEP in annotations, watches Nodes for everybody else's, and keeps bridge, VXLAN device, routes,
neighbours and forwarding entries what `netlab.dataplane` says. A peer's event costs one peer's entries; now and then,
and at the start, the whole is compared with what the kernel has.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.dataplane import masquerade
from netlab.dataplane.diff import diff
from netlab.dataplane.model import NodeState, Plan
from netlab.dataplane.nodes import VXLAN_DEVICE, VXLAN_DEVICE6, NodeNet, vtep_mac
from netlab.dataplane.overlay import BACKENDS, node_network, overlay_owned
from netlab.kernel.errors import CommandFailed, KernelError
from netlab.node.config import AgentConfig, NodeConfig
from netlab.node.network import NodeNetwork
from netlab.node.told import NodeFaults

log = logging.getLogger(__name__)

PREFIX = "flannel.alpha.coreos.com/"
_BACKEND_DATA = {4: "backend-data", 6: "backend-v6-data"}
_PUBLIC_IP = {4: "public-ip", 6: "public-ipv6"}
_DEVICE = {4: VXLAN_DEVICE, 6: VXLAN_DEVICE6}
VNI = 1
MANY_PEERS = 32
LONGEST_RESYNC = 3600.0


def flannel_annotations(config: NodeConfig, backend: str) -> dict[str, str]:
    """What flanneld writes on its Node; a real one does so itself."""
    if backend == "external":
        return {}
    notes = {PREFIX + "backend-type": backend, PREFIX + "kube-subnet-manager": "true"}
    for ip in config.ips:
        version = ip_address(ip).version
        data = json.dumps({"VNI": VNI, "VtepMAC": vtep_mac(config.name, _DEVICE[version])}, separators=(",", ":"))
        notes[PREFIX + _BACKEND_DATA[version]] = data if backend == "vxlan" else "null"
        notes[PREFIX + _PUBLIC_IP[version]] = ip
    return dict(sorted(notes.items()))


def node_net(node: Obj, backend: str, underlay_if: str = "eth0", mtu: int = 1500) -> NodeNet | None:
    """A Node as the data plane sees it; None while it has no podCIDR or has not published its address.

    As Flannel: a node whose annotations are not there, or are another backend's, is not a peer.
    """
    spec = node.get("spec") or {}
    cidrs = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    second: NodeNet | None = None
    for cidr in reversed(cidrs):
        net = _family_net(node, cidr, backend, underlay_if, mtu)
        if net is None:
            return None
        second = net if second is None else replace(net, second=second)
    return second


def _family_net(node: Obj, cidr: str, backend: str, underlay_if: str, mtu: int) -> NodeNet | None:
    notes, version = node["metadata"].get("annotations") or {}, 6 if ":" in cidr else 4
    if backend == "external":
        return NodeNet(node["metadata"]["name"], cidr, "", underlay_if, mtu, "external")
    ip = notes.get(f"{PREFIX}{_PUBLIC_IP[version]}-overwrite") or notes.get(PREFIX + _PUBLIC_IP[version])
    if not ip or notes.get(PREFIX + "backend-type") != backend:
        return None
    mac = ""
    if backend == "vxlan":
        try:
            ip_address(ip)
            mac = str(json.loads(notes[PREFIX + _BACKEND_DATA[version]])["VtepMAC"])
        except (KeyError, ValueError, TypeError) as problem:
            log.warning("node %s has unreadable overlay annotations: %s", node["metadata"]["name"], problem)
            return None
    return NodeNet(node["metadata"]["name"], cidr, ip, underlay_if, mtu, backend, mac)  # type: ignore[arg-type]


class Overlay:
    """One node's. `on_ready(net)` is called once, when the node's own bridge and device are there."""

    def __init__(
        self,
        config: NodeConfig,
        agent: AgentConfig,
        network: NodeNetwork,
        resync: float,
        on_ready: Callable[[NodeNet], None],
        faults: NodeFaults | None = None,
    ) -> None:
        self._config, self._agent, self._network = config, agent, network
        self._resync, self._on_ready = resync, on_ready
        self._faults = faults or NodeFaults()
        self._own: NodeNet | None = None
        self._peers: dict[str, NodeNet] = {}
        self._changed: set[str] = set()
        self._applied: dict[str, NodeNet] = {}
        self._wake = asyncio.Event()
        self._ready = False
        self._all_dirty = True

    def watch(self, nodes: Informer) -> None:
        """Follow the Nodes of this informer."""
        nodes.add_handler(self._seen, self._updated, self._lost)

    def _updated(self, old: Obj, new: Obj) -> None:
        """Most events of Nodes are heartbeats."""
        same = old["metadata"].get("annotations") == new["metadata"].get("annotations")
        if not same or (old.get("spec") or {}).get("podCIDR") != (new.get("spec") or {}).get("podCIDR"):
            self._seen(new)

    def _seen(self, node: Obj) -> None:
        name = node["metadata"]["name"]
        net = node_net(node, self._agent.overlay, self._config.interface, self._config.mtu)
        if name == self._config.name:
            if net is not None and net != self._own:
                self._own = net
                self._wake.set()
        elif net != self._peers.get(name):
            if net is None:
                del self._peers[name]
            else:
                self._peers[name] = net
            self._changed.add(name)
            self._wake.set()

    def _lost(self, node: Obj) -> None:
        name = node["metadata"]["name"]
        if self._peers.pop(name, None) is not None:
            self._changed.add(name)
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            whole = False
            try:
                async with asyncio.timeout(self._interval() if self._ready else None):
                    await self._wake.wait()
            except TimeoutError:
                whole = True
            self._wake.clear()
            try:
                await self._sync(whole)
            except (KernelError, CommandFailed, OSError) as problem:
                log.warning("overlay of %s: %s", self._config.name, problem)
                self._all_dirty = True
                await asyncio.sleep(0.5)
                self._wake.set()

    def _interval(self) -> float:
        """Comparing everything costs every node as much as there are nodes: a large lab does it more seldom."""
        return min(self._resync * max(1.0, (len(self._peers) / MANY_PEERS) ** 2), LONGEST_RESYNC)

    async def _sync(self, whole: bool) -> None:
        own = self._own
        if own is None:
            return
        if whole or self._all_dirty or own != self._network.net:
            await self._sync_all(own)
            return
        changed, self._changed = self._changed, set()
        old = _peer_state(own, [self._applied[n] for n in changed if n in self._applied])
        new = _peer_state(own, [self._peers[n] for n in changed if n in self._peers])
        await self._apply(diff(old, new, overlay_owned(self._agent.cluster_cidr, self._agent.overlay)), changed)

    async def _sync_all(self, own: NodeNet) -> None:
        """Everything, against what the kernel has: adopts what an earlier agent made, repairs what was touched."""
        self._all_dirty = True
        changed = set(self._peers) | set(self._applied)
        self._changed -= changed
        desired = node_network(own, list(self._peers.values()))
        ipv6 = any(one.is_ipv6 for one in own.families)
        observed = await self._network.observe([sysctl.name for sysctl in desired.sysctls], ipv6=ipv6)
        plan = diff(observed, desired, overlay_owned(self._agent.cluster_cidr, self._agent.overlay))
        if plan and self._ready:
            log.info("overlay of %s repaired:\n%s", self._config.name, plan)
        await self._apply(plan, changed)
        self._network.net = own
        if not self._ready:
            self._ready = True
            self._on_ready(own)
            if self._agent.overlay != "external":
                await self._masquerade(own)
        self._all_dirty = False

    async def _apply(self, plan: Plan, names: set[str]) -> None:
        wrong = self._faults.of(self._config.name).entries
        if wrong:  # broken on purpose: to be left alone as long as that lasts
            plan = Plan(tuple(step for step in plan.steps if step.object.key not in wrong))
        if plan:
            await self._network.apply(plan)
        for name in names:
            if name in self._peers:
                self._applied[name] = self._peers[name]
            else:
                self._applied.pop(name, None)

    async def _masquerade(self, own: NodeNet) -> None:
        """Flannel's two chains. Late by a few ms on purpose: pods may start meanwhile."""
        from netlab.kernel import iptables

        ns = self._network.ns
        for one, cidr in zip(own.families, self._agent.cluster_cidr.split(","), strict=False):
            rules = (*masquerade.masquerade_rules(one.pod_cidr, cidr), *masquerade.forward_rules(cidr))
            present = frozenset((await iptables.save_async(ns, ipv6=one.is_ipv6)).splitlines())
            text = masquerade.restore_text(rules, present=present)
            await iptables.restore_async(ns, text, noflush=True, ipv6=one.is_ipv6)


def _peer_state(own: NodeNet, peers: list[NodeNet]) -> NodeState:
    """Only the entries for peers: the devices themselves are not touched by a peer's event."""
    state = BACKENDS[own.backend](own, peers)
    return NodeState(routes=state.routes, neighbours=state.neighbours, fdb=state.fdb)
