"""The addresses that LoadBalancer Services may have: ranges, and which part of the underlay they are on. Pure.

`loadBalancerPool` of a topology, in the notation of MetalLB's IPAddressPool: "192.168.77.200-192.168.77.250" or a CIDR.
An address is of use only where a node can answer for it, so every range must be on a segment that has cluster nodes.
Where nothing is said and all nodes are on one segment whose subnet the file gives, a part of that subnet that no
machine uses is the pool (.200 to .250 of a /24).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from netlab.topology.document import Place
from netlab.topology.draft import Draft
from netlab.topology.model import Family, Node
from netlab.topology.wiring import Domain

Address = IPv4Address | IPv6Address

KEY = "loadBalancerPool"
NONE = "none"
HELP = "an address range such as 192.168.77.200-192.168.77.250, or a CIDR"
_FIRST, _LAST = 200, 250


@dataclass(frozen=True, slots=True)
class AddressRange:
    """From `first` to `last`, both included, of one family."""

    first: Address
    last: Address

    @classmethod
    def parse(cls, text: str) -> AddressRange:
        """ "A-B", "A/len" or "A". ValueError for anything else."""
        if "-" in text:
            first, last = (ip_address(part.strip()) for part in text.split("-", 1))
        else:
            network = ip_network(text.strip())
            first, last = network[0], network[-1]
        if first.version != last.version or int(first) > int(last):
            raise ValueError(f"{text!r} runs backwards")
        return cls(first, last)

    @property
    def family(self) -> Family:
        return "IPv6" if self.first.version == 6 else "IPv4"

    def __contains__(self, address: object) -> bool:
        return (
            isinstance(address, IPv4Address | IPv6Address)
            and address.version == self.first.version
            and int(self.first) <= int(address) <= int(self.last)
        )

    def __iter__(self) -> Iterator[Address]:
        """Every address, lowest first."""
        make = type(self.first)
        return (make(number) for number in range(int(self.first), int(self.last) + 1))

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def check_pool(draft: Draft, domains: Sequence[Domain]) -> None:
    """Makes `cluster.load_balancer_pool` say exactly what there is; refuses what no node could answer for."""
    texts = draft.cluster.load_balancer_pool
    if KEY not in draft.cluster_places:
        pool = _default(draft, domains)
    else:
        place = draft.cluster_place(KEY)
        pool = tuple(_checked(draft, domains, text, place) for text in texts)
        for index, one in enumerate(pool):
            for other in pool[:index]:
                if one.first in other or other.first in one:
                    raise place.error(f"the ranges {other} and {one} of the pool overlap", "write each address once")
    draft.cluster = replace(draft.cluster, load_balancer_pool=tuple(map(str, pool)))


def _with_nodes(draft: Draft, domains: Sequence[Domain]) -> list[Domain]:
    nodes = {name for name, entry in draft.machines.items() if isinstance(entry.machine, Node)}
    return [domain for domain in domains if any(port.name in nodes for port in domain.ports)]


def _used(domain: Domain) -> set[Address]:
    found: list[Address | None] = [port.address.ip if port.address else None for port in domain.ports]
    found += [port.address6.ip if port.address6 else None for port in domain.ports]
    return {address for address in found if address is not None}


def _checked(draft: Draft, domains: Sequence[Domain], text: str, place: Place) -> AddressRange:
    try:
        wanted = AddressRange.parse(text)
    except ValueError:
        raise place.error(f"{text!r} is no range of addresses", f"expected {HELP}, or none") from None
    if wanted.family not in draft.cluster.families:
        raise place.error(f"{text} is {wanted.family}, the cluster has {' and '.join(draft.cluster.families)}")
    near = _with_nodes(draft, domains)
    for domain in near:
        subnet = domain.subnet6 if wanted.family == "IPv6" else domain.subnet
        if subnet is None or wanted.first not in subnet or wanted.last not in subnet:
            continue
        taken = sorted(str(address) for address in _used(domain) if address in wanted)
        if taken:
            names = {str(port.address.ip): port.name for port in domain.ports if port.address}
            names |= {str(port.address6.ip): port.name for port in domain.ports if port.address6}
            raise place.error(f"{taken[0]} of the pool {wanted} is the address of {names[taken[0]]!r}", "leave it out")
        if wanted.family == "IPv4" and subnet.num_addresses > 2:  # neither the network's nor the broadcast address
            first, last = max(int(wanted.first), int(subnet[1])), min(int(wanted.last), int(subnet[-2]))
            wanted = AddressRange(IPv4Address(first), IPv4Address(last))
        return wanted
    subnets = [subnet for one in near for subnet in (one.subnet, one.subnet6) if subnet]
    known = ", ".join(str(subnet) for subnet in subnets if (subnet.version == 6) == (wanted.family == "IPv6"))
    raise place.error(f"the pool {wanted} is on no subnet of the cluster's nodes", f"use addresses of {known}")


def _default(draft: Draft, domains: Sequence[Domain]) -> tuple[AddressRange, ...]:
    near = _with_nodes(draft, domains)
    if len(near) != 1 or near[0].subnet_place is None or near[0].subnet is None:
        return ()
    domain, subnet = near[0], near[0].subnet
    found = []
    if "IPv4" in draft.cluster.families and subnet.prefixlen <= 24:
        found.append(AddressRange(subnet[_FIRST], subnet[_LAST]))
    if "IPv6" in draft.cluster.families and domain.subnet6 is not None and domain.subnet6.prefixlen <= 112:
        # as the machines' addresses are: the digits of the IPv4 sibling
        found.append(AddressRange(domain.subnet6[int(str(_FIRST), 16)], domain.subnet6[int(str(_LAST), 16)]))
    used = _used(domain)
    return tuple(one for one in found if not any(address in one for address in used))
