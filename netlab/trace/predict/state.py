"""A machine (node, host, router, pod, or the switches together) as the prediction sees it. PURE data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from netlab.dataplane.explain.ipvs import CountedServer
from netlab.dataplane.fib import FibRoute, PolicyRule
from netlab.dataplane.ipvs.model import Entry, Frontend
from netlab.dataplane.model import Vxlan
from netlab.trace.predict.tables import NftTable, XTable

PlaceKind = Literal["node", "host", "router", "pod", "switches"]


@dataclass(frozen=True, slots=True)
class Interface:
    """A device. `peer`: a veth's other end as (machine, interface), None where it has none or it is not known.

    `mtu` in bytes; `carrier`: whether its other end is up too; `addresses` are (address, prefix length, scope
    number)."""

    name: str
    index: int
    kind: str
    mac: str
    mtu: int
    up: bool = True
    carrier: bool = True
    master: str = ""
    hairpin: bool = False
    vxlan: Vxlan | None = None
    peer: tuple[str, str] | None = None
    addresses: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Neighbour:
    dev: str
    ip: str
    mac: str
    state: str


@dataclass(frozen=True, slots=True)
class Forward:
    """An entry of a bridge's (`dst` "") or a VXLAN device's forwarding table. `local`: the bridge's own."""

    dev: str
    mac: str
    dst: str = ""
    local: bool = False


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits. `address` "" is any."""

    protocol: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Everything of one network namespace that a packet can meet. `sysctls` by dotted name, "/" for a dot in a device.

    `listeners` None: not known, every port counts as open. `recent`: sources in xt_recent's lists, by list."""

    name: str
    kind: PlaceKind = "node"
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    routes: tuple[FibRoute, ...] = ()
    path_mtus: Mapping[str, int] = field(default_factory=dict)
    """What routers have told (ICMP fragmentation needed), by destination."""
    rules: tuple[PolicyRule, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[Forward, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    xtables: tuple[XTable, ...] = ()
    nft: tuple[NftTable, ...] = ()
    servers: Mapping[Frontend, CountedServer] = field(default_factory=dict)
    sets: Mapping[str, frozenset[Entry]] = field(default_factory=dict)
    recent: Mapping[str, frozenset[str]] = field(default_factory=dict)
    listeners: tuple[Listener, ...] | None = None
    nft_first: bool = False
    """Whether nftables' chains stand before those of iptables that have the same priority: what was registered last is
    first, and only a kernel with nfnetlink_hook would tell."""

    def sysctl(self, name: str, default: int = 0) -> int:
        value = self.sysctls.get(name, "")
        return int(value) if value.lstrip("-").isdigit() else default

    def is_local(self, address: str) -> bool:
        """Whether the address is one of the machine's own (every address, on whichever device)."""
        return any(address == own for interface in self.interfaces.values() for own, _, _ in interface.addresses)


@dataclass(frozen=True, slots=True)
class World:
    """All machines by name, looked up when a packet gets there (a mapping may read them only then), and what addresses,
    Services and endpoints are called."""

    machines: Mapping[str, Machine]
    name: Callable[[str], str] = lambda address: ""
    service: Callable[[str, str, int], str] = lambda protocol, address, port: ""
    answers: Mapping[str, str] = field(default_factory=dict)
    """Addresses for which a program of a machine answers ARP and NDP, though they are nobody's (load balancers')."""


def machines(found: Iterable[Machine]) -> Mapping[str, Machine]:
    return {one.name: one for one in found}
