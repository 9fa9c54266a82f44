"""The machines that a leg's packets cross, the packets themselves, and which differences matter to them. PURE."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from netlab.dataplane.nodes import NodeNet
from netlab.lab.diagnosis import network
from netlab.lab.diagnosis.filters import Packet
from netlab.lab.diagnosis.legs import Leg
from netlab.lab.diagnosis.model import DropRule, Facts, Finding, MachineFacts
from netlab.lab.diagnosis.plan import SWITCHES
from netlab.topology.model import Attachment

VXLAN_PORT = 8472
_SIZE = re.compile(r"\blength (?:> |gt |!= )?(\d+)|--length (\d+)")
_CHANCE = re.compile(r"numgen (?:random|inc) mod (\d+) (?:< |\{ ?0-)(\d+)|--probability ([\d.]+)")
FAULTS = "netlab-faults"


def machines(leg: Leg, facts: Facts) -> list[str]:
    """Namespaces in the order of the way: the caller's, its node, routers and switches, the endpoints' nodes, they."""
    nodes = [name for name in (leg.source.node, leg.at, *(place.node for place in leg.places)) if name]
    routers = [one.name for one in facts.topology.routers if one.name in facts.machines]
    far = [place.netns for place in leg.places[1:]]
    order = [leg.source.netns, *nodes[:1], *nodes[1:], *(routers if crosses(leg, facts) else []), SWITCHES, *far]
    return list(dict.fromkeys(order))


def crosses(leg: Leg, facts: Facts) -> bool:
    """Whether the way leads over a router: two of its machines have no segment in common."""
    names = {leg.source.node or leg.source.name, leg.at}
    names |= {place.node or place.name for place in leg.places}
    names.discard("")
    segments = [{end.node for end in segment.attachments} for segment in facts.topology.segments]
    return not any(names <= members for members in segments)


def underlay_ips(leg: Leg, facts: Facts) -> dict[str, str]:
    """Machine → underlay address, of the machines at the ends of the leg."""
    found = {}
    for name in (leg.at, *(place.node or place.name for place in leg.places)):
        try:
            found[name] = facts.topology.node_ip(name) if name else ""
        except KeyError:
            continue
    return {name: ip for name, ip in found.items() if ip}


def packets(leg: Leg, facts: Facts) -> list[Packet]:
    """What may be seen anywhere on the way: before and after translation, masqueraded, encapsulated; and replies."""
    protocol = leg.protocol
    source, ips = leg.source.ip, underlay_ips(leg, facts)
    found = [Packet(source, leg.entry[0], protocol, leg.entry[1])] if leg.entry else []
    for end in leg.ends:
        found.append(Packet(source, end.ip, protocol, end.port))
        found += [Packet(ip, end.ip, protocol, end.port) for ip in ips.values()]
    here = ips.get(leg.source.node or leg.source.name, "")
    for ip in ips.values():
        if ip != here and here:
            found += [Packet(here, ip, "udp", VXLAN_PORT), Packet(ip, here, "udp", VXLAN_PORT)]
    found += [packet.reply() for packet in found if packet.dport != VXLAN_PORT]
    return list(dict.fromkeys(packet for packet in found if packet.src and packet.dst))


def destinations(name: str, leg: Leg, facts: Facts) -> list[str]:
    """Addresses to which a namespace must find its way."""
    ips = [end.ip for end in leg.ends] if leg.direct or name != leg.source.netns else []
    if name == SWITCHES:
        return []
    if name == leg.source.netns:
        return [*ips, *([leg.entry[0]] if leg.entry else [])]
    if name in underlay_ips(leg, facts) and name in {node.name for node in facts.topology.nodes}:
        others = [ip for other, ip in underlay_ips(leg, facts).items() if other != name]
        return [*ips, leg.source.ip, *others] if leg.source.ip else [*ips, *others]
    if name in {one.name for one in facts.topology.routers}:
        return [ip for other, ip in underlay_ips(leg, facts).items() if other != name]
    return [leg.source.ip] if leg.source.ip else []


def relevant(found: Iterable[Finding], name: str, leg: Leg, facts: Facts, want: network.Expected) -> Iterator[Finding]:
    """Only differences that this leg's packets can meet: not those of other pods, peers and cables."""
    pods = {f"pod {place.name}" for place in leg.places}
    mine = {leg.source.ip, *(end.ip for end in leg.ends), *underlay_ips(leg, facts).values()}
    mine |= {net.vtep_ip for node, net in _nets(leg, facts).items() if node != name}
    macs = {net.mac for net in _nets(leg, facts).values()}
    cables = {end.interface for one in _machines_of(leg, facts) for end in _far_ends(one, facts)}
    for finding in found:
        if finding.code.startswith(("link-", "no-carrier")) and name == SWITCHES:
            if any(re.search(rf"\b{re.escape(cable)}\b", finding.where) for cable in cables):
                yield finding
        elif finding.code == "link-hairpin":
            if f"(of pod {leg.source.name})" in finding.where and leg.source.ip in {end.ip for end in leg.ends}:
                yield finding
        elif finding.stage == "pod" and "(of pod " in finding.where:
            if any(f"(of {pod})" in finding.where for pod in pods):
                yield finding
        elif finding.stage == "neighbour":
            address = re.search(r"neighbour (\S+) ", f"{finding.expected} ")
            if address is None or address[1] in mine or address[1] in _gateways(facts):
                yield finding
        elif finding.stage == "fdb":
            if any(mac in finding.expected for mac in macs):
                yield finding
        elif finding.code.startswith("route-") and "dev flannel" in finding.expected + finding.found:
            if any(net.pod_cidr in finding.expected for net in _nets(leg, facts).values()):
                yield finding
        else:
            yield finding


def _nets(leg: Leg, facts: Facts) -> dict[str, NodeNet]:
    nodes = {leg.at, *(place.node for place in leg.places)}
    return {name: net for name, net in network.node_nets(facts).items() if name in nodes}


def _gateways(facts: Facts) -> set[str]:
    routers = {one.name for one in facts.topology.routers}
    ends = [end for link in facts.topology.links for end in link.ends if end.node in routers]
    nets = network.node_nets(facts).values()
    return {end.ip for end in ends if end.ip} | {one.gateway for net in nets for one in net.families}


def _machines_of(leg: Leg, facts: Facts) -> set[str]:
    names = set(underlay_ips(leg, facts))
    return names | ({one.name for one in facts.topology.routers} if crosses(leg, facts) else set())


def _far_ends(machine: str, facts: Facts) -> list[Attachment]:
    """The switch ports into which a machine is plugged, and those between switches."""
    switches = {one.name for one in facts.topology.switches}
    found = []
    for link in facts.topology.links:
        a, b = link.ends
        if {a.node, b.node} <= switches:
            found += [a, b]
        elif machine in (a.node, b.node):
            found += [end for end in (a, b) if end.node in switches]
    return found


def dropped(rule: DropRule, name: str, want: network.Expected) -> Finding:
    """A foreign rule, called after what it does: everything, packets above a size, some of them, new connections."""
    size, chance = _SIZE.search(rule.text), _CHANCE.search(rule.text)
    counted = f" ({rule.packets} packets while we tried)" if rule.packets else ""
    code, does = "dropped-by-rule", "drops"
    if size:
        code, does = "size-dropped", f"drops packets by their size ({size[1] or size[2]} bytes)"
    elif chance:
        code, does = "loss-by-rule", f"loses packets ({_percent(chance)})"
    elif re.search(r"ct state new\b|--ctstate NEW\b", rule.text):
        code, does = "new-connections-dropped", "drops every new connection, as a full connection tracking table would"
    if "REJECT" in rule.text or "reject" in rule.text:
        does = "refuses"
    remedy = network.command(name, rule.remove, want)
    if FAULTS in rule.where:
        remedy = f"klab fault heal --all  (it is an injected fault; by hand: {remedy})"
    return Finding(
        code, "filter", network.title(name, want), f"a rule of {rule.where} {does}{counted}: {rule.text}",
        "no such rule: nobody of the cluster has written it", remedy,
    )  # fmt: skip


def _percent(found: re.Match[str]) -> str:
    share = float(found[3]) if found[3] else int(found[2]) / int(found[1])
    return f"about {share * 100:.0f}%"


def shaped(machine: MachineFacts, facts: Facts, want: network.Expected) -> Iterator[Finding]:
    """A delay or a loss that the topology does not ask for."""
    meant = {
        end.interface for link in facts.topology.links if link.needs_netem or link.bandwidth_bps for end in link.ends
        if end.node == machine.name or machine.name == SWITCHES
    }  # fmt: skip
    for line in machine.qdiscs:
        dev, _, kind = line.partition(" ")
        if dev not in meant:
            yield Finding(
                "shaped", "underlay", f"{network.title(machine.name, want)} {dev}",
                f"queueing discipline {kind}: packets are delayed, lost or slowed down there",
                "none: the topology asks for nothing",
                network.command(machine.name, f"tc qdisc del dev {dev} root", want),
            )  # fmt: skip
