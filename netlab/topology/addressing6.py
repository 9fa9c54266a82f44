"""IPv6 subnets and addresses of the underlay, where the cluster has IPv6; `addressing` has given out the IPv4 ones.

A segment's subnet is the one its file names, else that of an address given in it, else the next free /64 of
`underlayCIDR`. A machine's address ends as its IPv4 address does, in digits: 192.168.77.10 and fd00:77::10 are one
interface. Where that is taken, the next free one is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from itertools import pairwise

from netlab.topology.document import Place
from netlab.topology.draft import Draft
from netlab.topology.wiring import Domain, Port

SUBNET_PREFIX = 64


def parse_network6(text: str, place: Place, what: str) -> IPv6Network:
    """An IPv6 CIDR without host bits; the error names the nearest right one."""
    try:
        interface = IPv6Interface(text)
    except ValueError:
        raise place.error(f"{text!r} is no {what}, expected an IPv6 CIDR such as fd00:77::/64") from None
    if "/" not in text:
        raise place.error(f"{text!r} has no prefix length, expected an IPv6 CIDR such as fd00:77::/64")
    if interface.ip != interface.network.network_address:
        raise place.error(f"{text!r} has host bits set", f"write {interface.network}")
    return interface.network


def assign(draft: Draft, domains: Sequence[Domain]) -> None:
    """Fills in the IPv6 subnet of every domain and address of every port; nothing where the cluster has no IPv6."""
    if "IPv6" not in draft.cluster.families:
        _refuse_without_family(draft, domains)
        return
    for domain in domains:
        _said_subnet(draft, domain)
    _refuse_overlaps(domains)
    _allocate_subnets(draft, domains)
    owners: dict[IPv6Address, Port] = {}
    for domain in domains:
        _said_addresses(domain, owners)
    for domain in domains:
        _derive_addresses(domain, owners)


def _texts(draft: Draft, domain: Domain) -> Iterator[tuple[str, Place]]:
    for name in domain.switches:
        entry = draft.switches[name]
        if entry.subnet6 is not None:
            yield entry.subnet6, entry.subnet_place or entry.place
    for link in domain.links:
        if link.subnet6 is not None:
            place = link.subnet_place or link.place
            if domain.switches:
                raise place.error("a subnet belongs to the switch, not to a link to it", "move it to the switch")
            yield link.subnet6, place


def _refuse_without_family(draft: Draft, domains: Sequence[Domain]) -> None:
    said = [place for domain in domains for _, place in _texts(draft, domain)]
    said += [port.place for domain in domains for port in domain.ports if port.end.address6]
    for place in said:
        raise place.error(
            "an IPv6 address or subnet, but the cluster has no IPv6",
            "give cluster.podCIDR and cluster.serviceCIDR one CIDR of each family",
        )


def _said_subnet(draft: Draft, domain: Domain) -> None:
    for text, place in _texts(draft, domain):
        subnet = parse_network6(text, place, "subnet")
        if domain.subnet6 is not None and subnet != domain.subnet6:
            raise place.error(
                f"subnet {subnet} and {domain.subnet6} are given for the same segment (switches joined by links)",
                "give one of them, or put a router between",
            )
        domain.subnet6, domain.subnet6_place = subnet, place
    if domain.subnet6 is not None:
        return
    for port in domain.ports:
        if port.end.address6 and "/" in port.end.address6:
            domain.subnet6, domain.subnet6_place = _interface(port).network, port.place
            return


def _interface(port: Port) -> IPv6Interface:
    text = port.end.address6 or ""
    try:
        return IPv6Interface(text)
    except ValueError:
        raise port.place.error(f"{text!r} is no address, expected one such as fd00:77::2/64") from None


def _refuse_overlaps(domains: Sequence[Domain]) -> None:
    said = sorted(
        ((domain.subnet6, domain) for domain in domains if domain.subnet6 is not None),
        key=lambda pair: (pair[0].network_address, pair[0].prefixlen),
    )
    for (first, left), (second, right) in pairwise(said):
        if first.overlaps(second):
            raise (right.subnet6_place or Place("")).error(
                f"subnet {second} of segment {right.name!r} overlaps {first} of segment {left.name!r}",
                "choose another subnet, or leave it out to have one chosen",
            )


def _allocate_subnets(draft: Draft, domains: Sequence[Domain]) -> None:
    place = draft.cluster_place("underlayCIDR")
    pool = parse_network6(draft.cluster.underlay_cidr6, place, "CIDR")
    taken = [domain.subnet6 for domain in domains if domain.subnet6 is not None]
    size = 1 << (128 - SUBNET_PREFIX)
    following = int(pool.network_address)
    for domain in domains:
        if domain.subnet6 is not None:
            continue
        while True:
            if pool.prefixlen > SUBNET_PREFIX or following + size - 1 > int(pool.broadcast_address):
                raise place.error(
                    f"{pool} is too small: no free /{SUBNET_PREFIX} is left for segment {domain.name!r}",
                    "give a wider IPv6 underlayCIDR, or subnets of its own to a switch",
                )
            subnet = IPv6Network((following, SUBNET_PREFIX))
            following += size
            if not any(subnet.overlaps(other) for other in taken):
                domain.subnet6 = subnet
                break


def _said_addresses(domain: Domain, owners: dict[IPv6Address, Port]) -> None:
    subnet = domain.subnet6
    for port in domain.ports:
        if port.end.address6 is None or subnet is None:
            continue
        address = _interface(port).ip
        if address not in subnet or (subnet.prefixlen < 127 and address == subnet.network_address):
            raise port.place.error(
                f"address {address} of {port.name!r} is not a machine's address in {subnet}, the subnet of its segment",
                f"use {subnet[1]} or a later one, or leave it out",
            )
        other = owners.setdefault(address, port)
        if other is not port:
            where = f" (line {other.place.line})" if other.place.line else ""
            raise port.place.error(f"duplicate address {address}: {other.name!r}{where} has it", "choose another")
        port.address6 = IPv6Interface((int(address), subnet.prefixlen))


def _derive_addresses(domain: Domain, owners: dict[IPv6Address, Port]) -> None:
    subnet, subnet4 = domain.subnet6, domain.subnet
    if subnet is None or subnet4 is None:
        return
    base, last = int(subnet.network_address), int(subnet.broadcast_address)
    for port in domain.ports:
        if port.address6 is not None or port.address is None:
            continue
        wanted = int(str(int(port.address.ip) - int(subnet4.network_address)), 16)
        start = min(base + max(wanted, subnet.prefixlen < 127), last)
        free = (n for span in (range(start, last + 1), range(base + 1, start)) for n in span)
        number = next((n for n in free if IPv6Address(n) not in owners), None)
        if number is None:
            raise (domain.subnet6_place or port.place).error(
                f"{subnet} is too small for the {len(domain.ports)} machines of segment {domain.name!r}",
                f"a /{SUBNET_PREFIX} has room",
            )
        owners[IPv6Address(number)] = port
        port.address6 = IPv6Interface((number, subnet.prefixlen))
