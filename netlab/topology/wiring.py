"""Which end of which link is which interface, and which interfaces share a broadcast domain.

Names are given in the order of the links: eth0, eth1, … on nodes, routers and hosts; `<switch>-eth1`, … on switches,
whose ports all live in one namespace. Names said in the file are kept, and skipped when counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from netlab.topology import names
from netlab.topology.document import Place, did_you_mean
from netlab.topology.draft import Draft, DraftEnd, DraftLink


@dataclass(slots=True, eq=False)
class Port:
    """One end of a link while it is being resolved. Compared by identity."""

    end: DraftEnd
    is_switch: bool
    interface: str = ""
    address: IPv4Interface | None = None
    mac: str | None = None
    address6: IPv6Interface | None = None

    @property
    def name(self) -> str:
        return self.end.name

    @property
    def place(self) -> Place:
        return self.end.place


@dataclass(slots=True, eq=False)
class Domain:
    """A broadcast domain while it is being resolved; `ports` are its layer-3 ends in the order of the links."""

    name: str
    switches: list[str]
    links: list[DraftLink] = field(default_factory=list)
    ports: list[Port] = field(default_factory=list)
    subnet: IPv4Network | None = None
    subnet_place: Place | None = None
    subnet6: IPv6Network | None = None
    subnet6_place: Place | None = None


def make_ports(draft: Draft) -> list[tuple[Port, Port]]:
    """The two ports of every link, named; raises where a link leads nowhere or a name cannot be."""
    wired = [tuple(Port(end, _is_switch(draft, end)) for end in link.ends) for link in draft.links]
    pairs = [(a, b) for a, b in wired]
    for link, (a, b) in zip(draft.links, pairs, strict=True):
        if a.name == b.name:
            raise link.place.error(f"the link joins {a.name!r} to itself", "name two different ends")
    _name_interfaces([port for pair in pairs for port in pair])
    return pairs


def _is_switch(draft: Draft, end: DraftEnd) -> bool:
    if end.name in draft.switches:
        if end.address or end.address6 or end.mac:
            raise end.place.error(f"{end.name!r} is a switch: its ports have no address", "give it to the other end")
        return True
    if end.name not in draft.machines:
        known = [*draft.machines, *draft.switches]
        raise end.place.error(
            f"the link leads to {end.name!r}, which is no node, host, router or switch", did_you_mean(end.name, known)
        )
    return False


def _name_interfaces(ports: Sequence[Port]) -> None:
    """Fills in `interface`, explicit names first, so that no generated name takes one that is said later."""
    used: dict[tuple[str, str], Port] = {}
    for port in ports:
        if port.end.interface is not None:
            _claim(port, port.end.interface, used)
    counters: dict[str, int] = {}
    for port in ports:
        if port.interface:
            continue
        prefix, start = (f"{port.name}-eth", 1) if port.is_switch else ("eth", 0)
        number = counters.get(port.name, start)
        while (_scope(port), f"{prefix}{number}") in used:
            number += 1
        counters[port.name] = number + 1
        _claim(port, f"{prefix}{number}", used)


def _scope(port: Port) -> str:
    """The namespace an interface name must be unique in: all switches share one."""
    return "" if port.is_switch else port.name


def _claim(port: Port, interface: str, used: dict[tuple[str, str], Port]) -> None:
    place = port.place
    if len(interface) > names.INTERFACE_MAX:
        raise place.error(
            f"interface name {interface!r} has {len(interface)} characters, the kernel allows {names.INTERFACE_MAX}",
            f"shorten the name of switch {port.name!r}, or give the interface a name"
            if port.is_switch
            else "shorten it",
        )
    if not names.is_interface_name(interface):
        raise place.error(
            f"{interface!r} cannot be an interface name here",
            "use letters, digits, '-', '_', '.'; 'docker0' and the other names that a node makes by itself are taken",
        )
    other = used.setdefault((_scope(port), interface), port)
    if other is not port:
        where = f" on line {other.place.line}" if other.place.line else ""
        raise place.error(
            f"interface {interface!r} of {port.name!r} is used by another link{where}",
            "leave it out, or choose another",
        )
    port.interface = interface


def make_domains(draft: Draft, pairs: Sequence[tuple[Port, Port]]) -> list[Domain]:
    """The broadcast domains: those with switches first, by first switch of the file; then the direct links."""
    leader = {name: name for name in draft.switches}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    order = {name: index for index, name in enumerate(draft.switches)}
    for a, b in pairs:
        if a.is_switch and b.is_switch:
            first, second = sorted((find(a.name), find(b.name)), key=order.__getitem__)
            leader[second] = first
    domains: dict[str, Domain] = {}
    for name in draft.switches:
        domains.setdefault(find(name), Domain(find(name), [])).switches.append(name)
    direct: list[Domain] = []
    for link, (a, b) in zip(draft.links, pairs, strict=True):
        switch = next((port.name for port in (a, b) if port.is_switch), None)
        if switch is None:
            domain = Domain(f"{a.name}-{b.name}", [])
            direct.append(domain)
        else:
            domain = domains[find(switch)]
        domain.links.append(link)
        domain.ports.extend(port for port in (a, b) if not port.is_switch)
    return [*domains.values(), *direct]


def standby_links(pairs: Sequence[tuple[Port, Port]]) -> set[int]:
    """The links, by index, that would close a loop of switches: all that a spanning tree in file order leaves out."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    standby = set()
    for index, (a, b) in enumerate(pairs):
        if a.is_switch and b.is_switch:
            if find(a.name) == find(b.name):
                standby.add(index)
            leader[find(b.name)] = find(a.name)
    return standby
