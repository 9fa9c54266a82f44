"""Objects of one network namespace: links, addresses, routes, neighbours, forwarding entries, sysctls.

Each object knows its identity (`key`, what the kernel tells two of them apart by) and the commands that add, change or
delete it. Interfaces are named, never numbered: indexes are the kernel's business and are resolved where a plan is
applied. Addresses are text ("10.244.1.1/24", "fd00::1/64"), MACs lower-case with colons, MTUs bytes. `default` is the
IPv4 default route, `::/0` the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

Op = Literal["add", "change", "del"]
LinkKind = Literal["device", "loopback", "bridge", "veth", "vxlan", "dummy"]

PERMANENT = "permanent"


@dataclass(frozen=True, slots=True)
class Vxlan:
    """What makes a link a VXLAN device. `local` and `dev` are the underlay's address and interface."""

    vni: int
    local: str
    dev: str
    port: int = 8472
    learning: bool = False

    def arguments(self) -> str:
        """The words of `ip link add … type vxlan` after the type."""
        learning = "learning" if self.learning else "nolearning"
        return f"id {self.vni} local {self.local} dev {self.dev} dstport {self.port} {learning}"


@dataclass(frozen=True, slots=True)
class Link:
    """A network device. `None` for mac or mtu means: as the kernel chose, not compared.

    `peer` is a veth's other end, as (namespace name or "", interface name); it is known where netlab made the pair and
    empty in observed state.
    """

    name: str
    kind: LinkKind = "device"
    mac: str | None = None
    mtu: int | None = None
    master: str | None = None
    up: bool = True
    vxlan: Vxlan | None = None
    stp: bool = False
    peer: tuple[str, str] | None = None
    hairpin: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("link", self.name)

    def commands(self, op: Op, old: Link | None = None) -> tuple[str, ...]:
        """`ip link` commands; a change names only what differs from `old`."""
        if op == "del":
            return (f"ip link del {self.name}",)
        if op == "change":
            return self._change(old or Link(self.name, up=False))
        words = [f"ip link add {self.name}"]
        words += [f"address {self.mac}"] if self.mac else []
        words += [f"mtu {self.mtu}"] if self.mtu else []
        words += [f"type {self.kind}"] if self.kind not in ("device", "loopback") else []
        if self.kind == "bridge":
            words.append(f"stp_state {int(self.stp)}")
        elif self.vxlan is not None:
            words.append(self.vxlan.arguments())
        elif self.kind == "veth" and self.peer is not None:
            words.append(f"peer name {self.peer[1]}" + (f" netns {self.peer[0]}" if self.peer[0] else ""))
        after = self._change(Link(self.name, self.kind, self.mac, self.mtu, up=False, stp=self.stp))
        return (" ".join(words), *after)

    def _change(self, old: Link) -> tuple[str, ...]:
        words: list[str] = []
        if self.mac and self.mac != old.mac:
            words.append(f"address {self.mac}")
        if self.mtu and self.mtu != old.mtu:
            words.append(f"mtu {self.mtu}")
        if self.master != old.master:
            words.append(f"master {self.master}" if self.master else "nomaster")
        if self.up != old.up:
            words.append("up" if self.up else "down")
        lines = [f"ip link set {self.name} " + " ".join(words)] if words else []
        if self.kind == "bridge" and self.stp != old.stp:
            lines.append(f"ip link set {self.name} type bridge stp_state {int(self.stp)}")
        if self.hairpin != old.hairpin:
            lines.append(f"bridge link set dev {self.name} hairpin {'on' if self.hairpin else 'off'}")
        return tuple(lines)

    def __str__(self) -> str:
        return "; ".join(self.commands("add"))


@dataclass(frozen=True, slots=True)
class Address:
    """An address of an interface, with its prefix length. `scope` as `ip` writes it."""

    dev: str
    cidr: str
    scope: str = "global"

    @property
    def key(self) -> tuple[str, ...]:
        return ("address", self.dev, self.cidr)

    @property
    def ip(self) -> str:
        return self.cidr.partition("/")[0]

    def commands(self, op: Op, old: Address | None = None) -> tuple[str, ...]:
        """`ip addr` commands."""
        verb = {"add": "add", "change": "replace", "del": "del"}[op]
        if ":" in self.cidr:  # its scope is in the address; it is ours alone: no need to wait for who might object
            return (f"ip addr {verb} {self.cidr} dev {self.dev}" + (" nodad" if op != "del" else ""),)
        scope = "" if self.scope == "global" or op == "del" else f" scope {self.scope}"
        return (f"ip addr {verb} {self.cidr} dev {self.dev}{scope}",)

    def __str__(self) -> str:
        return self.commands("add")[0]


@dataclass(frozen=True, slots=True)
class Hop:
    """One of several next hops of a route."""

    via: str | None
    dev: str
    weight: int = 1

    def __str__(self) -> str:
        via = f"via {self.via} " if self.via else ""
        return f"nexthop {via}dev {self.dev} weight {self.weight}"


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table. `dst` is a CIDR or "default"; `hops`, when given, replace `via` and `dev` (ECMP).

    `protocol` is who put it there: "boot" (as `ip route add` does), "kernel" for what an address brings with it.
    """

    dst: str
    dev: str = ""
    via: str | None = None
    onlink: bool = False
    src: str | None = None
    scope: str | None = None
    metric: int = 0
    hops: tuple[Hop, ...] = ()
    protocol: str = "boot"
    kind: Literal["unicast", "blackhole", "unreachable"] = "unicast"

    @property
    def key(self) -> tuple[str, ...]:
        return ("route", self.dst, str(self.metric))

    def commands(self, op: Op, old: Route | None = None) -> tuple[str, ...]:
        """`ip route` commands."""
        verb = {"add": "add", "change": "replace", "del": "del"}[op]
        words = [f"ip route {verb}", *([self.kind] if self.kind != "unicast" else []), self.dst]
        if self.hops:
            words += [str(hop) for hop in self.hops]
        else:
            words += [f"via {self.via}"] if self.via else []
            words += [f"dev {self.dev}"] if self.dev else []
            words += ["onlink"] if self.onlink and op != "del" else []
        words += [f"src {self.src}"] if self.src and op != "del" else []
        words += [f"metric {self.metric}"] if self.metric else []
        return (" ".join(words),)

    def __str__(self) -> str:
        return self.commands("add")[0]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An ARP or NDP entry. Only permanent ones are ever written; `state` of an observed one is the kernel's word."""

    dev: str
    ip: str
    mac: str
    state: str = PERMANENT

    @property
    def key(self) -> tuple[str, ...]:
        return ("neighbour", self.dev, self.ip)

    def commands(self, op: Op, old: Neighbour | None = None) -> tuple[str, ...]:
        """`ip neigh` commands."""
        if op == "del":
            return (f"ip neigh del {self.ip} dev {self.dev}",)
        verb = "replace" if op == "change" else "add"
        return (f"ip neigh {verb} {self.ip} lladdr {self.mac} dev {self.dev} nud {self.state}",)

    def __str__(self) -> str:
        return self.commands("add")[0]


@dataclass(frozen=True, slots=True)
class Fdb:
    """A forwarding entry of a VXLAN device: frames for `mac` go to the VTEP at `dst` (underlay address)."""

    dev: str
    mac: str
    dst: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("fdb", self.dev, self.mac)

    def commands(self, op: Op, old: Fdb | None = None) -> tuple[str, ...]:
        """`bridge fdb` commands."""
        if op == "del":
            return (f"bridge fdb del {self.mac} dev {self.dev} dst {self.dst}",)
        verb = "replace" if op == "change" else "add"
        return (f"bridge fdb {verb} {self.mac} dev {self.dev} dst {self.dst} self permanent",)

    def __str__(self) -> str:
        return self.commands("add")[0]


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A per-namespace kernel setting, dotted. `optional`: a kernel without the key is no error (br_netfilter)."""

    name: str
    value: str
    optional: bool = field(default=False, compare=False)

    @property
    def key(self) -> tuple[str, ...]:
        return ("sysctl", self.name)

    @property
    def path(self) -> str:
        """Below /proc/sys. A dot inside an interface's name is written "/" in the dotted form, as sysctl(8) does."""
        return self.name.translate(str.maketrans("./", "/."))

    def commands(self, op: Op, old: Sysctl | None = None) -> tuple[str, ...]:
        """`sysctl -w`; a sysctl cannot be deleted."""
        return (f"sysctl -w {self.name}={self.value}",)

    def __str__(self) -> str:
        return self.commands("add")[0]


NetObject = Link | Address | Route | Neighbour | Fdb | Sysctl


@dataclass(frozen=True, slots=True)
class NodeState:
    """Everything of one namespace, desired or observed. Order carries no meaning except for reading."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[Fdb, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()

    def objects(self) -> tuple[NetObject, ...]:
        """All objects, in an order in which they can be added."""
        return (*self.sysctls, *self.links, *self.addresses, *self.routes, *self.neighbours, *self.fdb)

    def link(self, name: str) -> Link | None:
        """The link of that name."""
        return next((link for link in self.links if link.name == name), None)

    def merge(self, *others: NodeState) -> NodeState:
        """This state and the others, one after the other."""
        states = (self, *others)
        return NodeState(
            links=tuple(x for s in states for x in s.links),
            addresses=tuple(x for s in states for x in s.addresses),
            routes=tuple(x for s in states for x in s.routes),
            neighbours=tuple(x for s in states for x in s.neighbours),
            fdb=tuple(x for s in states for x in s.fdb),
            sysctls=tuple(x for s in states for x in s.sysctls),
        )

    def __str__(self) -> str:
        return "\n".join(line for obj in self.objects() for line in obj.commands("add"))


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do to the kernel, and why. `old` is what is there now (for a change)."""

    op: Op
    object: NetObject
    reason: str
    old: NetObject | None = None

    def commands(self) -> tuple[str, ...]:
        """The step in the words of `ip`, `bridge` and `sysctl`."""
        return self.object.commands(self.op, self.old)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{'; '.join(self.commands())}  # {self.reason}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they must be done. Empty means: nothing differs."""

    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __add__(self, other: Plan) -> Plan:
        return Plan(self.steps + other.steps)

    @classmethod
    def adding(cls, objects: Iterable[NetObject], reason: str) -> Plan:
        """A plan that adds `objects`, all for one reason."""
        return cls(tuple(Step("add", obj, reason) for obj in objects))

    def because(self, reason: str) -> Plan:
        """The same steps, with the reason put before each."""
        return Plan(tuple(replace(step, reason=f"{reason}: {step.reason}") for step in self.steps))

    def __str__(self) -> str:
        return "\n".join(str(step) for step in self.steps)
