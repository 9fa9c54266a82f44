"""From a draft to a topology: defaults, interface names, addresses, checks, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from netlab.topology import addressing, addressing6, checks, pool
from netlab.topology.draft import Draft, DraftEnd, DraftLink, DraftMachine, DraftSwitch
from netlab.topology.model import Attachment, Host, Link, Node, Router, Segment, Switch, Taint, Topology
from netlab.topology.wiring import Domain, Port, make_domains, make_ports, standby_links

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
"""The label and the taint's key of a control-plane node, as kubeadm sets them."""


def resolve(draft: Draft) -> Topology:
    """The topology that a draft describes; TopologyError where it describes none."""
    _join_all_where_nothing_is_said(draft)
    checks.check_names(draft)
    checks.check_cluster(draft)
    pairs = make_ports(draft)
    checks.check_reachability(draft, pairs)
    domains = [domain for domain in make_domains(draft, pairs) if domain.ports]
    addressing.assign(draft, domains)
    addressing6.assign(draft, domains)
    checks.check_underlay(draft, domains)
    checks.check_routes(draft, pairs)
    pool.check_pool(draft, domains)
    return _freeze(draft, pairs, domains)


def _join_all_where_nothing_is_said(draft: Draft) -> None:
    """A file with neither switches, routers nor links means: everything on one switch."""
    if draft.switches or draft.links or any(entry.forwards for entry in draft.machines.values()):
        return
    name = "s1" if "s1" not in draft.machines else "switch1"
    draft.add_switch(DraftSwitch(Switch(name), draft.place))
    for machine, entry in draft.machines.items():
        ends = (DraftEnd(entry.place, machine), DraftEnd(entry.place, name))
        draft.links.append(DraftLink(entry.place, *ends))


def _freeze(draft: Draft, pairs: Sequence[tuple[Port, Port]], domains: Sequence[Domain]) -> Topology:
    ends = {id(port): _attachment(port) for pair in pairs for port in pair}
    standby = standby_links(pairs)
    links = tuple(
        Link(
            ends[id(a)],
            ends[id(b)],
            link.bandwidth_bps,
            link.delay_s,
            link.jitter_s,
            link.loss,
            link.mtu,
            index in standby,
        )
        for index, (link, (a, b)) in enumerate(zip(draft.links, pairs, strict=True))
    )
    segments = tuple(
        Segment(
            domain.name,
            str(domain.subnet),
            tuple(domain.switches),
            tuple(ends[id(port)] for port in domain.ports),
            str(domain.subnet6) if domain.subnet6 else None,
        )
        for domain in domains
    )
    entries = list(draft.machines.values())
    pods = checks.pods_per_node(draft.cluster)
    alone = sum(isinstance(entry.machine, Node) and entry.machine.role == "worker" for entry in entries) == 0
    return Topology(
        name=draft.name,
        cluster=draft.cluster,
        nodes=tuple(_node(entry, alone, pods) for entry in entries if isinstance(entry.machine, Node)),
        switches=tuple(entry.switch for entry in draft.switches.values()),
        routers=tuple(entry.machine for entry in entries if isinstance(entry.machine, Router)),
        hosts=tuple(entry.machine for entry in entries if isinstance(entry.machine, Host)),
        links=links,
        segments=segments,
    )


def _attachment(port: Port) -> Attachment:
    address6 = str(port.address6) if port.address6 else None
    return Attachment(port.name, port.interface, str(port.address) if port.address else None, port.mac, address6)


def _node(entry: DraftMachine, alone: bool, pods: int) -> Node:
    """A node with the labels and taints that its role brings: no taint where no worker could take the pods."""
    node = entry.machine
    if not isinstance(node, Node):
        raise TypeError(node)
    if node.capacity.pods > pods:
        node = replace(node, capacity=replace(node.capacity, pods=pods))
    if node.role != "control-plane":
        return node
    labels = {CONTROL_PLANE: "", **node.labels}
    if entry.explicit_taints or alone:
        return replace(node, labels=labels)
    return replace(node, labels=labels, taints=(Taint(CONTROL_PLANE, "", "NoSchedule"),))
