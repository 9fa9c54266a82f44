"""A kernel that is a dictionary: the calls of `apply` and `observe`, the same refusals, no privileges.

It holds state and enforces the rules that plans trip over: names are unique, a master is a bridge of the same
namespace, a gateway is reachable by a link that is up, what an address brings along (its connected route) comes and
goes with it, a device takes its addresses, neighbours and routes with it. One contract suite runs on this and on the
real kernel.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface, ip_network

from netlab.dataplane.model import Address, Fdb, Link, Neighbour, NodeState, Plan, Route, Step, Sysctl
from netlab.kernel.apply import GONE, PartlyApplied
from netlab.kernel.errors import KernelError

NAME_MAX = 15
NO_BRIDGE_NETFILTER = frozenset({"net.bridge.bridge-nf-call-iptables"})


@dataclass(slots=True)
class _Space:
    """One namespace."""

    links: dict[str, Link] = field(default_factory=dict)
    addresses: dict[tuple[str, str], Address] = field(default_factory=dict)
    routes: dict[tuple[str, ...], Route] = field(default_factory=dict)
    neighbours: dict[tuple[str, ...], Neighbour] = field(default_factory=dict)
    fdb: dict[tuple[str, ...], Fdb] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=lambda: {"net.ipv4.ip_forward": "0"})
    peers: dict[str, tuple[str, str]] = field(default_factory=dict)


class FakeKernel:
    """Namespaces by name. `lacks`: sysctls that this kernel does not have."""

    def __init__(self, *, lacks: frozenset[str] = NO_BRIDGE_NETFILTER) -> None:
        self._spaces: dict[str, _Space] = {}
        self._lacks = lacks
        self._mac = 0

    def create(self, name: str) -> None:
        """A new namespace with a loopback device that is down. KernelError EEXIST."""
        if name in self._spaces:
            raise KernelError(errno.EEXIST, f"namespace {name}")
        self._spaces[name] = _Space(links={"lo": Link("lo", "loopback", mac="00:00:00:00:00:00", mtu=65536, up=False)})

    def remove(self, name: str) -> None:
        """The namespace and its devices go, and with them the other ends of its veth pairs."""
        space = self._spaces.get(name)
        for device in list(space.links) if space else ():
            self._delete_link(name, device)
        self._spaces.pop(name, None)

    def apply(self, name: str, plan: Plan) -> None:
        """As `kernel.apply.apply`: all steps are tried, PartlyApplied has those that were refused."""
        failures: list[tuple[Step, KernelError]] = []
        for step in plan.steps:
            try:
                self._step(name, step)
            except KernelError as problem:
                if not (step.op == "del" and problem.errno in GONE):
                    failures.append((step, problem))
        if failures:
            raise PartlyApplied(failures)

    def observe(self, name: str, *, sysctls: Iterable[str] = (), ipv6: bool = False) -> NodeState:
        """As `kernel.observe.observe`; both families are always shown."""
        space = self._space(name)
        return NodeState(
            links=tuple(replace(link, peer=None) for link in space.links.values()),
            addresses=tuple(space.addresses.values()),
            routes=tuple(space.routes.values()),
            neighbours=tuple(space.neighbours.values()),
            fdb=tuple(space.fdb.values()),
            sysctls=tuple(Sysctl(key, space.sysctls.get(key, "0")) for key in sysctls if key not in self._lacks),
        )

    def _space(self, name: str) -> _Space:
        if name not in self._spaces:
            raise KernelError(errno.ENOENT, f"namespace {name}")
        return self._spaces[name]

    def _step(self, name: str, step: Step) -> None:
        space = self._space(name)
        match step.object:
            case Link() as link:
                self._link(name, step, link)
            case Address() as address:
                self._address(space, step, address)
            case Route() as route:
                self._route(space, step, route)
            case Neighbour() | Fdb() as entry:
                self._entry(space, step, entry)
            case Sysctl() as sysctl:
                if sysctl.name not in self._lacks:
                    space.sysctls[sysctl.name] = sysctl.value
                elif not sysctl.optional:
                    raise KernelError(errno.ENOENT, f"sysctl {sysctl.name}")

    # links

    def _link(self, name: str, step: Step, link: Link) -> None:
        space = self._space(name)
        if step.op == "del":
            if link.name not in space.links:
                raise KernelError(errno.ENODEV, f"link {link.name}")
            self._delete_link(name, link.name)
        elif step.op == "change":
            self._change_link(space, step, link)
        else:
            self._add_link(name, link)

    def _add_link(self, name: str, link: Link) -> None:
        space = self._space(name)
        if link.kind in ("device", "loopback"):
            raise KernelError(errno.EOPNOTSUPP, f"link {link.name}")
        if len(link.name) > NAME_MAX:
            raise KernelError(errno.ERANGE, f"link {link.name}")
        if link.name in space.links:
            raise KernelError(errno.EEXIST, f"link {link.name}")
        if link.vxlan is not None and link.vxlan.dev not in space.links:
            raise KernelError(errno.ENODEV, f"link {link.vxlan.dev}")
        self._check_master(space, link)
        if link.kind == "veth":
            self._add_peer(name, link)
        space.links[link.name] = self._born(link)

    def _add_peer(self, name: str, link: Link) -> None:
        where, peer = link.peer or ("", f"{link.name}-peer")
        other = self._space(where or name)
        if peer in other.links:
            raise KernelError(errno.EEXIST, f"link {peer}")
        other.links[peer] = self._born(Link(peer, "veth", mtu=link.mtu, up=False))
        other.peers[peer] = (name, link.name)
        self._space(name).peers[link.name] = (where or name, peer)

    def _born(self, link: Link) -> Link:
        self._mac += 1
        mac = link.mac or "02:00:00:" + self._mac.to_bytes(3, "big").hex(":")
        return replace(link, mac=mac, mtu=link.mtu or 1500)

    def _check_master(self, space: _Space, link: Link) -> None:
        if link.master is None:
            return
        master = space.links.get(link.master)
        if master is None:
            raise KernelError(errno.ENODEV, f"link {link.master}")
        if master.kind != "bridge":
            raise KernelError(errno.EOPNOTSUPP, f"link {link.name}", f"{link.master} is no bridge")

    def _change_link(self, space: _Space, step: Step, link: Link) -> None:
        current = space.links.get(link.name)
        if current is None:
            raise KernelError(errno.ENODEV, f"link {link.name}")
        old = step.old if isinstance(step.old, Link) else Link(link.name, link.kind, up=not link.up)
        if link.master != old.master:
            self._check_master(space, link)
            current = replace(current, master=link.master)
        if link.up != old.up:
            current = replace(current, up=link.up)
            if not link.up:
                _forget_routes(space, link.name)
        current = replace(
            current,
            mac=link.mac or current.mac,
            mtu=link.mtu or current.mtu,
            stp=link.stp if link.stp != old.stp else current.stp,
            hairpin=link.hairpin if link.hairpin != old.hairpin else current.hairpin,
        )
        space.links[link.name] = current
        if link.up and not old.up:
            for address in [a for a in space.addresses.values() if a.dev == link.name]:
                _connect(space, address)

    def _delete_link(self, name: str, device: str) -> None:
        space = self._space(name)
        if space.links.pop(device, None) is None:
            return
        for key in [key for key, address in space.addresses.items() if address.dev == device]:
            del space.addresses[key]
        for table in (space.neighbours, space.fdb):
            for place in [place for place, entry in table.items() if entry.dev == device]:
                del table[place]
        _forget_routes(space, device)
        for other, link in space.links.items():
            if link.master == device:
                space.links[other] = replace(link, master=None, hairpin=False)
        where, peer = space.peers.pop(device, ("", ""))
        if peer and where in self._spaces:
            self._spaces[where].peers.pop(peer, None)
            self._delete_link(where, peer)

    # what is on links

    def _address(self, space: _Space, step: Step, address: Address) -> None:
        _device(space, address.dev)
        key = (address.dev, address.cidr)
        if step.op == "del":
            if key not in space.addresses:
                raise KernelError(errno.EADDRNOTAVAIL, str(address))
            del space.addresses[key]
            network = str(ip_interface(address.cidr).network)
            route = space.routes.get(("route", network, "0"))
            if route is not None and route.protocol == "kernel" and route.dev == address.dev:
                del space.routes["route", network, "0"]
            return
        space.addresses[key] = address
        if space.links[address.dev].up:
            _connect(space, address)

    def _route(self, space: _Space, step: Step, route: Route) -> None:
        if step.op == "del":
            if space.routes.pop(route.key, None) is None:
                raise KernelError(errno.ESRCH, str(route))
            return
        if step.op == "add" and route.key in space.routes:
            raise KernelError(errno.EEXIST, str(route))
        hops = [(hop.via, hop.dev) for hop in route.hops] or [(route.via, route.dev)]
        if route.kind == "unicast":
            hops = [(via, _way_out(space, via, dev, route)) for via, dev in hops]
        direct = route.kind == "unicast" and not route.hops and not route.via
        space.routes[route.key] = replace(route, dev=route.dev or hops[0][1], scope="link" if direct else None)

    def _entry(self, space: _Space, step: Step, entry: Neighbour | Fdb) -> None:
        device = _device(space, entry.dev)
        table: dict[tuple[str, ...], Neighbour] | dict[tuple[str, ...], Fdb]
        table = space.neighbours if isinstance(entry, Neighbour) else space.fdb
        if step.op == "del":
            if table.pop(entry.key, None) is None:
                raise KernelError(errno.ENOENT, str(entry))
            return
        if isinstance(entry, Fdb) and device.kind != "vxlan":
            raise KernelError(errno.EINVAL, str(entry), f"{entry.dev} has no forwarding table of this kind")
        if isinstance(entry, Neighbour) and not device.up:
            raise KernelError(errno.ENETDOWN, str(entry))
        table[entry.key] = entry  # type: ignore[assignment]


def _device(space: _Space, name: str) -> Link:
    if name not in space.links:
        raise KernelError(errno.ENODEV, f"link {name}")
    return space.links[name]


def _connect(space: _Space, address: Address) -> None:
    """The route that an address brings along."""
    interface = ip_interface(address.cidr)
    if interface.network.prefixlen == interface.network.max_prefixlen or interface.is_loopback:
        return
    route = Route(str(interface.network), address.dev, src=address.ip, scope="link", protocol="kernel")
    space.routes.setdefault(route.key, route)


def _forget_routes(space: _Space, device: str) -> None:
    for key, route in list(space.routes.items()):
        if route.dev == device or any(hop.dev == device for hop in route.hops):
            del space.routes[key]


def _way_out(space: _Space, via: str | None, dev: str, route: Route) -> str:
    """The device of a hop: up, and with a connected network that holds the gateway unless the route is onlink."""
    if dev and not _device(space, dev).up:
        raise KernelError(errno.ENETDOWN, str(route))
    if via is None:
        return dev
    if route.onlink and dev:
        return dev
    for known in space.routes.values():
        near = known.scope == "link" and known.dst != "default" and (not dev or dev == known.dev)
        if near and ip_address(via) in ip_network(known.dst):
            return known.dev
    raise KernelError(errno.ENETUNREACH, str(route), "Nexthop has invalid gateway")
