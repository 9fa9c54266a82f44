"""`klab up --dry-run`: what a start would make, in the words of ip, bridge, tc and iptables-save. Nothing is touched.

The overlay and the rules come from the same pure functions that the agents apply. Pod subnets are dealt out in the
order in which a fresh cluster's nodes get them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from netlab.dataplane.iptables.base import NAT_CHAINS, filter_chains
from netlab.dataplane.iptables.program import IptablesProgram
from netlab.dataplane.iptables.service import IptablesConfig
from netlab.dataplane.masquerade import forward_rules, masquerade_rules
from netlab.dataplane.nodes import NodeNet
from netlab.dataplane.overlay import node_network
from netlab.dataplane.shaping import Shaping
from netlab.lab.lifecycle import UpOptions, choose
from netlab.topology.model import Attachment, Link, Topology
from netlab.topology.routing import routes


def plan_text(options: UpOptions) -> str:
    """The whole plan as a script-like text with one section for the underlay and one for each node."""
    _, topology, source = choose(options)
    lines = [f"# {source}: lab '{topology.name}', in namespaces of its own", ""]
    lines += _underlay(topology)
    nets = node_nets(topology)
    for net in nets:
        lines += ["", f"# {net.name}: pod network {net.pod_cidr} ({net.backend})"]
        lines.append(str(node_network(net, [peer for peer in nets if peer.name != net.name])))
        lines += ["", f"# {net.name}: iptables-save"]
        lines += _iptables(topology, net)
    return "\n".join(lines) + "\n"


def node_nets(topology: Topology) -> list[NodeNet]:
    """The nodes as a fresh cluster would number them."""
    cluster = topology.cluster
    subnets = IPv4Network(cluster.pod_cidr).subnets(new_prefix=cluster.node_prefix)
    return [
        NodeNet(
            name=node.name,
            pod_cidr=str(subnet),
            node_ip=topology.node_ip(node.name),
            underlay_if=topology.underlay_if(node.name),
            mtu=_mtu(topology, node.name),
            backend=cluster.overlay,
        )
        for node, subnet in zip(topology.nodes, subnets, strict=False)
    ]


def _mtu(topology: Topology, node: str) -> int:
    interface = topology.underlay_if(node)
    ends = ((link.mtu, end) for link in topology.links for end in link.ends)
    return next(mtu for mtu, end in ends if (end.node, end.interface) == (node, interface))


def _underlay(topology: Topology) -> Iterator[str]:
    machines = [item.name for group in (topology.nodes, topology.hosts, topology.routers) for item in group]
    yield "# underlay"
    yield from (f"ip netns add {name}" for name in machines)
    for switch in topology.switches:
        yield f"ip link add {switch.name} type bridge" if switch.kind == "bridge" else f"ovs-vsctl add-br {switch.name}"
        yield f"ip link set {switch.name} up"
    switches = {switch.name: switch.kind for switch in topology.switches}
    for link in topology.links:
        yield from _cable(link, switches)
    for router in topology.routers:
        yield f"ip netns exec {router.name} sysctl -w net.ipv4.ip_forward=1"
    for name, computed in routes(topology).items():
        yield from (f"ip -n {name} route add {route}" for route in computed)


def _cable(link: Link, switches: Mapping[str, str]) -> Iterator[str]:
    yield f"ip link add {_end(link.a, switches)} type veth peer {_end(link.b, switches)}"
    for end in link.ends:
        if end.node in switches:
            if switches[end.node] == "ovs":
                yield f"ovs-vsctl add-port {end.node} {end.interface}"
            else:
                yield f"ip link set {end.interface} master {end.node} mtu {link.mtu} up"
        else:
            mac = f" address {end.mac}" if end.mac else ""
            yield f"ip -n {end.node} link set {end.interface}{mac} mtu {link.mtu} up"
            if end.address:
                yield f"ip -n {end.node} addr add {end.address} dev {end.interface}"
        shaping = Shaping(end.interface, link.bandwidth_bps, link.delay_s, link.jitter_s, link.loss, link.mtu)
        enter = "" if end.node in switches else f"ip netns exec {end.node} "
        yield from (f"{enter}{command}" for command in shaping.commands())


def _end(end: Attachment, switches: Mapping[str, str]) -> str:
    return f"name {end.interface}" if end.node in switches else f"name {end.interface} netns {end.node}"


def _iptables(topology: Topology, net: NodeNet) -> Iterator[str]:
    """The rules of a node before its first Service: the overlay's and kube-proxy's own."""
    cluster = topology.cluster
    flannel = (*masquerade_rules(net.pod_cidr, cluster.pod_cidr), *forward_rules(cluster.pod_cidr))
    config = IptablesConfig(node_ip=net.node_ip, cluster_cidr=cluster.pod_cidr)
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
