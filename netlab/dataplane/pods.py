"""A pod's attachment to its node: one veth pair, one address, one route.

The neighbour entries between pod and bridge are permanent, because both sides' addresses are known and the kernel has
one neighbour table for all namespaces (gc_thresh3, 1,024 entries, not settable in a user namespace): permanent entries
are not counted, so a lab of thousands of pods neither overflows it nor floods ARP. Pod to pod on one node still
resolves by ARP, as everywhere.
"""

from __future__ import annotations

from netlab.dataplane.model import Address, Link, Neighbour, NetObject, NodeState, Plan, Route, Step
from netlab.dataplane.nodes import PodNet


def host_side(pod: PodNet) -> NodeState:
    """The node's end: a bridge port with hairpin mode (a pod may reach itself through its own Service), and ARP."""
    peer = (pod.netns, pod.pod_ifname)
    link = Link(pod.ifname, "veth", mtu=pod.mtu, master=pod.bridge, peer=peer, hairpin=pod.hairpin)
    entries = (Neighbour(pod.bridge, address.partition("/")[0], pod.pod_mac) for address, _ in pod.attachments)
    return NodeState(links=(link,), neighbours=tuple(entries))


def pod_side(pod: PodNet) -> NodeState:
    """The pod's end: eth0 with its address, and the default route by the bridge."""
    return NodeState(
        links=(Link("lo", "loopback"), Link(pod.pod_ifname, "veth", mac=pod.pod_mac, mtu=pod.mtu)),
        addresses=(
            *(Address(pod.pod_ifname, address) for address, _ in pod.attachments),
            *((Address(pod.pod_ifname, pod.link_local, "link"),) if pod.link_local else ()),
        ),
        routes=tuple(
            Route("::/0" if ":" in gateway else "default", pod.pod_ifname, via=gateway)
            for _, gateway in pod.attachments
        ),
        neighbours=tuple(Neighbour(pod.pod_ifname, gateway, pod.bridge_mac) for _, gateway in pod.attachments),
    )


def pod_network(pod: PodNet) -> tuple[Plan, Plan]:
    """What to do on the node, and then in the pod's new namespace, where lo and eth0 exist and are down."""
    inside = pod_side(pod)
    up = tuple(
        Step("change", link, "devices of a new namespace are down", old=Link(link.name, link.kind, up=False))
        for link in inside.links
    )
    reason = f"pod {pod.id} has address {pod.ip}"
    on_node = Plan.adding(host_side(pod).objects(), reason)
    return on_node, Plan(up) + Plan.adding((*inside.addresses, *inside.routes, *inside.neighbours), reason)


def pod_gone(pod: PodNet) -> Plan:
    """What to undo on the node; the pod's end goes with its namespace or with the pair, whichever is first."""
    state = host_side(pod)
    ours: tuple[NetObject, ...] = (*state.neighbours, *state.links)
    return Plan(tuple(Step("del", obj, f"pod {pod.id} is gone") for obj in ours))
