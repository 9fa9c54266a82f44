"""The underlay's machines as desired state: interfaces, addresses, routes and forwarding of nodes, hosts and routers.

All neighbours of a small lab are resolved by ARP, as in life. The kernel, however, has one neighbour table for all its
namespaces (gc_thresh3, 1,024 entries, not settable in a user namespace), and permanent entries are not counted: where
the pairs of a lab would overflow it, the segments' addresses, which are all known here, become permanent entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netlab.dataplane.model import Address, Hop, Link, Neighbour, NodeState, Route, Sysctl
from netlab.dataplane.nodes import link_local
from netlab.dataplane.shaping import Shaping
from netlab.topology.model import Attachment, Host, Node, Router, Topology
from netlab.topology.routing import ComputedRoute, routes

ARP_PAIRS = 512
"""As many pairs of machines on one segment as are left to ARP: half the kernel's table, the rest is for pods."""
ALL_PAIRS = 40_000
"""Above this, only the pairs with a control plane or a router become permanent: a full mesh would cost more than it
saves."""


def underlay(topology: Topology) -> Mapping[str, NodeState]:
    """The desired state of every node, host and router, by name. Links are the veth ends, with MAC and MTU."""
    computed = routes(topology)
    mtus = {end: link.mtu for link in topology.links for end in link.ends}
    ends: dict[str, list[Attachment]] = {}
    for link in topology.links:
        for end in link.ends:
            ends.setdefault(end.node, []).append(end)
    static, ipv6 = _neighbours(topology), "IPv6" in topology.cluster.families
    machines: tuple[Node | Host | Router, ...] = (*topology.nodes, *topology.hosts, *topology.routers)
    return {
        machine.name: NodeState(
            links=(
                Link("lo", "loopback"),
                *(Link(end.interface, "veth", mac=end.mac, mtu=mtus[end]) for end in ends.get(machine.name, ())),
            ),
            addresses=tuple(address for end in ends.get(machine.name, ()) for address in _addresses(end)),
            routes=tuple(route_of(route) for route in computed.get(machine.name, ())),
            neighbours=tuple(static.get(machine.name, ())),
            sysctls=sysctls(forwards=not isinstance(machine, Host), ipv6=ipv6),
        )
        for machine in machines
    }


NO_LINK_LOCAL = Sysctl("net.ipv6.conf.default.addr_gen_mode", "1", optional=True)
"""Interfaces made from now on give themselves no IPv6 link-local address. Each would cost duplicate address detection
and router solicitations: noise in every capture, and the kernel's one lock for all network configuration."""


def of_interface(state: NodeState, interface: str) -> NodeState:
    """What of a machine's state goes with one of its interfaces, which itself is not part of it."""
    return NodeState(
        addresses=tuple(one for one in state.addresses if one.dev == interface),
        routes=tuple(one for one in state.routes if interface in (one.dev, *(hop.dev for hop in one.hops))),
        neighbours=tuple(one for one in state.neighbours if one.dev == interface),
    )


def _addresses(end: Attachment) -> Iterable[Address]:
    """Where there is IPv6, also the link-local address: a router asks for its neighbours from it (RFC 4861, 7.2.2)."""
    if end.address:
        yield Address(end.interface, end.address)
    if end.address6 and end.mac:
        yield Address(end.interface, end.address6)
        yield Address(end.interface, link_local(end.mac), "link")


def sysctls(*, forwards: bool, ipv6: bool = False) -> tuple[Sysctl, ...]:
    """What a machine's namespace is told before it has interfaces. A new namespace inherits these from the machine that
    runs the lab, so each is said, whatever its default."""
    always = (
        Sysctl("net.ipv4.ip_forward", str(int(forwards))),
        Sysctl("net.ipv4.conf.all.rp_filter", "0"),
        Sysctl("net.ipv4.conf.default.rp_filter", "0"),
    )
    found = (*always, Sysctl("net.ipv4.fib_multipath_hash_policy", "1"), NO_LINK_LOCAL) if forwards else always
    if not ipv6:
        return found
    return (
        *found,
        Sysctl("net.ipv6.conf.all.disable_ipv6", "0"),
        Sysctl("net.ipv6.conf.default.disable_ipv6", "0"),
        Sysctl("net.ipv6.conf.all.forwarding", str(int(forwards))),
        Sysctl("net.ipv6.conf.default.accept_ra", "0"),
        *((Sysctl("net.ipv6.fib_multipath_hash_policy", "1", optional=True),) if forwards else ()),
    )


def route_of(route: ComputedRoute) -> Route:
    """A computed route as an object of the model."""
    if len(route.hops) == 1:
        hop = route.hops[0]
        return Route(route.destination, hop.interface, via=hop.via or None)
    return Route(route.destination, hops=tuple(Hop(hop.via or None, hop.interface) for hop in route.hops))


def shaping(topology: Topology) -> Mapping[Attachment, Shaping]:
    """What is to be done to packets that leave by each end of each shaped link."""
    found = {}
    for link in topology.links:
        for end in link.ends:
            rule = Shaping(end.interface, link.bandwidth_bps, link.delay_s, link.jitter_s, link.loss, link.mtu)
            if rule:
                found[end] = rule
    return found


def _neighbours(topology: Topology) -> Mapping[str, list[Neighbour]]:
    found: dict[str, list[Neighbour]] = {}
    pairs = sum(len(segment.attachments) * (len(segment.attachments) - 1) for segment in topology.segments)
    if pairs <= ARP_PAIRS:
        return found
    hubs = {node.name for node in topology.control_planes} | {router.name for router in topology.routers}
    knowing = hubs if pairs > ALL_PAIRS else set(topology.names)
    for segment in topology.segments:
        central = [end for end in segment.attachments if end.node in hubs]
        lists: dict[tuple[str, bool], _Listed] = {}  # most interfaces are called alike, so most lists are nearly equal
        for end in segment.attachments:
            key = (end.interface, end.node in knowing)
            if key not in lists:
                lists[key] = _listed(segment.attachments if key[1] else central, end.interface)
            every, places = lists[key]
            own = places.get(end, slice(0, 0))
            found.setdefault(end.node, []).extend(every[: own.start] + every[own.stop :])
    return found


_Listed = tuple[list[Neighbour], Mapping[Attachment, slice]]


def _listed(ends: Iterable[Attachment], interface: str) -> _Listed:
    """The entries for all of these ends on one interface, and where in the list each end has its own."""
    every: list[Neighbour] = []
    places = {}
    for end in ends:
        start = len(every)
        every += [Neighbour(interface, ip, end.mac) for ip in (end.ip, end.ip6) if ip and end.mac]
        places[end] = slice(start, len(every))
    return every, places
