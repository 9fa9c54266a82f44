"""The rules that a mode would have on a node, computed from the objects: for modes that do not run there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netlab.api.types import Obj
from netlab.dataplane import iptables, ipvs, nftables
from netlab.dataplane.explain.iptables import counted
from netlab.dataplane.explain.ipvs import CountedReal, CountedServer
from netlab.dataplane.explain.model import World
from netlab.dataplane.explain.service import Material, Mode
from netlab.dataplane.ipvs.model import Scheduler
from netlab.dataplane.services import Family, NodeView, ServiceState, ServiceTable


@dataclass(frozen=True, slots=True)
class Node:
    """What of a node its rules depend on. `addresses`: its own, without loopback's and kube-ipvs0's."""

    name: str
    ip: str
    addresses: tuple[str, ...]
    cluster_cidr: str
    service_cidr: str = ""
    zone: str = ""
    family: Family = "IPv4"
    scheduler: Scheduler = "rr"


def states(services: Iterable[Obj], slices: Iterable[Obj], node: Node) -> list[ServiceState]:
    """Every service port as the node's proxy sees it."""
    table = ServiceTable(NodeView(node.name, node.zone), node.family)
    for service in services:
        table.set_service(_key(service), service)
    for one in slices:
        table.set_slice(_key(one), one)
    table.take_changes()
    return list(table.states())


def _key(obj: Obj) -> str:
    return f"{obj['metadata'].get('namespace') or 'default'}/{obj['metadata']['name']}"


def material(mode: Mode, found: Sequence[ServiceState], node: Node) -> Material:
    """The mode's rules for these service ports."""
    return {"iptables": _iptables, "ipvs": _ipvs, "nftables": _nftables}[mode](found, node)


def _iptables(found: Sequence[ServiceState], node: Node) -> Material:
    program = iptables.IptablesProgram(iptables.IptablesConfig(node.ip, node.cluster_cidr, node.family))
    for state in found:
        program.update(state.port.name, state)
    return Material("iptables", False, World(frozenset(node.addresses)), counted(program.rules()))


def _nftables(found: Sequence[ServiceState], node: Node) -> Material:
    config = nftables.NftablesConfig(node.ip, node.cluster_cidr, node.service_cidr, (node.ip,), node.family)
    program = nftables.NftablesProgram(config)
    for state in found:
        program.update(state.port.name, state)
    return Material("nftables", False, World(frozenset(node.addresses)), nft=program.state())


def _ipvs(found: Sequence[ServiceState], node: Node) -> Material:
    config = ipvs.IpvsConfig(node.ip, node.cluster_cidr, node.addresses, node.family, node.scheduler)
    program = ipvs.IpvsProgram(config)
    for state in found:
        program.update(state.port.name, state)
    state_ = program.state()
    sets = {program.sets.by_name[name].name: frozenset(entries) for name, entries in state_.members.items()}
    servers = {
        frontend: CountedServer(server, tuple(CountedReal(real) for real in state_.reals[frontend].values()))
        for frontend, server in state_.servers.items()
    }
    world = World(frozenset(node.addresses) | state_.addresses, sets)
    rules = program.rules()
    tables = {table: [*ipvs.jumps(table), *rules[table]] for table in rules}
    return Material("ipvs", False, world, counted(tables), servers=servers)
