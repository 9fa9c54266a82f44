"""What each word of the language tests in an Ethernet frame. Facts of the headers only, no grammar."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from netlab.kernel.bpf.code import (
    AND,
    JEQ,
    JGE,
    JGT,
    JSET,
    LD_B,
    LD_H,
    LD_H_X,
    LD_W,
    LDX_IP_HEADER,
    And,
    Not,
    Op,
    Or,
    Test,
    Tree,
    all_of,
    any_of,
)

Direction = Literal["", "src", "dst", "both"]
"""Either end, one of them, both of them."""

ETHERTYPES = {
    "ip": 0x0800,
    "arp": 0x0806,
    "rarp": 0x8035,
    "ip6": 0x86DD,
    "ipx": 0x8137,
    "loopback": 0x9000,
    "lldp": 0x88CC,
}
PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "tcp": 6,
    "udp": 17,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmp6": 58,
    "ospf": 89,
    "pim": 103,
    "vrrp": 112,
    "sctp": 132,
}
ONLY_IPV4, ONLY_IPV6 = frozenset({"icmp", "igmp", "vrrp"}), frozenset({"icmp6"})
WITH_PORTS = ("tcp", "udp", "sctp")
LINK, NETWORK = 0, 14
"""Where headers begin."""
NEXT_HEADER, TRANSPORT6 = NETWORK + 6, NETWORK + 40
FRAGMENT6 = 44
ANCILLARY = 0xFFFFF000
"""SKF_AD_OFF: from here on the kernel gives what it knows of the frame."""
PACKET_TYPE, VLAN_TAG, VLAN_PRESENT = ANCILLARY + 4, ANCILLARY + 44, ANCILLARY + 48
PACKET_OUTGOING = 4
VLAN_TYPES = (0x8100, 0x88A8, 0x9100)


def choose(direction: Direction, source: Tree, destination: Tree) -> Tree:
    if direction == "both":
        return And(source, destination)
    return {"src": source, "dst": destination}.get(direction) or Or(source, destination)


def ethertype(value: int) -> Tree:
    return Test(((LD_H, 12),), JEQ, value)


def ip4(number: int) -> Tree:
    """IPv4 with that protocol."""
    return And(ethertype(0x0800), Test(((LD_B, 23),), JEQ, number))


def ip6(number: int) -> Tree:
    """IPv6 with that header next, or behind a fragment's."""
    later = And(Test(((LD_B, NEXT_HEADER),), JEQ, FRAGMENT6), Test(((LD_B, TRANSPORT6),), JEQ, number))
    return And(ethertype(0x86DD), Or(Test(((LD_B, NEXT_HEADER),), JEQ, number), later))


def protocol(name: str) -> Tree:
    """A protocol word alone: IPv4, IPv6 or both, as it exists there."""
    if name in ETHERTYPES:
        return ethertype(ETHERTYPES[name])
    number = PROTOCOLS[name]
    if name in ONLY_IPV4:
        return ip4(number)
    return ip6(number) if name in ONLY_IPV6 else Or(ip4(number), ip6(number))


def unfragmented() -> Tree:
    """The transport header is in this IPv4 packet."""
    return Not(Test(((LD_H, 20),), JSET, 0x1FFF))


def ports(low: int, high: int, direction: Direction, protocols: tuple[str, ...]) -> Tree:
    """Ports of a range, in both families."""
    numbers = [PROTOCOLS[name] for name in protocols]
    four = (((LDX_IP_HEADER, 14), (LD_H_X, 14)), ((LDX_IP_HEADER, 14), (LD_H_X, 16)))
    six = (((LD_H, TRANSPORT6),), ((LD_H, TRANSPORT6 + 2),))
    kinds4 = any_of(Test(((LD_B, 23),), JEQ, number) for number in numbers)
    kinds6 = any_of(Test(((LD_B, NEXT_HEADER),), JEQ, number) for number in numbers)
    return Or(
        all_of((ethertype(0x86DD), kinds6, choose(direction, *(_between(load, low, high) for load in six)))),
        all_of(
            (
                ethertype(0x0800),
                kinds4,
                unfragmented(),
                choose(direction, *(_between(load, low, high) for load in four)),
            )
        ),
    )


def _between(loads: tuple[Op, ...], low: int, high: int) -> Tree:
    if low == high:
        return Test(loads, JEQ, low)
    return And(Test(loads, JGE, low), Not(Test(loads, JGT, high)))


def network(found: IPv4Network | IPv6Network, direction: Direction, header: str) -> Tree:
    """An address or a prefix. `header`: only in "ip", "ip6", "arp" or "rarp"; "": wherever it can be."""
    if isinstance(found, IPv6Network):
        return And(ethertype(0x86DD), choose(direction, _prefix6(found, 22), _prefix6(found, 38)))
    places = {"ip": (26, 30), "arp": (28, 38), "rarp": (28, 38)}
    return any_of(
        And(ethertype(ETHERTYPES[name]), choose(direction, _prefix4(found, source), _prefix4(found, destination)))
        for name, (source, destination) in places.items()
        if header in ("", name)
    )


def _prefix4(found: IPv4Network, at: int) -> Tree:
    return _word(at, int(found.network_address), int(found.netmask))


def _prefix6(found: IPv6Network, at: int) -> Tree:
    value, mask = found.network_address.packed, found.netmask.packed
    parts = [
        (i, int.from_bytes(value[i : i + 4], "big"), int.from_bytes(mask[i : i + 4], "big")) for i in (0, 4, 8, 12)
    ]
    return all_of(_word(at + i, number, bits) for i, number, bits in parts if bits or i == 0)


def _word(at: int, value: int, mask: int) -> Tree:
    return Test(((LD_W, at), *(() if mask == 0xFFFFFFFF else ((AND, mask),))), JEQ, value & mask)


def ether(mac: bytes, direction: Direction) -> Tree:
    """A hardware address."""
    high, low = int.from_bytes(mac[:2], "big"), int.from_bytes(mac[2:], "big")
    to = And(Test(((LD_W, 2),), JEQ, low), Test(((LD_H, 0),), JEQ, high))
    came = And(Test(((LD_W, 8),), JEQ, low), Test(((LD_H, 6),), JEQ, high))
    return choose(direction, came, to)


def multicast(header: str) -> Tree:
    """To many: of the link (also broadcast), of IPv4, of IPv6."""
    if header == "ip":
        return And(ethertype(0x0800), Test(((LD_B, 30),), JGE, 224))
    if header == "ip6":
        return And(ethertype(0x86DD), Test(((LD_B, 38),), JEQ, 255))
    return Test(((LD_B, 0),), JSET, 1)


def outbound() -> Tree:
    return Test(((LD_B, PACKET_TYPE),), JEQ, PACKET_OUTGOING)


def vlan(number: int | None) -> Tree:
    """With a tag, taken out by the kernel or still in the frame."""
    taken: Tree = Not(Test(((LD_B, VLAN_PRESENT),), JEQ, 0))
    there = any_of(ethertype(kind) for kind in VLAN_TYPES)
    if number is not None:
        taken = And(taken, Test(((LD_H, VLAN_TAG), (AND, 0xFFF)), JEQ, number))
        there = And(there, Test(((LD_H, 14), (AND, 0xFFF)), JEQ, number))
    return Or(taken, there)
