"""All of a node's IPVS mode as one state, and the steps from one to another. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from netlab.dataplane.ipvs.model import DEVICE, Entry, Frontend, IpSet, RealServer, VirtualServer
from netlab.dataplane.ipvs.sets import IpSets
from netlab.dataplane.ipvs.termination import Connections, leave

Op = Literal["add", "change", "del"]
Reals = dict[tuple[str, int], RealServer]


@dataclass(slots=True)
class IpvsState:
    """`members` by the set's IPv4 name; a set that is missing there does not exist. `device`: the dummy device does."""

    device: bool = False
    servers: dict[Frontend, VirtualServer] = field(default_factory=dict)
    reals: dict[Frontend, Reals] = field(default_factory=dict)
    addresses: set[str] = field(default_factory=set)
    members: dict[str, set[Entry]] = field(default_factory=dict)

    def text(self, sets: IpSets) -> str:
        """As `ipvsadm -S -n`, `ipset save` and `ip` print it, sorted."""
        return "\n".join(str(step) for step in diff(IpvsState(), self, sets)) + "\n"


@dataclass(frozen=True, slots=True)
class Bound:
    """A service address on the dummy device."""

    address: str


@dataclass(frozen=True, slots=True)
class Real:
    """A real server of a virtual server."""

    frontend: Frontend
    server: RealServer


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a set, the set by its name in the kernel."""

    set: IpSet
    entry: Entry


@dataclass(frozen=True, slots=True)
class Device:
    """The dummy device itself."""


Thing = Device | Bound | VirtualServer | Real | IpSet | Member
_VERBS = {"add": ("-A", "-a"), "change": ("-E", "-e"), "del": ("-D", "-d")}


@dataclass(frozen=True, slots=True)
class Step:
    """One change. Prints as the command that would make it."""

    op: Op
    thing: Thing

    def __str__(self) -> str:
        match self.thing:
            case Device():
                return f"ip link {self.op} {DEVICE} type dummy" if self.op == "add" else f"ip link del {DEVICE}"
            case Bound(address):
                return f"ip addr {self.op} {address}/{128 if ':' in address else 32} dev {DEVICE}"
            case VirtualServer(frontend=frontend) as server:
                verb = _VERBS[self.op][0]
                return f"ipvsadm {verb} {frontend}" if self.op == "del" else f"ipvsadm {verb} {server}"
            case Real(frontend, real):
                words = str(real) if self.op != "del" else str(real).partition(" -m ")[0]
                return f"ipvsadm {_VERBS[self.op][1]} {frontend} {words}"
            case IpSet() as set_:
                return f"ipset create {set_}" if self.op == "add" else f"ipset destroy {set_.name}"
            case Member(set_, entry):
                return f"ipset {self.op} {set_.name} {entry}"


def diff(before: IpvsState, after: IpvsState, sets: IpSets, connections: Connections | None = None) -> tuple[Step, ...]:
    """From what is there to what must be, in an order in which every prefix is valid by itself.

    `connections` says what the real servers that must go still carry: such a one stays with weight 0 until it carries
    nothing (see `termination`). Virtual servers and addresses go last.
    """
    return (
        *_ensure(before, after, sets),
        *_servers(before, after, connections or {}),
        *(Step("add", Bound(address)) for address in sorted(after.addresses - before.addresses)),
        *_members(before, after, sets, "del"),
        *(Step("del", Bound(address)) for address in sorted(before.addresses - after.addresses)),
        *(Step("del", before.servers[key]) for key in sorted(before.servers.keys() - after.servers.keys())),
    )


def _ensure(before: IpvsState, after: IpvsState, sets: IpSets) -> Iterator[Step]:
    if after.device and not before.device:
        yield Step("add", Device())
    for name in after.members:
        if name not in before.members:
            yield Step("add", sets.by_name[name])
    yield from _members(before, after, sets, "add")


def _members(before: IpvsState, after: IpvsState, sets: IpSets, op: Literal["add", "del"]) -> Iterator[Step]:
    for name, wanted in after.members.items():
        there = before.members.get(name, set())
        if there is not wanted:
            for entry in sorted(wanted - there if op == "add" else there - wanted):
                yield Step(op, Member(sets.by_name[name], entry))


def _servers(before: IpvsState, after: IpvsState, connections: Connections) -> Iterator[Step]:
    for frontend in sorted(after.servers):
        server, old = after.servers[frontend], before.servers.get(frontend)
        if old != server:
            yield Step("add" if old is None else "change", server)
        yield from _reals(frontend, before.reals.get(frontend, {}), after.reals.get(frontend, {}), connections)


def _reals(frontend: Frontend, before: Reals, after: Reals, connections: Connections) -> Iterator[Step]:
    for key, real in sorted(after.items()):
        if before.get(key) != real:
            yield Step("change" if key in before else "add", Real(frontend, real))
    for key, real in sorted(before.items()):
        if key in after:
            continue
        decision = leave(frontend.protocol, real.weight, connections.get((frontend, key), 0))
        if decision == "delete":
            yield Step("del", Real(frontend, real))
        elif decision == "drain":
            yield Step("change", Real(frontend, RealServer(real.address, real.port, weight=0)))
