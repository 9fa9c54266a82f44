"""Follows a packet in IPVS mode: the rules decide about masquerading, the virtual server about the endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netlab.dataplane.explain.iptables import IptablesWalker, Tables
from netlab.dataplane.explain.model import Packet, Walk, World
from netlab.dataplane.ipvs.model import Frontend, RealServer, VirtualServer, host_port

SCHEDULES = {
    "rr": "each in turn",
    "wrr": "each in turn, by weight",
    "lc": "the one with the fewest connections",
    "wlc": "the one with the fewest connections for its weight",
    "sh": "by the client's address",
    "dh": "by the destination's address",
    "sed": "the one with the shortest expected delay",
    "nq": "an idle one, else the shortest expected delay",
    "mh": "by the client's address and port (Maglev)",
}


@dataclass(frozen=True, slots=True)
class CountedReal:
    """A real server; `connections` are those it carries, the others what it has seen, None where nobody counted."""

    server: RealServer
    connections: int | None = None
    packets: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CountedServer:
    """A virtual server with its real servers."""

    server: VirtualServer
    reals: tuple[CountedReal, ...]
    packets: int | None = None
    bytes: int | None = None


Servers = Mapping[Frontend, CountedServer]


def walk(tables: Tables, servers: Servers, world: World, packet: Packet, *, live: bool) -> Walk:
    """nat rules, filter rules, then the virtual server: IPVS takes packets behind filter's INPUT, and the node's own
    before filter's OUTPUT."""
    walker = IptablesWalker(tables, world, packet, live=live)
    flow = walker.nat()
    frontend = Frontend(packet.protocol.upper(), packet.destination, packet.port)  # type: ignore[arg-type]
    found = servers.get(frontend)
    if found is None or not world.is_local(packet.destination):
        walker.filter(flow)
        return walker.walk
    if packet.caller.origin == "node":
        if any(real.server.weight for real in found.reals):  # what IPVS itself refuses never comes to filter's OUTPUT
            walker.leaving(frontend, flow)
    else:
        walker.filtered(flow)
    if flow.share:
        _balance(walker.walk, found, flow.masqueraded)
    return walker.walk


def _balance(walk: Walk, found: CountedServer, masqueraded: bool) -> None:
    how = SCHEDULES.get(found.server.scheduler, f"scheduler {found.server.scheduler}")
    if found.server.persistent is not None:
        how += f"; a client keeps its endpoint for {found.server.persistent} s"
    counters = (found.packets, found.bytes or 0) if found.packets is not None else None
    walk.say(0, f"a local address with a virtual server: {how}", found.server, counters=counters)
    used = [real for real in found.reals if real.server.weight > 0]
    if not used:
        walk.say(1, "it has no real server: refused with an ICMP error", found.server.frontend)
        walk.end("reject", 1.0)
        return
    total = _total(used)
    for real in found.reals:
        counters = (real.packets, real.bytes or 0) if real.packets is not None else None
        carried = f", {real.connections} connections now" if real.connections is not None else ""
        endpoint = host_port(real.server.address, real.server.port)
        if real.server.weight == 0:
            words = f"{endpoint} takes no new connections, it only finishes those it has{carried}"
            walk.say(1, words, real.server, taken=False, counters=counters)
            continue
        walk.say(1, f"its destination becomes {endpoint}{carried}", real.server, counters=counters)
        walk.end("endpoint", real.server.weight / total, endpoint, masqueraded)


def _total(reals: Sequence[CountedReal]) -> int:
    return sum(real.server.weight for real in reals)
