"""The entrances of a Service's port, and the walk of a packet through each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from netlab.dataplane.explain import ipvs
from netlab.dataplane.explain.counts import Beside
from netlab.dataplane.explain.iptables import IptablesWalker, Tables
from netlab.dataplane.explain.model import Caller, Origin, Packet, Walk, World
from netlab.dataplane.explain.nftables import NftablesWalker
from netlab.dataplane.nftables.table import NftState
from netlab.dataplane.services.model import ServicePort

Mode = Literal["iptables", "ipvs", "nftables"]
MODES: tuple[Mode, ...] = ("iptables", "ipvs", "nftables")


@dataclass(frozen=True, slots=True)
class Material:
    """The rules of one mode on one node. `live`: as the kernel has them, with counters; else as they would be.

    `beside`: what was counted beside nftables' rules, which have no counters."""

    mode: Mode
    live: bool
    world: World
    tables: Tables = field(default_factory=dict)
    nft: NftState = field(default_factory=NftState)
    servers: ipvs.Servers = field(default_factory=dict)
    beside: Beside | None = None

    def walk(self, packet: Packet) -> Walk:
        if self.mode == "nftables":
            return NftablesWalker(self.nft, self.world, packet, self.beside).run()
        if self.mode == "ipvs":
            return ipvs.walk(self.tables, self.servers, self.world, packet, live=self.live)
        return IptablesWalker(self.tables, self.world, packet, live=self.live).run()


@dataclass(frozen=True, slots=True)
class Entrance:
    """One address and port of a Service: "cluster IP", "node port", "external IP" or "load balancer IP"."""

    kind: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """One Service's port on one node in one mode: each entrance with the walk of a packet to it."""

    port: ServicePort
    mode: Mode
    live: bool
    walks: tuple[tuple[Entrance, Walk], ...]


def entrances(port: ServicePort, node_ip: str) -> Iterator[Entrance]:
    yield Entrance("cluster IP", port.cluster_ip, port.port)
    for address in port.external_ips:
        yield Entrance("external IP", address, port.port)
    for address in port.load_balancer_ips:
        yield Entrance("load balancer IP", address, port.port)
    if port.node_port:
        yield Entrance("node port", node_ip, port.node_port)


def explain(
    port: ServicePort,
    material: Material,
    node_ip: str,
    callers: Mapping[Origin, Caller],
    origins: Sequence[Origin] = (),
) -> Explanation:
    """`origins`: who calls; by default a pod calls the cluster IP, and someone outside the other addresses.

    Uninterpretable names a rule that cannot be followed.
    """
    walks = [
        (entrance, material.walk(Packet(callers[origin], entrance.address, entrance.port, port.protocol.lower())))
        for entrance in entrances(port, node_ip)
        for origin in origins or (("pod",) if entrance.kind == "cluster IP" else ("outside",))
    ]
    return Explanation(port, material.mode, material.live, tuple(walks))
