"""From what is to what should be: the steps, each with its reason. Deletes only what is ours.

Ownership is by place, not by memory, so that it survives a crash of whoever made the objects: devices by name,
neighbour and forwarding entries by the device they are on, routes by the network they lead to. What the kernel made by
itself (protocol "kernel", neighbours that are not permanent) is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from netlab.dataplane.model import (
    PERMANENT,
    Address,
    Fdb,
    Link,
    Neighbour,
    NetObject,
    NodeState,
    Plan,
    Route,
    Step,
    Sysctl,
)

_Objects = Mapping[tuple[str, ...], NetObject]

OUR_PROTOCOLS = frozenset({"boot", "static"})


@dataclass(frozen=True, slots=True)
class Owned:
    """What may be deleted when it is not desired.

    `links` by name, with the addresses on them; `devices`: whose permanent neighbours and forwarding entries;
    `routes_in`: networks in CIDR form, whose routes (of protocol "boot" or "static") are ours.
    """

    links: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    routes_in: tuple[str, ...] = ()

    def owns(self, obj: NetObject) -> bool:
        """Whether this object is ours to delete."""
        match obj:
            case Link():
                return obj.name in self.links
            case Address():
                return obj.dev in self.links and obj.scope != "link"
            case Route():
                return obj.protocol in OUR_PROTOCOLS and self._leads_in(obj.dst)
            case Neighbour():
                return obj.dev in self.devices and obj.state == PERMANENT
            case Fdb():
                return obj.dev in self.devices
            case Sysctl():
                return False

    def _leads_in(self, dst: str) -> bool:
        if dst in ("default", "::/0"):
            return False
        network = ip_network(dst)
        return any(_within(network, ip_network(cidr)) for cidr in self.routes_in)


def _within(network: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    if isinstance(network, IPv6Network):
        return isinstance(outer, IPv6Network) and network.subnet_of(outer)
    return isinstance(outer, IPv4Network) and network.subnet_of(outer)


NOTHING = Owned()


def diff(observed: NodeState, desired: NodeState, owned: Owned = NOTHING) -> Plan:
    """The steps that make `observed` into `desired`: deletions first (in reverse order), then additions and changes."""
    have = {obj.key: obj for obj in observed.objects()}
    want = {obj.key: obj for obj in desired.objects()}
    rebuilt = _rebuilt(have, want)
    gone = rebuilt | {link.name for link in observed.links if link.key not in want and owned.owns(link)}
    steps = [
        Step("del", obj, "ours, and no longer wanted")
        for obj in reversed(observed.objects())
        if obj.key not in want and owned.owns(obj) and not _goes_with(obj, gone)
    ]
    steps += [Step("del", have["link", name], _rebuild_reason(have, want, name)) for name in sorted(rebuilt)]
    for obj in desired.objects():
        current = have.get(obj.key)
        if current is not None and (_goes_with(current, rebuilt) or current.key in {("link", n) for n in rebuilt}):
            current = None
        step = _ensure(current, obj)
        if step is not None:
            steps.append(step)
    return Plan(tuple(steps))


def _ensure(current: NetObject | None, wanted: NetObject) -> Step | None:
    if current is None:
        return Step("add", wanted, "missing")
    match current, wanted:
        case Link(), Link():
            reason = link_difference(current, wanted)
        case Route(), Route():
            reason = _route_difference(current, wanted)
        case Neighbour(), Neighbour():
            reason = _differs(("mac", current.mac, wanted.mac), ("state", current.state, wanted.state))
        case Fdb(), Fdb():
            reason = _differs(("dst", current.dst, wanted.dst))
        case Sysctl(), Sysctl():
            reason = _differs(("value", current.value, wanted.value))
        case _:
            reason = ""
    return Step("change", wanted, reason, old=current) if reason else None


def link_difference(current: Link, wanted: Link) -> str:
    """Why `current` is not yet `wanted`, in words; empty where it is. Fields that are None are not compared."""
    return _differs(
        ("mac", current.mac, wanted.mac or current.mac),
        ("mtu", current.mtu, wanted.mtu or current.mtu),
        ("master", current.master, wanted.master),
        ("up", current.up, wanted.up),
        ("stp", current.stp, wanted.stp),
        ("hairpin", current.hairpin, wanted.hairpin),
    )


def _route_difference(current: Route, wanted: Route) -> str:
    def way(route: Route) -> object:
        return {(hop.via, hop.dev, hop.weight) for hop in route.hops} or (route.via, route.dev, route.kind)

    return _differs(("way", way(current), way(wanted)), ("onlink", current.onlink, wanted.onlink)) and (
        f"leads {_way_text(current)}, should lead {_way_text(wanted)}"
    )


def _way_text(route: Route) -> str:
    return route.commands("add")[0].partition(route.dst)[2].strip() or route.kind


def _differs(*fields: tuple[str, object, object]) -> str:
    return ", ".join(f"{name} is {have}, should be {want}" for name, have, want in fields if have != want)


def _rebuilt(have: _Objects, want: _Objects) -> frozenset[str]:
    """Links whose kind or VXLAN attributes differ: the kernel cannot change these, they are deleted and made again."""
    names = set()
    for key, wanted in want.items():
        current = have.get(key)
        if isinstance(wanted, Link) and isinstance(current, Link) and _unchangeable(current, wanted):
            names.add(wanted.name)
    return frozenset(names)


def _unchangeable(current: Link, wanted: Link) -> bool:
    return current.kind != wanted.kind or (wanted.vxlan is not None and current.vxlan != wanted.vxlan)


def _rebuild_reason(have: _Objects, want: _Objects, name: str) -> str:
    current, wanted = have["link", name], want["link", name]
    if not isinstance(current, Link) or not isinstance(wanted, Link) or current.kind != wanted.kind:
        return "is another kind of link, and a link's kind cannot be changed"
    before = current.vxlan.arguments() if current.vxlan else ""
    after = wanted.vxlan.arguments() if wanted.vxlan else ""
    return f"is ({before}), should be ({after}), and these cannot be changed"


def _goes_with(obj: NetObject, links: frozenset[str] | set[str]) -> bool:
    """Whether the kernel removes this object by itself when those links go."""
    match obj:
        case Address() | Neighbour() | Fdb():
            return obj.dev in links
        case Route():
            return obj.dev in links
        case _:
            return False
