"""What to look at, and which probes to send. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netlab.lab.diagnosis.legs import End, Leg, to_control_plane, to_pods, to_resolver, to_target, with_lost
from netlab.lab.diagnosis.model import Objects, Place, Probe, Question
from netlab.lab.diagnosis.places import candidates, machine_names, nameservers
from netlab.topology.model import Topology

TRIES = 4
PINGS = 12
"""With a third lost, one in a hundred such rows comes through whole."""
TIMEOUT = 1.2
"""Seconds: longer than the first retransmission of a SYN, so that one lost packet is seen as slow and not as broken."""
SWITCHES = ""
"""Where switches are: the lab's own namespace."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Namespaces to look at, and probes to send meanwhile."""

    machines: tuple[str, ...]
    probes: tuple[Probe, ...] = ()


def legs_of(question: Question, topology: Topology, objects: Objects, resolv: str) -> list[Leg]:
    """The legs of a question, in the order in which they are walked."""
    found = []
    if question.source.kind == "pod" and question.target.asked:
        servers = nameservers(resolv) or [topology.cluster.dns_ip]
        found.append(to_resolver(question, servers[0], topology, objects))
    found = [with_lost(leg, topology, objects) for leg in (*found, to_target(question, topology, objects))]
    pods = to_pods(found[-1], objects)
    return [*to_control_plane(found, topology, objects), *found, *([pods] if pods else [])]


def wanted(question: Question, legs: Sequence[Leg], topology: Topology, resolv: str) -> Wanted:
    """For `klab why`."""
    machines = dict.fromkeys((SWITCHES, *_around(question.source)))
    for leg in legs:
        for place in leg.places:
            machines.update(dict.fromkeys(_around(place)))
        if leg.at:
            machines[leg.at] = None
    machines.update(dict.fromkeys(router.name for router in topology.routers[:8]))
    probes: list[Probe] = []
    for leg in legs:
        if leg.purpose == "name":
            probes += _name_probes(question, leg, topology, resolv)
        probes += _leg_probes(leg, topology, question)
    return Wanted(tuple(machines), tuple(dict.fromkeys(probes)))


def _around(place: Place) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in (place.netns, place.node) if name))


def full_name(question: Question, topology: Topology) -> str:
    """The Service's name in the DNS, with its final dot."""
    namespace, _, name = question.target.name.partition("/")
    return f"{name}.{namespace}.svc.{topology.cluster.dns_domain}."


def _name_probes(question: Question, leg: Leg, topology: Topology, resolv: str) -> Iterator[Probe]:
    """Every name that the resolver would try; the one that must be answered is asked for several times."""
    server = leg.entry[0] if leg.entry else leg.ends[0].ip if leg.ends else ""
    full = full_name(question, topology) if question.target.kind == "service" else ""
    tried = candidates(question.target.asked, resolv)
    tried = tried[: tried.index(full) + 1] if full in tried else tried  # a resolver stops at the first answer
    for name in tried:
        count = TRIES if name == full or (not full and name == tried[-1]) else 1
        yield Probe("name", "dns", leg.source.netns, server, 53, count, TIMEOUT, 0, name)


def _leg_probes(leg: Leg, topology: Topology, question: Question) -> Iterator[Probe]:
    name = full_name(question, topology) if question.target.kind == "service" else f"{question.target.asked}."
    if leg.entry is not None:
        count = min(24, max(TRIES, 3 * len(leg.ends)))
        yield _call(f"{leg.purpose}.entry", leg, leg.source.netns, leg.entry[0], leg.entry[1], count, name)
    for end in leg.ends:
        if leg.direct:
            if end.port:
                yield _call(f"{leg.purpose}.end", leg, leg.source.netns, end.ip, end.port, TRIES, name)
            yield from _pings(leg, end, topology)
        yield from _near(leg, end, name)


def _call(group: str, leg: Leg, netns: str, ip: str, port: int, count: int, name: str) -> Probe:
    """A TCP connection, a DNS question, or a datagram."""
    if leg.purpose == "name":
        return Probe(group, "dns", netns, ip, port, count, TIMEOUT, 0, name)
    if leg.protocol == "icmp":
        return Probe(group, "icmp", netns, ip, 0, count, TIMEOUT)
    return Probe(group, "udp" if leg.protocol == "udp" else "tcp", netns, ip, port, count, TIMEOUT)


def _near(leg: Leg, end: End, name: str) -> Iterator[Probe]:
    """From the endpoint's own node, from inside, and at loopback: which of them answers says where it ends."""
    if end.place is None or not end.port or leg.protocol == "icmp":
        return
    where = leg.purpose
    if end.place.kind == "pod" and end.place.node:
        yield _call(f"{where}.near", leg, end.place.node, end.ip, end.port, 2, name)
    yield _call(f"{where}.inside", leg, end.place.netns, end.ip, end.port, 1, name)
    yield _call(f"{where}.loopback", leg, end.place.netns, "::1" if ":" in end.ip else "127.0.0.1", end.port, 1, name)


def _pings(leg: Leg, end: End, topology: Topology) -> Iterator[Probe]:
    """Loss, and whether packets of the full size get through; between the pods, and between their nodes below."""
    group, netns = leg.purpose, leg.source.netns
    yield Probe(f"{group}.ping", "icmp", netns, end.ip, 0, PINGS, TIMEOUT)
    yield Probe(f"{group}.full", "icmp", netns, end.ip, 0, 3, TIMEOUT, path_mtu(leg.source, end, topology))
    here, there = leg.source.node, end.place.node if end.place else ""
    if here and there and here != there:
        ip = topology.node_ip(there)
        yield Probe("under.ping", "icmp", here, ip, 0, PINGS, TIMEOUT)
        yield Probe("under.full", "icmp", here, ip, 0, 3, TIMEOUT, underlay_mtu(here, topology))


def underlay_mtu(machine: str, topology: Topology) -> int:
    """Of a machine's first link."""
    return next((link.mtu for link in topology.links for end in link.ends if end.node == machine), 1500)


def path_mtu(place: Place, end: End, topology: Topology) -> int:
    """The largest packet that must get through: of the pod network where either side is a pod."""
    pod = place.kind == "pod" or (end.place is not None and end.place.kind == "pod")
    machines = [one for one in (place.node or place.name, end.place.node if end.place else "") if one]
    mtu = min(underlay_mtu(one, topology) for one in machines)
    if not pod or topology.cluster.overlay == "host-gw":
        return mtu
    return mtu - (50 if "IPv4" in topology.cluster.families else 70)


def everything(topology: Topology, objects: Objects) -> Wanted:
    """For `klab check`: every machine and pod; DNS asked on every node, every node asked for by every other."""
    from netlab.lab.diagnosis.places import pod_place

    pods = [pod for pod in objects.pods if (pod.get("status") or {}).get("phase") == "Running"]
    spaces = dict.fromkeys([SWITCHES, *machine_names(topology), *(pod_place(pod).netns for pod in pods)])
    name = f"kubernetes.default.svc.{topology.cluster.dns_domain}."
    probes = [
        Probe("dns", "dns", node.name, topology.cluster.dns_ip, 53, 3, TIMEOUT, 0, name) for node in topology.nodes
    ]
    first = [node.name for node in topology.control_planes[:1]]
    for node in topology.nodes:
        for other in first if node.name not in first else ():
            probes.append(Probe("ping", "icmp", node.name, topology.node_ip(other), 0, PINGS, TIMEOUT))
            full = underlay_mtu(node.name, topology)
            probes.append(Probe("full", "icmp", node.name, topology.node_ip(other), 0, 3, TIMEOUT, full))
    return Wanted(tuple(spaces), tuple(probes))
