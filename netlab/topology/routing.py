"""Routes by shortest path over the underlay, with all equal-cost next hops. Pure; the substrate applies them.

Every segment is one hop wide, whatever its links' delays: the cost is the number of routers passed, as RIP would count.
A breadth-first search from each segment through the routers gives the distance of all of them at once, so the whole
costs (segments × routers' interfaces), which is milliseconds for a thousand nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses, ip_address, ip_network

from netlab.topology.model import Attachment, Family, Host, Node, Router, Topology, family_of

DEFAULT: Mapping[Family, str] = {"IPv4": "default", "IPv6": "::/0"}
"""The destination of a default route: `default` alone is taken for IPv4's."""


@dataclass(frozen=True, slots=True)
class NextHop:
    """One way out: the neighbour's address and the interface that reaches it; `via` is "" for an on-link route."""

    via: str
    interface: str


@dataclass(frozen=True, slots=True)
class ComputedRoute:
    """`destination` is a CIDR or "default"; more than one hop means equal-cost multipath."""

    destination: str
    hops: tuple[NextHop, ...]

    def __str__(self) -> str:
        """As an argument of `ip route add`."""
        if len(self.hops) == 1:
            via = f" via {self.hops[0].via}" if self.hops[0].via else ""
            return f"{self.destination}{via} dev {self.hops[0].interface}"
        hops = " ".join(f"nexthop via {hop.via} dev {hop.interface} weight 1" for hop in self.hops)
        return f"{self.destination} {hops}"


def routes(topology: Topology) -> Mapping[str, tuple[ComputedRoute, ...]]:
    """Every route that each node, host and router needs besides its connected subnets, by machine name.

    Routers know every subnet; nodes and hosts get one default route where all their routes leave by the same hops,
    else one route per subnet. Routes asked for in the file replace computed ones to the same destination. A node that
    is left without a default route gets an on-link one: a process of the node itself (hostNetwork) that calls a
    Service needs some route to it before the kernel rewrites the destination.
    """
    graph = _Graph(topology)
    families: tuple[Family, ...] = ("IPv4", "IPv6") if "IPv6" in topology.cluster.families else ("IPv4",)
    machines: tuple[Node | Host | Router, ...] = (*topology.nodes, *topology.hosts, *topology.routers)
    return {
        machine.name: tuple(
            ComputedRoute(to, hops)
            for family in families
            for to, hops in _routes_of(topology, graph, machine, family).items()
        )
        for machine in machines
    }


def _routes_of(
    topology: Topology, graph: _Graph, machine: Node | Host | Router, family: Family
) -> dict[str, tuple[NextHop, ...]]:
    computed, default = graph.routes_of(machine.name, family), DEFAULT[family]
    if not isinstance(machine, Router) and len(set(computed.values())) == 1:
        computed = {default: next(iter(computed.values()))}
    for static in machine.routes:
        if family_of(static.via) == family:
            to = default if static.to == "default" else static.to
            computed[to] = (NextHop(static.via, graph.interface_towards(machine.name, static.via)),)
    if isinstance(machine, Node) and default not in computed:
        computed[default] = (NextHop("", topology.underlay_if(machine.name)),)
    return computed


def neighbours(topology: Topology) -> Mapping[str, tuple[str, ...]]:
    """Who is cabled to whom, by name, in the order of the links."""
    result: dict[str, dict[str, None]] = {name: {} for name in topology.names}
    for link in topology.links:
        result[link.a.node][link.b.node] = None
        result[link.b.node][link.a.node] = None
    return {name: tuple(others) for name, others in result.items()}


def summary(networks: Iterable[str]) -> tuple[str, ...]:
    """The fewest CIDRs that cover exactly these."""
    return tuple(str(network) for network in collapse_addresses(IPv4Network(item) for item in networks))


class _Graph:
    """Segments and routers as a bipartite graph."""

    def __init__(self, topology: Topology) -> None:
        self.segments = topology.segments
        self.ports: dict[str, list[tuple[int, Attachment]]] = {}
        routers = {router.name for router in topology.routers}
        self.gateways: list[list[Attachment]] = []
        for index, segment in enumerate(topology.segments):
            for attachment in segment.attachments:
                self.ports.setdefault(attachment.node, []).append((index, attachment))
            self.gateways.append([end for end in segment.attachments if end.node in routers])
        self.distances = [self._distances_to(index) for index in range(len(self.segments))]

    def _distances_to(self, target: int) -> dict[str, int]:
        """How many more routers each router must pass to reach the target; those that cannot are missing."""
        distance, frontier, seen = dict[str, int](), [target], {target}
        passed = 0
        while frontier:
            fresh: list[int] = []
            for gateway in (gateway for index in frontier for gateway in self.gateways[index]):
                if gateway.node in distance:
                    continue
                distance[gateway.node] = passed
                for neighbour, _ in self.ports[gateway.node]:
                    if neighbour not in seen:
                        seen.add(neighbour)
                        fresh.append(neighbour)
            frontier, passed = fresh, passed + 1
        return distance

    def routes_of(self, name: str, family: Family = "IPv4") -> dict[str, tuple[NextHop, ...]]:
        """The hops to each subnet that is not connected, in the order of the segments."""
        own = self.ports.get(name, [])
        connected = {index for index, _ in own}
        result: dict[str, tuple[NextHop, ...]] = {}
        for target, segment in enumerate(self.segments):
            if target not in connected:
                hops, subnet = self._hops(name, own, self.distances[target], family), segment.subnet_of(family)
                if hops and subnet:
                    result[subnet] = hops
        return result

    def _hops(
        self, name: str, own: list[tuple[int, Attachment]], distance: dict[str, int], family: Family
    ) -> tuple[NextHop, ...]:
        best, hops = -1, dict[NextHop, None]()
        for index, port in own:
            for gateway in self.gateways[index]:
                via = gateway.ip_of(family)
                if gateway.node == name or via is None:
                    continue
                near = distance.get(gateway.node, -1)
                if near < 0 or (0 <= best < near):
                    continue
                if near != best:
                    best, hops = near, {}
                hops[NextHop(via, port.interface)] = None
        return tuple(hops)

    def interface_towards(self, name: str, via: str) -> str:
        """The interface whose subnet holds the address; the loader has checked that there is one."""
        address = ip_address(via)
        for index, port in self.ports[name]:
            subnet = self.segments[index].subnet_of(family_of(via))
            if subnet and address in ip_network(subnet):
                return port.interface
        raise KeyError((name, via))
