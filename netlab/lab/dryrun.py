"""`klab up --dry-run`: what a start would make, in the words of ip, bridge, tc and iptables-save. Nothing is touched.

Underlay, overlay and rules come from the same pure functions that the substrate and the agents apply. Pod subnets are
dealt out in the order in which a fresh cluster's nodes get them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_network

from netlab.dataplane.iptables.base import NAT_CHAINS, filter_chains
from netlab.dataplane.iptables.program import IptablesProgram
from netlab.dataplane.iptables.service import IptablesConfig
from netlab.dataplane.masquerade import forward_rules, masquerade_rules
from netlab.dataplane.model import Address, Neighbour, NodeState, Route
from netlab.dataplane.nodes import NodeNet
from netlab.dataplane.overlay import node_network
from netlab.dataplane.underlay import shaping, underlay
from netlab.lab.lifecycle import UpOptions, choose
from netlab.topology.model import Attachment, Topology, family_of


def plan_text(options: UpOptions) -> str:
    """The whole plan as a script-like text with one section for the underlay and one for each node."""
    _, topology, source = choose(options)
    lines = [f"# {source}: lab '{topology.name}', in namespaces of its own", ""]
    lines += _cables(topology)
    for name, state in underlay(topology).items():
        lines += ["", *_machine(topology, name, state)]
    nets = node_nets(topology)
    for net in nets:
        cidrs = ", ".join(one.pod_cidr for one in net.families)
        lines += ["", f"# {net.name}: pod network {cidrs} ({net.backend})"]
        lines.append(str(node_network(net, [peer for peer in nets if peer.name != net.name])))
        for one, cidr in zip(net.families, topology.cluster.pod_cidrs, strict=True):
            lines += ["", f"# {net.name}: {'ip6tables' if one.is_ipv6 else 'iptables'}-save"]
            lines += _iptables(topology, one, cidr)
    return "\n".join(lines) + "\n"


def node_nets(topology: Topology) -> list[NodeNet]:
    """The nodes as a fresh cluster would number them."""
    cluster = topology.cluster
    subnets = zip(
        *(ip_network(cidr).subnets(new_prefix=cluster.prefix_of(cidr)) for cidr in cluster.pod_cidrs), strict=False
    )
    found = []
    for node, own in zip(topology.nodes, subnets, strict=False):
        first, *second = (
            NodeNet(
                name=node.name,
                pod_cidr=str(subnet),
                node_ip=ip,
                underlay_if=topology.underlay_if(node.name),
                mtu=_mtu(topology, node.name),
                backend=cluster.overlay,
            )
            for subnet, ip in zip(own, topology.node_ips(node.name), strict=True)
        )
        found.append(replace(first, second=second[0]) if second else first)
    return found


def _mtu(topology: Topology, node: str) -> int:
    interface = topology.underlay_if(node)
    ends = ((link.mtu, end) for link in topology.links for end in link.ends)
    return next(mtu for mtu, end in ends if (end.node, end.interface) == (node, interface))


def _cables(topology: Topology) -> Iterator[str]:
    """Namespaces, switches and veth pairs: what is made from the lab's own namespace."""
    yield "# the lab: machines, switches, cables"
    machines = [item.name for group in (topology.nodes, topology.hosts, topology.routers) for item in group]
    yield from (f"ip netns add {name}" for name in machines)
    kinds = {switch.name: switch.kind for switch in topology.switches}
    for name, kind in kinds.items():
        yield from (
            (f"ovs-vsctl add-br {name}",) if kind == "ovs" else (f"ip link add {name} type bridge stp_state 0",)
        )
        yield f"ip link set {name} up"
    for link in topology.links:
        ends = [_end(end, kinds, link.mtu) for end in link.ends]
        yield f"ip link add {ends[0]} type veth peer {ends[1]}"
        for end in link.ends:
            if kinds.get(end.node) == "ovs":
                yield f"ovs-vsctl add-port {end.node} {end.interface}"
            elif end.node in kinds and not link.standby:
                yield f"ip link set {end.interface} master {end.node} up"
    rules = shaping(topology)
    yield from (command for end, rule in rules.items() if end.node in kinds for command in rule.commands())


def _end(end: Attachment, kinds: Mapping[str, str], mtu: int) -> str:
    mac = f" address {end.mac}" if end.mac else ""
    return f"name {end.interface} mtu {mtu}{mac}" + ("" if end.node in kinds else f" netns {end.node}")


def _machine(topology: Topology, name: str, state: NodeState) -> Iterator[str]:
    """What is done inside one machine's namespace."""
    yield f"# {name}: underlay (ip netns exec {name} …)"
    for sysctl in state.sysctls:
        yield from sysctl.commands("add")
    yield from (f"ip link set {link.name} up" for link in state.links)
    rules = {end.interface: rule for end, rule in shaping(topology).items() if end.node == name}
    yield from (command for rule in rules.values() for command in rule.commands())
    entries: tuple[Address | Route | Neighbour, ...] = (*state.addresses, *state.routes, *state.neighbours)
    for entry in entries:
        yield from entry.commands("add")


def _iptables(topology: Topology, net: NodeNet, cluster_cidr: str) -> Iterator[str]:
    """The rules of a node before its first Service: the overlay's and kube-proxy's own."""
    cluster = topology.cluster
    flannel = (*masquerade_rules(net.pod_cidr, cluster_cidr), *forward_rules(cluster_cidr))
    config = IptablesConfig(node_ip=net.node_ip, cluster_cidr=cluster_cidr, family=family_of(cluster_cidr))
    rules, own = IptablesProgram(config).rules(), {"filter": filter_chains(config), "nat": NAT_CHAINS}
    for table in ("filter", "nat"):
        text = [str(rule) for rule in flannel if rule.table == table]
        chains = dict.fromkeys(line.split()[1] for line in text)
        if (topology.node(net.name).proxy_mode or cluster.proxy_mode) == "iptables":
            text += [str(rule) for rule in rules[table]]
            chains |= dict.fromkeys((*own[table], *(line.split()[1] for line in text)))
        builtin = ("INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING")
        yield f"*{table}"
        yield from (f":{chain} {'ACCEPT' if chain in builtin else '-'} [0:0]" for chain in chains)
        yield from text
        yield "COMMIT"
