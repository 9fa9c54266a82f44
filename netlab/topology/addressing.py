"""Subnets, addresses and MACs for what the file leaves out. The same file always gives the same addresses.

Subnet of a broadcast domain: the one its file names (on a switch or a direct link); else the network of an address
given in it; else the first free block of `underlayCIDR`: a /24 where there is a switch (a wider one for more machines),
a /30 on a direct link; domains with switches are served first.

Address on a subnet: routers take the first addresses (.1, .2, …), nodes and hosts follow in the order of the links and
never take the first one where a switch is; addresses given in the file are skipped. A MAC is 02:6e: and the address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import pairwise

from netlab.topology.document import Place
from netlab.topology.draft import Draft
from netlab.topology.wiring import Domain, Port

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def parse_network(text: str, place: Place, what: str) -> IPv4Network:
    """An IPv4 CIDR without host bits; the error names the nearest right one."""
    try:
        interface = IPv4Interface(text)
    except ValueError:
        raise place.error(f"{text!r} is no {what}, expected an IPv4 CIDR such as 192.168.77.0/24") from None
    if "/" not in text:
        raise place.error(f"{text!r} has no prefix length, expected an IPv4 CIDR such as 192.168.77.0/24")
    if interface.ip != interface.network.network_address:
        raise place.error(f"{text!r} has host bits set", f"write {interface.network}")
    return interface.network


def assign(draft: Draft, domains: Sequence[Domain]) -> None:
    """Fills in the subnet of every domain and the address and MAC of every port in them."""
    for domain in domains:
        _said_subnet(draft, domain)
    _refuse_overlaps(domains)
    _allocate_subnets(draft, domains)
    owners: dict[IPv4Address, Port] = {}
    for domain in domains:
        _said_addresses(domain, owners)
    for domain in domains:
        _allocate_addresses(draft, domain, owners)
    _assign_macs(domains)


def _said_subnet(draft: Draft, domain: Domain) -> None:
    """Takes the subnet from a switch, a direct link, or an address with a prefix length; they must agree."""
    for text, place in _subnet_texts(draft, domain):
        subnet = parse_network(text, place, "subnet")
        if domain.subnet is not None and subnet != domain.subnet:
            raise place.error(
                f"subnet {subnet} and {domain.subnet} are given for the same segment (switches joined by links)",
                "give one of them, or put a router between",
            )
        domain.subnet, domain.subnet_place = subnet, place
    if domain.subnet is not None:
        return
    said = [(port, _interface(port)) for port in domain.ports if port.end.address and "/" in port.end.address]
    if not said:
        return
    port, first = said[0]
    for other_port, other in said[1:]:
        if other.network != first.network:
            raise other_port.place.error(
                f"address {other} is not in {first.network}, the subnet of {port.name!r} on the same segment",
                "use one subnet per segment, or put a router between",
            )
    domain.subnet, domain.subnet_place = first.network, port.place
    if draft.narrow_subnets and first.network.prefixlen < 24:
        domain.subnet = _narrow([interface.ip for _, interface in said], len(domain.ports))


def _subnet_texts(draft: Draft, domain: Domain) -> Iterator[tuple[str, Place]]:
    for name in domain.switches:
        entry = draft.switches[name]
        if entry.subnet is not None:
            yield entry.subnet, entry.subnet_place or entry.place
    for link in domain.links:
        if link.subnet is not None:
            place = link.subnet_place or link.place
            if domain.switches:
                raise place.error("a subnet belongs to the switch, not to a link to it", "move it to the switch")
            yield link.subnet, place


def _narrow(addresses: Sequence[IPv4Address], count: int) -> IPv4Network:
    """The longest prefix up to /24 that holds the addresses and has room for all."""
    prefix = min(24, 32 - (count + 1).bit_length())
    while True:
        network = IPv4Network((int(addresses[0]) >> (32 - prefix) << (32 - prefix), prefix))
        if all(address in network for address in addresses):
            return network
        prefix -= 1


def _interface(port: Port) -> IPv4Interface:
    text = port.end.address or ""
    try:
        return IPv4Interface(text)
    except ValueError:
        raise port.place.error(f"{text!r} is no address, expected one such as 192.168.77.2/24") from None


def _refuse_overlaps(domains: Sequence[Domain]) -> None:
    """No two segments may share addresses. Sorted, so that only neighbours need to be compared."""
    said = sorted(
        ((domain.subnet, domain) for domain in domains if domain.subnet is not None),
        key=lambda pair: (pair[0].network_address, pair[0].prefixlen),
    )
    for (first, left), (second, right) in pairwise(said):
        if first.overlaps(second):
            place = max((left, right), key=_said_at)
            other = right if place is left else left
            raise (place.subnet_place or Place("")).error(
                f"subnet {place.subnet} of segment {place.name!r} overlaps {other.subnet} of segment {other.name!r}",
                "choose another subnet, or leave it out to have one chosen",
            )


def _said_at(domain: Domain) -> tuple[int, int]:
    place = domain.subnet_place
    return (place.line, place.column) if place else (0, 0)


def _allocate_subnets(draft: Draft, domains: Sequence[Domain]) -> None:
    if all(domain.subnet is not None for domain in domains):
        return
    place = draft.cluster_place("underlayCIDR")
    pool = parse_network(draft.cluster.underlay_cidr, place, "CIDR")
    taken = sorted(domain.subnet for domain in domains if domain.subnet is not None and domain.subnet.overlaps(pool))
    # Next free address per prefix length: first fit without starting over for each of many segments.
    start: dict[int, int] = {}
    for domain in domains:
        if domain.subnet is not None:
            continue
        prefix = min(24 if domain.switches else 30, _prefix_for(domain))
        subnet = _first_fit(pool, prefix, taken, start.get(prefix, int(pool.network_address)))
        if subnet is None:
            raise place.error(
                f"{pool} is too small: no free /{prefix} is left for segment {domain.name!r}",
                "give a wider underlayCIDR, or subnets of its own to a switch",
            )
        start[prefix] = int(subnet.broadcast_address) + 1
        domain.subnet = subnet
        taken.append(subnet)


def _prefix_for(domain: Domain) -> int:
    """The longest prefix with room for all machines, the network's and the broadcast address."""
    return 32 - (len(domain.ports) + 1 + bool(domain.switches)).bit_length()


def _first_fit(pool: IPv4Network, prefix: int, taken: Sequence[IPv4Network], start: int) -> IPv4Network | None:
    size = 1 << (32 - prefix)
    candidate = -(-start // size) * size
    while candidate + size - 1 <= int(pool.broadcast_address):
        network = IPv4Network((candidate, prefix))
        blocking = next((other for other in taken if other.overlaps(network)), None)
        if blocking is None:
            return network
        candidate = -(-(int(blocking.broadcast_address) + 1) // size) * size
    return None


def _said_addresses(domain: Domain, owners: dict[IPv4Address, Port]) -> None:
    subnet = domain.subnet
    if subnet is None:
        return
    for port in domain.ports:
        if port.end.address is None:
            continue
        address = _interface(port).ip
        if address not in subnet or (subnet.prefixlen < 31 and address in (subnet[0], subnet[-1])):
            raise port.place.error(
                f"address {address} of {port.name!r} is not a machine's address in {subnet}, the subnet of its segment",
                f"use {subnet[1]} … {subnet[-2]}, or leave it out" if subnet.num_addresses > 2 else "leave it out",
            )
        other = owners.setdefault(address, port)
        if other is not port:
            where = f" (line {other.place.line})" if other.place.line else ""
            raise port.place.error(f"duplicate address {address}: {other.name!r}{where} has it", "choose another")
        port.address = IPv4Interface((int(address), subnet.prefixlen))


def _allocate_addresses(draft: Draft, domain: Domain, owners: dict[IPv4Address, Port]) -> None:
    subnet = domain.subnet
    if subnet is None:
        return
    waiting = [port for port in domain.ports if port.address is None]
    routers = [port for port in waiting if draft.machines[port.name].forwards]
    others = [port for port in waiting if not draft.machines[port.name].forwards]
    low, high = (0, subnet.num_addresses) if subnet.prefixlen >= 31 else (1, subnet.num_addresses - 1)
    # The first address is the gateway's by custom: on a switch it stays free for one, where the subnet has room.
    reserve = bool(domain.switches and not routers and high - low > len(domain.ports))
    free = (offset for offset in range(low, high) if IPv4Address(int(subnet.network_address) + offset) not in owners)
    skipped = False
    for port in (*routers, *others):
        offset = next(free, None)
        if reserve and not skipped and offset == low:
            offset, skipped = next(free, None), True
        if offset is None:
            place = domain.subnet_place or port.place
            raise place.error(
                f"{subnet} is too small for the {len(domain.ports)} machines of segment {domain.name!r}",
                f"a /{_prefix_for(domain)} or wider has room",
            )
        address = IPv4Address(int(subnet.network_address) + offset)
        owners[address] = port
        port.address = IPv4Interface((int(address), subnet.prefixlen))


def _assign_macs(domains: Sequence[Domain]) -> None:
    used: dict[str, Port] = {}
    ports = [port for domain in domains for port in domain.ports]
    for port in ports:
        if port.end.mac is not None:
            mac = port.end.mac.lower()
            if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
                raise port.place.error(
                    f"{port.end.mac!r} is no machine's MAC address", "six pairs of hex digits, the first pair even"
                )
            other = used.setdefault(mac, port)
            if other is not port:
                where = f" (line {other.place.line})" if other.place.line else ""
                raise port.place.error(f"duplicate MAC {mac}: {other.name!r}{where} has it", "choose another")
            port.mac = mac
    for port in ports:
        if port.mac is None and port.address is not None:
            port.mac = "02:6e:" + ":".join(f"{byte:02x}" for byte in port.address.ip.packed)
            if port.mac in used:
                raise used[port.mac].place.error(
                    f"MAC {port.mac} is the one {port.name!r} gets from its address", "choose another"
                )
