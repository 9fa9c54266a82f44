"""Addresses, routes, neighbours, forwarding entries, links and settings: what is, against what should be. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from netlab.api.types import Obj
from netlab.dataplane.diff import Owned, diff
from netlab.dataplane.model import Address, Fdb, Link, Neighbour, NetObject, NodeState, Route, Step, Sysctl
from netlab.dataplane.nodes import BRIDGE, NodeNet, PodNet, ip_mac
from netlab.dataplane.overlay import node_network, overlay_owned
from netlab.dataplane.pods import host_side, pod_side
from netlab.dataplane.underlay import underlay
from netlab.lab.diagnosis.model import Facts, Finding, MachineFacts, Stage
from netlab.lab.diagnosis.places import key
from netlab.node.overlay import node_net
from netlab.topology.model import Topology, family_of

PER_DEVICE = ("forwarding", "rp_filter")
_STAGES: Mapping[type, tuple[str, Stage]] = {
    Link: ("link", "underlay"),
    Address: ("address", "route"),
    Route: ("route", "route"),
    Neighbour: ("neighbour", "neighbour"),
    Fdb: ("fdb", "fdb"),
    Sysctl: ("sysctl", "route"),
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What each namespace should have, and whose address and MAC is whose."""

    states: Mapping[str, NodeState]
    owned: Mapping[str, Owned]
    titles: Mapping[str, str]
    """A namespace as a user calls it: "node1", "pod default/client"."""
    macs: Mapping[str, str]
    ports: Mapping[str, str]
    """What is behind an interface, by "NAMESPACE IFNAME": a pod behind a node's, a cable behind a switch's."""


def sysctl_names(topology: Topology) -> tuple[str, ...]:
    """The settings to read on every machine."""
    wanted = {s.name for state in underlay(topology).values() for s in state.sysctls}
    devices = {end.interface for link in topology.links for end in link.ends if end.address} | {BRIDGE, "flannel/1"}
    wanted |= {f"net.ipv4.conf.{dev}.{what}" for dev in devices for what in PER_DEVICE}
    return (*sorted(wanted), "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


def node_nets(facts: Facts) -> dict[str, NodeNet]:
    """Each registered node of the topology as the overlay sees it."""
    topology, found = facts.topology, {}
    for node in facts.objects.nodes:
        name = node["metadata"]["name"]
        try:
            interface = topology.underlay_if(name)
        except KeyError:
            continue
        mtu = next(k.mtu for k in topology.links for e in k.ends if (e.node, e.interface) == (name, interface))
        net = node_net(node, topology.cluster.overlay, interface, mtu)
        if net is not None:
            found[name] = net
    return found


def pod_nets(facts: Facts, nets: Mapping[str, NodeNet]) -> Iterator[tuple[Obj, str, PodNet]]:
    """(pod, its node, its attachment) of every pod that has an address of the pod network and is not ending."""
    for pod in facts.objects.pods:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        ips = [entry["ip"] for entry in status.get("podIPs") or ()]
        node = spec.get("nodeName") or ""
        ended = status.get("phase") in ("Succeeded", "Failed") or pod["metadata"].get("deletionTimestamp")
        if ips and node in nets and not spec.get("hostNetwork") and not ended:
            yield pod, node, PodNet.of(pod["metadata"]["uid"], ips, nets[node])


def expected(facts: Facts) -> Expected:
    """From the topology and the API's objects alone."""
    topology = facts.topology
    states, owned, titles = dict(underlay(topology)), dict[str, Owned](), dict[str, str]()
    macs = {ip: end.mac for link in topology.links for end in link.ends for ip in (end.ip, end.ip6) if ip and end.mac}
    nets, ports = node_nets(facts), dict[str, str]()
    for name, net in nets.items():
        peers = [other for other in nets.values() if other.name != name]
        states[name] = states[name].merge(node_network(net, peers))
        owned[name] = overlay_owned(topology.cluster.pod_cidr, topology.cluster.overlay)
        for one in net.families:
            macs[one.gateway] = net.bridge_mac if one.is_ipv6 else ip_mac(one.gateway)
            if one.backend == "vxlan":
                macs[one.vtep_ip] = one.mac
    for link in topology.links:
        for near, far in (link.ends, link.ends[::-1]):
            ports[f" {near.interface}"] = f"the cable to {far.node}"
    for pod, node, net_ in pod_nets(facts, nets):
        states[node] = states[node].merge(host_side(net_))
        states[net_.netns] = pod_side(net_)
        titles[net_.netns] = f"pod {key(pod)}"
        ports[f"{node} {net_.ifname}"] = f"pod {key(pod)}"
        for address, _ in net_.attachments:
            macs[address.partition("/")[0]] = net_.pod_mac
    states[""] = switches(topology)
    titles[""] = "the switches"
    return Expected(states, owned, titles, macs, ports)


def switches(topology: Topology) -> NodeState:
    """Bridges and their ports, in the lab's own namespace; Open vSwitch keeps its ports itself."""
    kinds = {switch.name: switch.kind for switch in topology.switches}
    links = [Link(name, "bridge") for name, kind in kinds.items() if kind == "bridge"]
    links += [
        Link(end.interface, "veth", mtu=link.mtu, master=end.node)
        for link in topology.links
        for end in link.ends
        if kinds.get(end.node) == "bridge" and not link.standby
    ]
    return NodeState(links=tuple(links))


def title(name: str, want: Expected) -> str:
    return want.titles.get(name, name)


def compare(machine: MachineFacts, want: Expected, *, all_of_it: bool = False) -> Iterator[Finding]:
    """Every difference of one namespace that keeps packets from their way; `all_of_it`: also what is too much."""
    desired = want.states.get(machine.name)
    if desired is None:
        return
    desired = _with_device_sysctls(machine.state, desired, machine.name in want.owned)
    owned = want.owned.get(machine.name, Owned()) if all_of_it else Owned()
    missing = {obj.dev for obj in desired.addresses} if not machine.state.links else set()
    for step in diff(machine.state, desired, owned).steps:
        if not _excused(step, machine.state, missing):
            yield _finding(step, machine.name, want)
    for dev in sorted(machine.no_carrier):
        if desired.link(dev) is not None and desired.link(dev) != Link(dev, "bridge") and dev not in _bridges(desired):
            yield Finding(
                "no-carrier", "underlay", f"{title(machine.name, want)} {dev}", f"{dev} is up and has no carrier",
                "the other end of its cable is up", f"look at the other end: {_other_end(machine.name, dev, want)}",
            )  # fmt: skip
    yield from _neighbours(machine, want)


def _bridges(state: NodeState) -> set[str]:
    """A bridge without ports has no carrier, and that is as it should be."""
    return {link.name for link in state.links if link.kind == "bridge"}


def _excused(step: Step, have: NodeState, missing: set[str]) -> bool:
    """What follows from a link that is down or gone: one finding is enough. IPv6 settings of a kernel without it."""
    obj = step.object
    if isinstance(obj, Sysctl):
        return step.op == "add" or obj.optional
    dev = getattr(obj, "dev", "")
    if isinstance(obj, Link) or not dev:
        return isinstance(obj, Link) and obj.kind == "loopback" and obj.name in missing
    link = have.link(dev)
    return link is None or not link.up


def _with_device_sysctls(have: NodeState, desired: NodeState, is_node: bool) -> NodeState:
    """Per device: forwarding as the machine forwards at all, no reverse path filter."""
    general = {s.name: s.value for s in desired.sysctls}
    forwards = general.get("net.ipv4.ip_forward", "0")
    extra = []
    for found in have.sysctls:
        parts = found.name.split(".")
        if found.name in general or parts[:3] != ["net", "ipv4", "conf"]:
            continue
        if parts[4] == "forwarding" and forwards == "1":
            extra.append(Sysctl(found.name, "1"))
        elif parts[4] == "rp_filter":
            extra.append(Sysctl(found.name, "0"))
    return desired.merge(NodeState(sysctls=tuple(extra)))


def _finding(step: Step, name: str, want: Expected) -> Finding:
    obj = step.object
    noun, stage = _STAGES[type(obj)]
    where = title(name, want)
    found, code = step.reason, f"{noun}-{'missing' if step.op == 'add' else 'wrong' if step.op == 'change' else 'left'}"
    if isinstance(obj, Link):
        code, found, where = _link(step, obj, name, want)
        stage = "pod" if "pod " in where else "underlay"
    elif step.op == "change" and step.old is not None:
        found = f"{_text(step.old)}"
    elif step.op == "del":
        found = f"{_text(obj)}: nobody needs it any more"
    else:
        found = f"there is no {_text(obj)}"
    wanted = "nothing of the kind" if step.op == "del" else _text(obj)
    return Finding(code, stage, where, found, wanted, _remedy(step, name, want))


def _link(step: Step, obj: Link, name: str, want: Expected) -> tuple[str, str, str]:
    """code, what was found, where"""
    behind = want.ports.get(f"{name} {obj.name}")
    where = f"{title(name, want)} {obj.name}" + (
        f" (of {behind})" if behind and behind.startswith("pod ") else f" ({behind})" if behind else ""
    )
    old = step.old if isinstance(step.old, Link) else None
    if step.op == "add":
        return "link-missing", f"there is no {obj.name}", where
    if step.op == "del":
        return "link-left", f"{obj.name}: nobody needs it any more", where
    if old is not None and old.up != obj.up:
        return "link-down", f"{obj.name} is down", where
    if old is not None and old.master != obj.master:
        return "link-unplugged", f"{obj.name} is on {old.master or 'no bridge'}", where
    if old is not None and obj.mtu and old.mtu != obj.mtu:
        return "link-mtu", f"{obj.name} has MTU {old.mtu}", where
    if old is not None and old.hairpin != obj.hairpin and step.reason.startswith("hairpin"):
        return "link-hairpin", f"{obj.name} does not send back what came in by it", where
    return "link-wrong", step.reason, where


def _text(obj: NetObject) -> str:
    """Without the command's first words: "route 10.244.2.0/24 via …"."""
    match obj:
        case Neighbour():
            return f"neighbour {obj.ip} lladdr {obj.mac} dev {obj.dev}"
        case Fdb():
            return f"FDB entry {obj.mac} dst {obj.dst} dev {obj.dev}"
        case Sysctl():
            return f"{obj.name} = {obj.value}"
        case Address():
            return f"address {obj.cidr} on {obj.dev}"
        case Route():
            return f"route {obj.commands('add')[0].removeprefix('ip route add ')}"
    state = "up" if obj.up else "down"
    return (
        f"{obj.name} {state}" + (f", on {obj.master}" if obj.master else "") + (f", MTU {obj.mtu}" if obj.mtu else "")
    )


def run_in(name: str, want: Expected) -> str:
    """The words before a command that run it in a namespace."""
    if name in want.titles and name:
        return f"klab mininet -c 'sh ip netns exec {name} "
    return "klab mininet -c 'sh " if not name else f"klab exec {name} -- "


def command(name: str, words: str, want: Expected) -> str:
    """A command line that does `words` in a namespace."""
    start = run_in(name, want)
    return f"{start}{words}'" if "'" in start else f"{start}{words}"


def _remedy(step: Step, name: str, want: Expected) -> str:
    if isinstance(step.object, Link) and step.op == "add" and step.object.kind in ("bridge", "vxlan") and name:
        return f"klab status; klab logs agent-0 --tail 20  (the overlay agent of {name} makes it)"
    if isinstance(step.object, Link) and step.op == "add":
        pod = want.ports.get(f"{name} {step.object.name}") or (want.titles.get(name, "") if name else "")
        if pod.startswith("pod "):
            namespace, _, short = pod.removeprefix("pod ").partition("/")
            return f"klab kubectl delete pod {short} -n {namespace}  (its network is made anew with it)"
        return "klab down && klab up  (cables are laid when a lab starts)"
    return "; ".join(command(name, one, want) for one in step.commands())


def _other_end(name: str, dev: str, want: Expected) -> str:
    pod = want.ports.get(f"{name} {dev}")
    return f"the interface eth0 of {pod}" if pod else "the switch's port, or the machine that is plugged in there"


def _neighbours(machine: MachineFacts, want: Expected) -> Iterator[Finding]:
    """Entries of addresses whose MAC is known, beyond those that are desired and so compared already."""
    desired = {(n.dev, n.ip) for n in want.states[machine.name].neighbours}
    for entry in machine.state.neighbours:
        mac = want.macs.get(entry.ip)
        if mac is None or mac == entry.mac or (entry.dev, entry.ip) in desired:
            continue
        right = Neighbour(entry.dev, entry.ip, mac)
        yield Finding(
            "neighbour-wrong", "neighbour", title(machine.name, want), f"{_text(entry)} ({entry.state})", _text(right),
            command(machine.name, f"ip neigh del {entry.ip} dev {entry.dev}", want),
        )  # fmt: skip


def lookup(routes: Iterable[Route], destination: str) -> Route | None:
    """The route that the kernel chooses in the main table: longest prefix, then lowest metric."""
    address = ip_address(destination)
    best: tuple[int, int] | None = None
    chosen = None
    for route in routes:
        if family_of(route.dst) != family_of(destination) and route.dst != "default":
            continue
        if route.dst == "default" and address.version == 6:
            continue
        network = ip_network("0.0.0.0/0" if route.dst == "default" else route.dst, strict=False)
        if address in network and (best is None or (network.prefixlen, -route.metric) > best):
            best, chosen = (network.prefixlen, -route.metric), route
    return chosen


def diverted(machine: MachineFacts, want: Expected, destinations: Iterable[str]) -> Iterator[Finding]:
    """Destinations that a route leads elsewhere which nobody of the lab has made."""
    desired = want.states.get(machine.name)
    if desired is None:
        return
    known = {route.key: route for route in desired.routes}
    seen = set()
    for destination in destinations:
        route = lookup(machine.state.routes, destination)
        if route is None:
            if lookup(desired.routes, destination) is None and not _connected(desired, destination):
                yield from _no_route(machine, want, destination)
            continue
        if route.key in known or route.protocol == "kernel" or route.key in seen:
            continue
        right = lookup(desired.routes, destination)
        if right is not None and (right.via, right.dev, right.kind) == (route.via, route.dev, route.kind):
            continue
        seen.add(route.key)
        yield Finding(
            "route-diverts", "route", title(machine.name, want),
            f"{_text(route)} takes what goes to {destination}",
            _text(right) if right else "no such route",
            command(machine.name, route.commands("del")[0], want),
        )  # fmt: skip


def _connected(state: NodeState, destination: str) -> bool:
    return any(
        ip_address(destination) in ip_network(address.cidr, strict=False)
        for address in state.addresses
        if family_of(address.cidr) == family_of(destination)
    )


def _no_route(machine: MachineFacts, want: Expected, destination: str) -> Iterator[Finding]:
    yield Finding(
        "no-route", "route", title(machine.name, want), f"no route leads to {destination}",
        "a route, or an address that this machine can reach",
        command(machine.name, f"ip route get {destination}", want),
    )  # fmt: skip
